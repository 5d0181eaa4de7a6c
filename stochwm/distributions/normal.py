"""Normal distributions: independent dimensions, or a full covariance by its Cholesky factor."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution
from .checks import (
    as_dims,
    as_event,
    as_float,
    as_level,
    check_finite,
    check_like,
    check_positive,
    check_same_events,
    check_trailing,
)

LOG_2PI = 1.8378770664093453


class DiagNormal(AbstractDistribution):
    """A normal distribution with independent dimensions."""

    loc: Float[Array, "*batch dim"]
    scale: Float[Array, "*batch dim"]

    def __init__(self, loc: Any, scale: Any):
        """Make a distribution of values of shape `[dim]`.

        Args:
            loc: the mean, `[dim]`, in the units of the value.
            scale: the standard deviation, `[dim]`, positive.

        Raises:
            ValueError: other shapes, or a scale known to be not positive.
        """
        self.loc = as_float("loc", loc)
        self.scale = as_float("scale", scale)
        check_trailing("loc", self.loc, (None,), "[dim]")
        check_like("scale", self.scale, "loc", self.loc)
        check_finite("loc", self.loc)
        check_positive("scale", self.scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape[-1:]

    def noise(self, *, seed: PRNGKeyArray) -> Float[Array, "*batch dim"]:
        return jax.random.normal(seed, self.loc.shape, self.loc.dtype)

    def push(self, noise: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        return self.loc + self.scale * noise

    def abduct(self, value: Any, *, key: PRNGKeyArray | None = None) -> Float[Array, "*batch dim"]:
        return (as_event(value, self.event_shape) - self.loc) / self.scale

    def to_distrax(self):
        import distrax

        # Not MultivariateNormalDiag: that one leaks tracers out of a plain jit.
        return distrax.Independent(distrax.Normal(self.loc, self.scale), 1)

    def log_prob(self, value: Any) -> Float[Array, "*batch"]:
        noise = self.abduct(value)
        dim = self.loc.shape[-1]
        return -0.5 * (sum_last(noise**2) + dim * LOG_2PI) - sum_last(jnp.log(self.scale))

    def mean(self) -> Float[Array, "*batch dim"]:
        return self.loc

    def variance(self) -> Float[Array, "*batch dim"]:
        return self.scale**2

    def covariance(self) -> Float[Array, "*batch dim dim"]:
        return self.variance()[..., None] * jnp.eye(self.loc.shape[-1])

    def mode(self) -> Float[Array, "*batch dim"]:
        return self.loc

    def entropy(self) -> Float[Array, "*batch"]:
        return jnp.sum(0.5 * (1 + LOG_2PI) + jnp.log(self.scale), axis=-1)

    def kl_divergence(self, other: AbstractDistribution) -> Float[Array, "*batch"]:
        if isinstance(other, FullNormal):
            return self.to_full().kl_divergence(other)
        if not isinstance(other, DiagNormal):
            return super().kl_divergence(other)
        check_same_events(self, other)
        ratio = self.scale / other.scale
        shift = (self.loc - other.loc) / other.scale
        return 0.5 * jnp.sum(ratio**2 + shift**2 - 1 - 2 * jnp.log(ratio), axis=-1)

    def bhattacharyya_distance(self, other: "DiagNormal") -> Float[Array, ""]:
        """`-log` of the integral of sqrt(p q), in nats (Bhattacharyya 1943)."""
        check_same_events(self, other)
        variance = 0.5 * (self.scale**2 + other.scale**2)
        distance = (self.loc - other.loc) ** 2 / (4 * variance)
        volume = jnp.log(variance) - jnp.log(self.scale) - jnp.log(other.scale)
        return 0.5 * jnp.sum(distance + volume, axis=-1)

    def log_overlap(self, other: "DiagNormal") -> Float[Array, ""]:
        """`log` of the integral of p q."""
        scale = jnp.sqrt(self.scale**2 + other.scale**2)
        return DiagNormal(other.loc, scale).log_prob(self.loc)

    def cdf(self, value: Any) -> Float[Array, "*batch dim"]:
        return ndtr(self.abduct(value))

    def quantile(self, level: Any) -> Float[Array, "*batch dim"]:
        return self.push(ndtri(as_level(level)) * jnp.ones_like(self.loc))

    def marginal(self, dims: tuple[int, ...]) -> "DiagNormal":
        index = as_dims(dims, self.loc.shape[-1])
        return DiagNormal(self.loc[..., index], self.scale[..., index])

    def affine(self, shift: Any, scale: Any) -> "DiagNormal":
        return DiagNormal(shift + scale * self.loc, scale * self.scale)

    def smoothed(self, scale: Any) -> "DiagNormal":
        return DiagNormal(self.loc, jnp.sqrt(self.scale**2 + jnp.asarray(scale) ** 2))

    def to_full(self) -> "FullNormal":
        """The same distribution with its covariance as a Cholesky factor."""
        return FullNormal(self.loc, self.scale[..., None] * jnp.eye(self.loc.shape[-1]))


class FullNormal(AbstractDistribution):
    """A normal distribution with covariance `scale_tril @ scale_tril.T`."""

    loc: Float[Array, "*batch dim"]
    scale_tril: Float[Array, "*batch dim dim"]

    def __init__(self, loc: Any, scale_tril: Any):
        """Make a distribution of values of shape `[dim]`.

        Args:
            loc: the mean, `[dim]`, in the units of the value.
            scale_tril: lower Cholesky factor of the covariance, `[dim, dim]`, with a positive
                diagonal; what stands above the diagonal is set to zero.

        Raises:
            ValueError: other shapes, or a diagonal known to be not positive.
        """
        self.loc = as_float("loc", loc)
        scale_tril = as_float("scale_tril", scale_tril)
        check_trailing("loc", self.loc, (None,), "[dim]")
        expected = (*self.loc.shape, self.loc.shape[-1])
        if scale_tril.shape != expected:
            raise ValueError(
                f"scale_tril must have shape {list(expected)}, a square for each entry of loc, "
                f"but has shape {list(scale_tril.shape)}."
            )
        self.scale_tril = jnp.tril(scale_tril)
        check_finite("loc", self.loc)
        check_finite("scale_tril", self.scale_tril)
        check_positive("diagonal of scale_tril", _diagonal(self.scale_tril))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape[-1:]

    def noise(self, *, seed: PRNGKeyArray) -> Float[Array, " dim"]:
        return jax.random.normal(seed, self.loc.shape, self.loc.dtype)

    def push(self, noise: Float[Array, " dim"]) -> Float[Array, " dim"]:
        # tril: no gradient for entries above the diagonal, which are not parameters.
        return self.loc + jnp.einsum("...ij,...j->...i", jnp.tril(self.scale_tril), noise)

    def abduct(self, value: Any, *, key: PRNGKeyArray | None = None) -> Float[Array, " dim"]:
        residual = as_event(value, self.event_shape) - self.loc
        return solve_triangular(self.scale_tril, residual, lower=True)

    def to_distrax(self):
        import distrax

        return distrax.MultivariateNormalTri(self.loc, self.scale_tril)

    def log_prob(self, value: Any) -> Float[Array, ""]:
        noise = self.abduct(value)
        return jnp.sum(-0.5 * (noise**2 + LOG_2PI)) - self._log_volume()

    def mean(self) -> Float[Array, " dim"]:
        return self.loc

    def variance(self) -> Float[Array, " dim"]:
        return jnp.sum(self.scale_tril**2, axis=-1)

    def covariance(self) -> Float[Array, "dim dim"]:
        return self.scale_tril @ self.scale_tril.mT

    def mode(self) -> Float[Array, " dim"]:
        return self.loc

    def entropy(self) -> Float[Array, ""]:
        return 0.5 * self.loc.shape[-1] * (1 + LOG_2PI) + self._log_volume()

    def kl_divergence(self, other: AbstractDistribution) -> Float[Array, ""]:
        if isinstance(other, DiagNormal):
            other = other.to_full()
        if not isinstance(other, FullNormal):
            return super().kl_divergence(other)
        check_same_events(self, other)
        ratio = solve_triangular(other.scale_tril, self.scale_tril, lower=True)
        shift = other.abduct(self.loc)
        volume = other._log_volume() - self._log_volume()
        return 0.5 * (jnp.sum(ratio**2) + jnp.sum(shift**2) - self.loc.shape[-1]) + volume

    def bhattacharyya_distance(self, other: "FullNormal") -> Float[Array, ""]:
        """`-log` of the integral of sqrt(p q), in nats (Bhattacharyya 1943)."""
        check_same_events(self, other)
        middle = _chol_of_sum(self.scale_tril, other.scale_tril) / jnp.sqrt(2.0)
        shift = solve_triangular(middle, self.loc - other.loc, lower=True)
        volume = jnp.sum(jnp.log(jnp.diagonal(middle)))
        return jnp.sum(shift**2) / 8 + volume - 0.5 * (self._log_volume() + other._log_volume())

    def log_overlap(self, other: "FullNormal") -> Float[Array, ""]:
        """`log` of the integral of p q."""
        tril = _chol_of_sum(self.scale_tril, other.scale_tril)
        return FullNormal(other.loc, tril).log_prob(self.loc)

    def cdf(self, value: Any) -> Float[Array, " dim"]:
        return DiagNormal(self.loc, jnp.sqrt(self.variance())).cdf(value)

    def quantile(self, level: Any) -> Float[Array, " dim"]:
        return DiagNormal(self.loc, jnp.sqrt(self.variance())).quantile(level)

    def marginal(self, dims: tuple[int, ...]) -> "FullNormal":
        index = as_dims(dims, self.loc.shape[-1])
        return FullNormal(self.loc[..., index], _chol_of_rows(self.scale_tril[..., index, :]))

    def affine(self, shift: Any, scale: Any) -> "FullNormal":
        scale = jnp.asarray(scale) * jnp.ones(self.event_shape)
        return FullNormal(shift + scale * self.loc, scale[..., None] * self.scale_tril)

    def smoothed(self, scale: Any) -> "FullNormal":
        extra = jnp.diag(jnp.asarray(scale) * jnp.ones(self.event_shape))
        return FullNormal(self.loc, _chol_of_sum(self.scale_tril, extra))

    def _log_volume(self) -> Float[Array, ""]:
        return jnp.sum(jnp.log(_diagonal(self.scale_tril)), axis=-1)


def sum_last(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
    """The sum over the last axis, as a product with ones.

    A sum proper would be fused with what makes its terms, and on a CPU take those one by one. The
    fewer operations make the terms, the sooner they are taken as vectors: logarithms are summed by
    themselves.
    """
    return jnp.dot(x, jnp.ones(x.shape[-1], x.dtype), precision="highest")


def _chol_of_sum(a: Float[Array, "dim dim"], b: Float[Array, "dim dim"]) -> Float[Array, "dim dim"]:
    """Cholesky factor of `a a^T + b b^T`."""
    return _chol_of_rows(jnp.concatenate([a, b], axis=-1))


def _chol_of_rows(a: Float[Array, "*batch rows columns"]) -> Float[Array, "*batch rows rows"]:
    """Cholesky factor of `a a^T`, by QR: forming the product would square its condition."""
    r = jnp.linalg.qr(a.mT, mode="r")
    return (r * jnp.sign(_diagonal(r))[..., None]).mT


def _diagonal(matrix: Float[Array, "*batch dim dim"]) -> Float[Array, "*batch dim"]:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)
