"""A uniform distribution over an axis-aligned box, sides of length zero included."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution
from .blurred_interval import blurred_cdf, blurred_entropy, blurred_log_density
from .checks import as_dims, as_event, as_float, as_level, check_finite, check_trailing

BISECTIONS = 50  # halves a float32 bracket until it cannot shrink
ROUNDING = 4.0  # in units in the last place: a value this close to an atom is the atom


class BoxNoise(eqx.Module):
    """The exogenous noise of a box: where in the box, and how much blur."""

    uniform: Float[Array, "*batch dim"]
    normal: Float[Array, "*batch dim"]


class UniformBox(AbstractDistribution):
    """Uniform over `[low, high]`, with independent normal blur on top.

    Where `low == high` the value is an atom. Densities refer to the counting measure in dimensions
    that are atoms without blur, and to length in the others: log mass adds to log density.
    """

    low: Float[Array, "*batch dim"]
    high: Float[Array, "*batch dim"]
    blur: Float[Array, "*batch dim"]

    def __init__(self, low: Any, high: Any, blur: Any = 0.0):
        """Make a distribution of values of shape `[dim]`.

        Args:
            low, high: opposite corners, `[dim]`, in the units of the value, `low <= high`.
            blur: standard deviation of the normal noise added to each dimension, `[dim]` or a
                scalar, not negative.

        Raises:
            ValueError: other shapes, or values known to be impossible.
        """
        self.low, self.high = as_float("low", low), as_float("high", high)
        self.blur = as_blur(blur, self.low)
        check_corners(self.low, self.high, self.blur, (None,), "[dim]")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.low.shape[-1:]

    def atoms(self) -> Array:
        """Which dimensions are atoms without blur, bool `[dim]`."""
        return (self.high <= self.low) & (self.blur <= 0)

    def noise(self, *, seed: PRNGKeyArray) -> BoxNoise:
        key_uniform, key_normal = jax.random.split(seed)
        shape, dtype = self.low.shape, self.low.dtype
        return BoxNoise(
            jax.random.uniform(key_uniform, shape, dtype),
            jax.random.normal(key_normal, shape, dtype),
        )

    def push(self, noise: BoxNoise) -> Float[Array, "*batch dim"]:
        inside = self.low + (self.high - self.low) * noise.uniform
        return inside + self.blur * noise.normal

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> BoxNoise:
        """Noise given the value it made; what left no trace (the place in an atom) is drawn."""
        value = as_event(value, self.event_shape)
        free = self.noise(seed=key)
        width = self.high - self.low
        inside = jnp.where(self.blur > 0, self._before_blur(value, key), value)
        blurred = (value - inside) / jnp.where(self.blur > 0, self.blur, 1.0)
        place = (inside - self.low) / jnp.where(width > 0, width, 1.0)
        return BoxNoise(
            jnp.where(width > 0, place, free.uniform),
            jnp.where(self.blur > 0, blurred, free.normal),
        )

    def to_distrax(self):
        """The twin of a box with a volume and no blur; NaN where that is not known while tracing.

        Raises:
            NotImplementedError: atoms and blur.
        """
        import distrax

        plain = jnp.all((self.blur <= 0) & (self.low < self.high))
        if not isinstance(plain, Tracer) and not bool(plain):
            raise NotImplementedError(
                "distrax has no uniform distribution with atoms (low == high) or with blur; use "
                "this distribution's own log_prob, cdf and sample."
            )
        low = jnp.where(plain, self.low, jnp.nan)
        return distrax.Independent(distrax.Uniform(low, self.high), 1)

    def log_prob(self, value: Any) -> Float[Array, "*batch"]:
        """Log mass over dimensions that are atoms plus log density over the others, in nats."""
        value = as_event(value, self.event_shape)
        width, slack = self.high - self.low, self._slack()
        inside = (value >= self.low - slack) & (value <= self.high + slack)
        sharp = jnp.where(inside, -jnp.log(jnp.where(width > 0, width, 1.0)), -jnp.inf)
        soft = blurred_log_density(value, self.low, self.high, self.blur)
        log_prob = jnp.where(self.blur > 0, soft, sharp)
        return jnp.sum(jnp.where(jnp.isnan(value), jnp.nan, log_prob), axis=-1)

    def mean(self) -> Float[Array, "*batch dim"]:
        return 0.5 * (self.low + self.high)

    def variance(self) -> Float[Array, "*batch dim"]:
        return (self.high - self.low) ** 2 / 12 + self.blur**2

    def covariance(self) -> Float[Array, "*batch dim dim"]:
        return self.variance()[..., None] * jnp.eye(self.low.shape[-1])

    def mode(self) -> Float[Array, "*batch dim"]:
        """The centre of the box, one of many for a box without blur."""
        return self.mean()

    def entropy(self) -> Float[Array, "*batch"]:
        """In nats: log length of sides, 0 of atoms; of blurred sides by quadrature (to 1e-4)."""
        width = self.high - self.low
        sharp = jnp.log(jnp.where(width > 0, width, 1.0))
        soft = blurred_entropy(width, self.blur)
        return jnp.sum(jnp.where(self.blur > 0, soft, sharp), axis=-1)

    def cdf(self, value: Any) -> Float[Array, "*batch dim"]:
        return self._cdf(as_event(value, self.event_shape))

    def _cdf(self, value: Array) -> Float[Array, "*batch dim"]:
        """At one value, or at one for each box of a stack."""
        width = self.high - self.low
        inside = jnp.clip((value - self.low) / jnp.where(width > 0, width, 1.0), 0.0, 1.0)
        sharp = jnp.where(width > 0, inside, (value >= self.low).astype(self.low.dtype))
        return jnp.where(self.blur > 0, blurred_cdf(value, self.low, self.high, self.blur), sharp)

    def cdf_limits(self, value: Any) -> tuple[Array, Array]:
        cdf, atoms, slack = self.cdf(value), self.atoms(), self._slack()
        left = jnp.where(atoms, (value > self.low + slack).astype(cdf.dtype), cdf)
        right = jnp.where(atoms, (value >= self.low - slack).astype(cdf.dtype), cdf)
        return left, right

    def quantile(self, level: Any) -> Float[Array, "*batch dim"]:
        """Exact without blur, by bisection (without a gradient in the level) with it, `[dim]`."""
        level = as_level(level) * jnp.ones_like(self.low)
        sharp = self.low + level * (self.high - self.low)
        reach = jnp.where(self.blur > 0, self.blur * ndtri(level), 0.0)
        soft = bisect(self._cdf, level, self.low + reach, self.high + reach)
        return jnp.where(self.blur > 0, soft, sharp)

    def marginal(self, dims: tuple[int, ...]) -> "UniformBox":
        index = as_dims(dims, self.low.shape[-1])
        return UniformBox(self.low[..., index], self.high[..., index], self.blur[..., index])

    def affine(self, shift: Any, scale: Any) -> "UniformBox":
        return UniformBox(shift + scale * self.low, shift + scale * self.high, scale * self.blur)

    def smoothed(self, scale: Any) -> "UniformBox":
        blur = jnp.sqrt(self.blur**2 + jnp.asarray(scale) ** 2)
        return UniformBox(self.low, self.high, blur)

    def _slack(self) -> Float[Array, "*batch dim"]:
        """How far rounding may move a value over a side."""
        size = jnp.maximum(1.0, jnp.maximum(jnp.abs(self.low), jnp.abs(self.high)))
        return ROUNDING * jnp.finfo(self.low.dtype).eps * size

    def _before_blur(self, value: Any, key: PRNGKeyArray) -> Float[Array, "*batch dim"]:
        """The value without its blur, drawn from its posterior: a normal cut off at the box."""
        scale = jnp.where(self.blur > 0, self.blur, 1.0)
        lower, upper = (self.low - value) / scale, (self.high - value) / scale
        cut = jax.random.truncated_normal(key, lower, upper, self.low.shape, self.low.dtype)
        # Far from the box the cut-off normal underflows: the nearest side explains the value.
        nearest = jnp.clip(value, self.low, self.high)
        drawn = jnp.clip(value + scale * cut, self.low, self.high)
        return jnp.where(jnp.isfinite(drawn) & (self.high > self.low), drawn, nearest)


def bisect(cdf: Any, level: Array, low: Array, high: Array) -> Array:
    """The smallest value whose `cdf` reaches `level`, given a bracket, entry by entry."""

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        below = cdf(middle) < level
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    return jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))[1]


def as_blur(blur: Any, corner: Array) -> Array:
    """The blur of each entry of a corner, of its shape.

    Raises:
        ValueError: blur of other dimensions, which would make values of a box that has none.
    """
    blur = as_float("blur", blur)
    if blur.shape not in ((), corner.shape[-1:], corner.shape):
        raise ValueError(
            f"blur must be one number or {list(corner.shape[-1:])} like a corner, but has shape "
            f"{blur.shape}."
        )
    return blur * jnp.ones_like(corner)


def check_corners(low: Array, high: Array, blur: Array, axes: tuple, form: str) -> None:
    """Raise `ValueError` unless the shapes end in `axes` and, if known, low <= high, blur >= 0."""
    check_trailing("low", low, axes, form)
    check_trailing("high", high, low.shape, f"{list(low.shape)} like low")
    for name, array in (("low", low), ("high", high), ("blur", blur)):
        check_finite(name, array)
    if isinstance(low - high, Tracer) or isinstance(blur, Tracer):
        return
    if np.any(np.asarray(low) > np.asarray(high)):
        raise ValueError(f"low must not exceed high, but low is {low} and high is {high}.")
    if np.any(np.asarray(blur) < 0):
        raise ValueError(f"blur must not be negative, but is {blur}.")
