"""Normals and their mixtures cut off by walls, at which what would have passed piles up."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, logsumexp, ndtr, ndtri
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .base import AbstractDistribution, Modes
from .checks import as_dims, as_event, as_float, check_order
from .mixture import AbstractMixture, over_components
from .normal import LOG_2PI, DiagNormal
from .uniform_box import ROUNDING

FAR = 40.0  # standard deviations beyond which a normal tail is zero in double precision


class Censored(AbstractDistribution):
    """The distribution of `clip(x, low, high)`, where x is normal or a mixture of normals.

    Rain cannot be negative, a canoe cannot leave the river: all that lies beyond a bound is at it,
    as an atom with exactly that mass (Tobin 1958, "Estimation of relationships for limited
    dependent variables"). Densities refer to the counting measure at the bounds and to length
    between them: log mass adds to log density. Draws have the gradient of x wherever they are not
    at a bound, in weights of mixtures too.

    The family is closed under `affine` (which moves the bounds along) and under ensembles:
    a `UniformMixture` of it, or it of a `UniformMixture`.
    """

    base: AbstractDistribution
    low: Float[Array, "*batch dim"]
    high: Float[Array, "*batch dim"]

    def __init__(self, base: Any, low: Any = -np.inf, high: Any = np.inf):
        """Make a distribution of values of shape `[dim]`.

        Args:
            base: the distribution of x: `DiagNormal` or a mixture, at any depth, of it.
            low, high: the bounds, `[dim]` or a scalar, in the units of the value, `low < high`;
                infinite where there is none.

        Raises:
            TypeError: another base, whose mass beyond a bound is not known.
            ValueError: bounds of another shape, or known not to be in order.
        """
        _check_base(base)
        self.base = base
        self.low, self.high = (_as_bound(*x, base) for x in (("low", low), ("high", high)))
        check_order("low", self.low, "high", self.high)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.base.event_shape

    def noise(self, *, seed: PRNGKeyArray) -> PyTree[Array]:
        return self.base.noise(seed=seed)

    def push(self, noise: PyTree[Array]) -> Float[Array, "*batch dim"]:
        return jnp.clip(self.base.push(noise), self.low, self.high)

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> PyTree[Array]:
        """Noise given the value it made; how far beyond a bound x was is drawn."""
        key_before, key_noise = jax.random.split(key)
        return self.base.abduct(self._before(value, key_before), key=key_noise)

    def to_distrax(self):
        raise NotImplementedError(
            "distrax has no censored distributions; use this distribution's own log_prob, cdf and "
            "sample."
        )

    def log_prob(self, value: Any) -> Float[Array, "*batch"]:
        """Log mass over dimensions that are at a bound plus log density over the others."""
        if isinstance(self.base, AbstractMixture):
            return logsumexp(self._responsibilities(value))
        value = as_event(value, self.event_shape)
        loc, scale = self._normal.loc, self._normal.scale
        at_low, at_high = self._at_bounds(value)
        # Away from a bound its place is not used: an infinite one has no gradient.
        below = log_ndtr((jnp.where(at_low, self.low, loc) - loc) / scale)
        above = log_ndtr((loc - jnp.where(at_high, self.high, loc)) / scale)
        z = (value - loc) / scale
        between = -0.5 * (z**2 + LOG_2PI) - jnp.log(scale)
        outside = (value < self.low - slack_at(self.low)) | (
            value > self.high + slack_at(self.high)
        )
        log_prob = jnp.where(at_low, below, jnp.where(at_high, above, between))
        return jnp.sum(jnp.where(outside, -jnp.inf, log_prob), axis=-1)

    def mean(self) -> Float[Array, "*batch dim"]:
        if isinstance(self.base, AbstractMixture):
            return self._average(lambda part: part.mean())
        return self._normal.loc + self._normal.scale * self._moments()[0]

    def variance(self) -> Float[Array, "*batch dim"]:
        if isinstance(self.base, AbstractMixture):
            mean = self.mean()
            return self._average(lambda part: part.variance() + (part.mean() - mean) ** 2)
        return self._normal.scale**2 * self._moments()[1]

    def covariance(self) -> Float[Array, "*batch dim dim"]:
        if not isinstance(self.base, AbstractMixture):
            return self.variance()[..., None] * jnp.eye(self.low.shape[-1])
        mean = self.mean()

        def about_the_mean(part):
            shift = part.mean() - mean
            return part.covariance() + jnp.outer(shift, shift)

        return self._average(about_the_mean)

    def mode(self) -> Float[Array, "*batch dim"]:
        """The mode of x, clipped: densities and masses of atoms do not compare."""
        return jnp.clip(self.base.mode(), self.low, self.high)

    def modes(self) -> Modes:
        """The modes of x, clipped: those of x beyond one bound are as many rows at it."""
        modes = self.base.modes()
        loc = jnp.clip(modes.loc, self.low, self.high)
        return Modes(loc, modes.weight, jax.vmap(self.log_prob)(loc))

    def entropy(self) -> Float[Array, "*batch"]:
        """In nats, of a normal: of mass at the bounds and of density between them, added."""
        if isinstance(self.base, AbstractMixture):
            return super().entropy()
        a, b = self._ends()
        inside, _, square = _between(a, b)
        surprise = jnp.log(self._normal.scale) * inside + 0.5 * (LOG_2PI * inside + square)
        of_atoms = sum(ndtr(x) * jnp.maximum(log_ndtr(x), -(FAR**2)) for x in (a, -b))
        return jnp.sum(surprise - of_atoms, axis=-1)

    def cdf(self, value: Any) -> Float[Array, "*batch dim"]:
        inside = self.base.cdf(value)
        return jnp.where(value < self.low, 0.0, jnp.where(value >= self.high, 1.0, inside))

    def cdf_limits(self, value: Any) -> tuple[Array, Array]:
        inside = self.base.cdf(jnp.clip(value, self.low, self.high))
        at_low, at_high = self._at_bounds(value)
        left, right = jnp.where(at_low, 0.0, inside), jnp.where(at_high, 1.0, inside)
        return (
            jnp.where(value > self.high + slack_at(self.high), 1.0, left),
            jnp.where(value < self.low - slack_at(self.low), 0.0, right),
        )

    def quantile(self, level: Any) -> Float[Array, "*batch dim"]:
        return jnp.clip(self.base.quantile(level), self.low, self.high)

    def marginal(self, dims: tuple[int, ...]) -> "Censored":
        index = as_dims(dims, self.low.shape[-1])
        return Censored(self.base.marginal(dims), self.low[..., index], self.high[..., index])

    def affine(self, shift: Any, scale: Any) -> "Censored":
        base = self.base.affine(shift, scale)
        return Censored(base, shift + scale * self.low, shift + scale * self.high)

    def _parts(self) -> "Censored":
        """The censored components of a mixture, stacked."""
        return over_components(
            lambda c: Censored(c, self.low, self.high), self._mixture.components()
        )

    def _average(self, function: Any) -> Any:
        each = over_components(function, self._parts())
        return jnp.tensordot(self._mixture.weights(), each, axes=1)

    def _responsibilities(self, value: Any) -> Float[Array, " components"]:
        each = over_components(lambda part: part.log_prob(value), self._parts())
        return self._mixture.log_weights() + each

    def _before(self, value: Any, key: PRNGKeyArray) -> Float[Array, " dim"]:
        """A draw of x given the value that clipping made of it."""
        key_part, key_draw = jax.random.split(key)
        if isinstance(self.base, AbstractMixture):
            index = jax.random.categorical(key_part, self._responsibilities(value))
            part = Censored(self.base.component(index), self.low, self.high)
            return part._before(value, key_draw)
        value, (a, b) = as_event(value, self.event_shape), self._ends()
        at_low, at_high = self._at_bounds(value)
        # Of the tail below -b or below a: where it underflows, the bound is what is nearest.
        end = jnp.where(at_low, a, -b)
        share = jax.random.uniform(key_draw, value.shape, value.dtype)
        drawn = ndtri(share * ndtr(end))
        beyond = jnp.where(jnp.isfinite(drawn), jnp.minimum(drawn, end), end)
        x = self._normal.push(jnp.where(at_low, beyond, -beyond))
        return jnp.where(at_low | at_high, x, value)

    def _ends(self) -> tuple[Array, Array]:
        """The bounds in standard deviations from the mean of a normal; finite, so that none is."""
        loc, scale = self._normal.loc, self._normal.scale

        def end(bound, far):
            there = jnp.where(jnp.isinf(bound), loc, bound)  # whose gradient is finite
            return jnp.where(jnp.isinf(bound), far, (there - loc) / scale)

        return jnp.maximum(end(self.low, -FAR), -FAR), jnp.minimum(end(self.high, FAR), FAR)

    def _moments(self) -> tuple[Array, Array]:
        """Mean and variance of a censored standard normal, about what is nearest to 0."""
        a, b = self._ends()
        centre = jnp.clip(0.0, a, b)
        inside, first, second = _between(a, b)
        below, above = ndtr(a), ndtr(-b)
        mean = (a - centre) * below + (b - centre) * above + first - centre * inside
        square = (a - centre) ** 2 * below + (b - centre) ** 2 * above
        square += second - 2 * centre * first + centre**2 * inside
        return centre + mean, jnp.maximum(square - mean**2, 0.0)

    @property
    def _normal(self) -> DiagNormal:
        """The base, where it is no mixture."""
        base: Any = self.base
        return base

    @property
    def _mixture(self) -> AbstractMixture:
        """The base, where it is one."""
        base: Any = self.base
        return base

    def _at_bounds(self, value: Array) -> tuple[Array, Array]:
        """Whether each entry is at the lower bound, or beyond it, and the same of the upper one."""
        return value <= self.low + slack_at(self.low), value >= self.high - slack_at(self.high)


def slack_at(bound: Array) -> Array:
    """How far rounding may move a value away from a bound."""
    size = jnp.where(jnp.isinf(bound), 1.0, jnp.abs(bound))
    return ROUNDING * jnp.finfo(bound.dtype).eps * jnp.maximum(1.0, size)


def _between(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Mass, and integrals of z and of z^2, of a standard normal between a and b."""
    mass = jnp.where(a > 0, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))
    at_a, at_b = (jnp.exp(-0.5 * (x**2 + LOG_2PI)) for x in (a, b))
    return mass, at_a - at_b, mass + a * at_a - b * at_b


def _check_base(base: Any) -> None:
    core = base
    while isinstance(core, AbstractMixture):
        core = core.components()
    if not isinstance(core, DiagNormal):
        raise TypeError(
            "base must be a DiagNormal or a mixture of them, whose mass beyond a bound is known "
            f"dimension by dimension, but is a {type(base).__name__}"
            f"{'' if core is base else f' of {type(core).__name__}'}."
        )


def _as_bound(name: str, bound: Any, base: AbstractDistribution) -> Array:
    bound, shape = as_float(name, bound), base.event_shape
    if bound.ndim > 0 and bound.shape[-1:] != shape:
        raise ValueError(
            f"{name} must be one number or [{shape[0]}] like the values of base, but has shape "
            f"{bound.shape}."
        )
    return jnp.broadcast_to(bound.astype(bound.dtype), jnp.broadcast_shapes(bound.shape, shape))
