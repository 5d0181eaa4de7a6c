"""Binned dimensions, one after the other: any shape of marginal, and any dependence."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution
from .checks import as_event, as_float, check_like, check_positive, check_trailing

LEVEL_MARGIN = 1e-6  # keeps levels inside (0, 1), where quantiles are finite


class AutoregressiveBins(AbstractDistribution):
    """p(x) = prod_d p(x_d | x_<d), each factor a histogram with exponential tails.

    `head(context, previous, d)` gives the bin logits of dimension d; `previous` is the value with
    the entries from d on set to zero. The bins are equally wide over `[low, high]`; the first and
    the last one are exponential tails that begin at their inner edges, so that no value has zero
    density (autoregressive factoring with discretised dimensions: Metz et al. 2017,
    arXiv 1705.05035).

    It holds a network, so do not record it in a rollout. Moments and marginals beyond the first
    dimension have no closed form: draw samples.
    """

    head: Callable[..., Float[Array, " bins"]]
    context: Float[Array, " features"]
    low: Float[Array, " dim"]
    high: Float[Array, " dim"]
    shift: Float[Array, " dim"]
    scale: Float[Array, " dim"]

    def __init__(self, head: Any, context: Any, low: Any, high: Any, shift: Any, scale: Any):
        """Make a distribution of values of shape `[dim]`.

        Args:
            head: `(context, previous, d) -> [bins]`, with at least 2 bins.
            context: what the head is told about state and action, `[features]`.
            low, high: where the bins begin and end, `[dim]`, before shift and scale.
            shift, scale: the value is `shift + scale * x` for a binned x, `[dim]`; scale > 0.

        Raises:
            ValueError: other shapes, or values known to be impossible.
        """
        self.head, self.context = head, as_float("context", context)
        self.low, self.high = as_float("low", low), as_float("high", high)
        self.shift, self.scale = as_float("shift", shift), as_float("scale", scale)
        check_trailing("low", self.low, (None,), "[dim]")
        for name in ("high", "shift", "scale"):
            check_like(name, getattr(self, name), "low", self.low)
        check_positive("high - low", self.high - self.low)
        check_positive("scale", self.scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.low.shape[-1:]

    def noise(self, *, seed: PRNGKeyArray) -> Float[Array, " dim"]:
        """A uniform level for each dimension, `[dim]`."""
        margin = LEVEL_MARGIN
        return jax.random.uniform(seed, self.event_shape, minval=margin, maxval=1 - margin)

    def push(self, noise: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """Inverse conditional cdfs, first dimension first."""

        def step(value, d):
            bins = _Bins(self.head(self.context, value, d), self.low[d], self.high[d])
            return value.at[d].set(bins.quantile(noise[d])), None

        dims = jnp.arange(self.event_shape[0])
        value, _ = jax.lax.scan(step, jnp.zeros(self.event_shape), dims)
        return self.shift + self.scale * value

    def abduct(self, value: Any, *, key: PRNGKeyArray | None = None) -> Float[Array, " dim"]:
        return self._conditionals(value, lambda bins, x: bins.cdf(x))

    def log_prob(self, value: Any) -> Float[Array, ""]:
        log_density = self._conditionals(value, lambda bins, x: bins.log_density(x))
        return jnp.sum(log_density - jnp.log(self.scale))

    def to_distrax(self):
        raise NotImplementedError("AutoregressiveBins holds a network and has no distrax twin.")

    def mean(self) -> Any:
        raise _draw_samples("mean")

    def variance(self) -> Any:
        raise _draw_samples("variance")

    def mode(self) -> Any:
        raise _draw_samples("mode")

    def affine(self, shift: Any, scale: Any) -> "AutoregressiveBins":
        where = lambda d: (d.shift, d.scale)  # noqa: E731
        return eqx.tree_at(where, self, (shift + scale * self.shift, scale * self.scale))

    def _conditionals(self, value, function) -> Float[Array, " dim"]:
        x = (as_event(value, self.event_shape) - self.shift) / self.scale

        def one(d):
            previous = jnp.where(jnp.arange(x.shape[0]) < d, x, 0.0)
            bins = _Bins(self.head(self.context, previous, d), self.low[d], self.high[d])
            return function(bins, x[d])

        return jax.vmap(one)(jnp.arange(x.shape[0]))


class _Bins(eqx.Module):
    """One histogram on `[low, high]`, whose outer bins are exponential tails."""

    logits: Float[Array, " bins"]
    low: Float[Array, ""]
    high: Float[Array, ""]

    def _width(self):
        return (self.high - self.low) / self.logits.shape[0]

    def log_density(self, x):
        """Log density at `x`, in nats."""
        position, index = self._locate(x)
        last = self.logits.shape[0] - 1
        below = jnp.where(index == 0, position - 1, 0.0)
        above = jnp.where(index == last, last - position, 0.0)
        return jax.nn.log_softmax(self.logits)[index] - jnp.log(self._width()) + below + above

    def cdf(self, x):
        """P(X <= x)."""
        position, index = self._locate(x)
        weights = jax.nn.softmax(self.logits)
        last = self.logits.shape[0] - 1
        inside = jnp.clip(position - index, 0.0, 1.0)
        inside = jnp.where(index == 0, jnp.exp(jnp.minimum(position - 1, 0.0)), inside)
        inside = jnp.where(index == last, -jnp.expm1(jnp.minimum(last - position, 0.0)), inside)
        return (jnp.cumsum(weights) - weights)[index] + weights[index] * inside

    def quantile(self, level):
        """The value with mass `level` below it."""
        weights = jax.nn.softmax(self.logits)
        before = jnp.cumsum(weights) - weights
        last = self.logits.shape[0] - 1
        index = jnp.clip(jnp.sum(before <= level) - 1, 0, last)
        tiny = jnp.finfo(weights.dtype).tiny
        fraction = (level - before[index]) / jnp.maximum(weights[index], tiny)
        fraction = jnp.clip(fraction, LEVEL_MARGIN, 1 - LEVEL_MARGIN)
        position = index + fraction
        position = jnp.where(index == 0, 1 + jnp.log(fraction), position)
        position = jnp.where(index == last, last - jnp.log1p(-fraction), position)
        return self.low + position * self._width()

    def _locate(self, x):
        position = (x - self.low) / self._width()
        # Clipped as a float: a value far out has no integer.
        index = jnp.clip(jnp.floor(position), 0, self.logits.shape[0] - 1).astype(int)
        return position, index


def _draw_samples(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"AutoregressiveBins has no closed-form {name}: average over samples (vmap over seeds)."
    )
