"""The normal distribution on a logarithmic scale that passes through zero."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution
from .checks import (
    as_dims,
    as_event,
    as_float,
    check_finite,
    check_like,
    check_positive,
    check_trailing,
)
from .normal import DiagNormal

NARROW = 0.1  # scale below which the terms of the variance cancel
NOISE = np.linspace(-9.0, 9.0, 129)  # where it is added up instead
MASS = np.exp(-0.5 * NOISE**2) / np.sum(np.exp(-0.5 * NOISE**2))


def symlog(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`sign(x) log(1 + |x|)`: the identity near 0, a logarithm far from it.

    Hafner et al. (2023, arXiv 2301.04104), equation 9.
    """
    # Not sign(x) log1p(|x|), whose gradient at 0 would be 0 instead of 1.
    return jnp.log1p(jnp.maximum(x, 0.0)) - jnp.log1p(jnp.maximum(-x, 0.0))


def symexp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`sign(x) (exp|x| - 1)`, the inverse of `symlog`."""
    return jnp.expm1(jnp.maximum(x, 0.0)) - jnp.expm1(jnp.maximum(-x, 0.0))


class SymlogNormal(AbstractDistribution):
    """The distribution of `symexp(x)`, where x is normal with independent dimensions.

    What a decoder predicts that learns by squared error after `symlog`: it takes numbers of any
    size as they are. Everything but the choice of scale has a closed form.
    """

    loc: Float[Array, "*batch dim"]
    scale: Float[Array, "*batch dim"]

    def __init__(self, loc: Any, scale: Any):
        """Make a distribution of values of shape `[dim]`.

        Args:
            loc: the median after `symlog`, `[dim]`.
            scale: the standard deviation after `symlog`, `[dim]`, positive.

        Raises:
            ValueError: other shapes, or a scale known to be not positive.
        """
        self.loc, self.scale = as_float("loc", loc), as_float("scale", scale)
        check_trailing("loc", self.loc, (None,), "[dim]")
        check_like("scale", self.scale, "loc", self.loc)
        check_finite("loc", self.loc)
        check_positive("scale", self.scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape[-1:]

    @property
    def normal(self) -> DiagNormal:
        """The distribution of the value after `symlog`."""
        return DiagNormal(self.loc, self.scale)

    def noise(self, *, seed: PRNGKeyArray) -> Float[Array, "*batch dim"]:
        return self.normal.noise(seed=seed)

    def push(self, noise: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        return symexp(self.normal.push(noise))

    def abduct(self, value: Any, *, key: PRNGKeyArray | None = None) -> Float[Array, "*batch dim"]:
        return self.normal.abduct(symlog(as_event(value, self.event_shape)))

    def to_distrax(self):
        import distrax

        forward: Any = symexp
        inverse: Any = symlog
        bijector = distrax.Lambda(
            forward=forward,
            inverse=inverse,
            forward_log_det_jacobian=jnp.abs,
            inverse_log_det_jacobian=lambda y: -jnp.log1p(jnp.abs(y)),
            event_ndims_in=0,
        )
        twin = distrax.Transformed(distrax.Normal(self.loc, self.scale), bijector)
        return distrax.Independent(twin, 1)

    def log_prob(self, value: Any) -> Float[Array, "*batch"]:
        value = as_event(value, self.event_shape)
        return self.normal.log_prob(symlog(value)) - jnp.sum(jnp.log1p(jnp.abs(value)), axis=-1)

    def mean(self) -> Float[Array, "*batch dim"]:
        up, down = self._upper(1.0), self._lower(1.0)
        return up - down - ndtr(self.loc / self.scale) + ndtr(-self.loc / self.scale)

    def variance(self) -> Float[Array, "*batch dim"]:
        squares = self._upper(2.0) + self._lower(2.0)
        wide = squares - 2 * (self._upper(1.0) + self._lower(1.0)) + 1 - self.mean() ** 2
        return jnp.where(self.scale < NARROW, self._narrow_variance(), wide)

    def covariance(self) -> Float[Array, "*batch dim dim"]:
        return self.variance()[..., None] * jnp.eye(self.loc.shape[-1])

    def mode(self) -> Float[Array, "*batch dim"]:
        # Before symexp the log density is that of the normal less |x|.
        return symexp(jnp.sign(self.loc) * jnp.maximum(jnp.abs(self.loc) - self.scale**2, 0.0))

    def entropy(self) -> Float[Array, "*batch"]:
        ratio = self.loc / self.scale
        folded = self.scale * jnp.sqrt(2 / jnp.pi) * jnp.exp(-0.5 * ratio**2)
        stretch = folded + self.loc * (1 - 2 * ndtr(-ratio))  # E|x|
        return self.normal.entropy() + jnp.sum(stretch, axis=-1)

    def kl_divergence(self, other: AbstractDistribution) -> Float[Array, "*batch"]:
        if not isinstance(other, SymlogNormal):
            return super().kl_divergence(other)
        return self.normal.kl_divergence(other.normal)

    def cdf(self, value: Any) -> Float[Array, "*batch dim"]:
        return ndtr(self.abduct(value))

    def quantile(self, level: Any) -> Float[Array, "*batch dim"]:
        return symexp(self.normal.quantile(level))

    def marginal(self, dims: tuple[int, ...]) -> "SymlogNormal":
        index = as_dims(dims, self.loc.shape[-1])
        return SymlogNormal(self.loc[..., index], self.scale[..., index])

    def _upper(self, power: float) -> Float[Array, "*batch dim"]:
        """E[exp(power x); x > 0]."""
        return self._half(self.loc, power)

    def _lower(self, power: float) -> Float[Array, "*batch dim"]:
        """E[exp(-power x); x < 0]."""
        return self._half(-self.loc, power)

    def _half(self, loc: Array, power: float) -> Float[Array, "*batch dim"]:
        drift = power * self.scale**2
        return jnp.exp(power * (loc + 0.5 * drift)) * ndtr((loc + drift) / self.scale)

    def _narrow_variance(self) -> Float[Array, "*batch dim"]:
        """By quadrature of the distances from the median, in which nothing cancels."""
        loc, scale = self.loc[..., None], jnp.minimum(self.scale, NARROW)[..., None]
        noise, mass = (jnp.asarray(x, self.loc.dtype) for x in (NOISE, MASS))
        step, sign = scale * noise, jnp.where(loc < 0, -1.0, 1.0)
        steep = sign * jnp.exp(jnp.abs(loc)) * jnp.expm1(sign * step)
        across = symexp(loc + step) - symexp(loc)
        apart = jnp.where(sign * (loc + step) > 0, steep, across)
        return jnp.sum(mass * (apart - jnp.sum(mass * apart, -1, keepdims=True)) ** 2, axis=-1)
