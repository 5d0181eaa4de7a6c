"""Monotone maps of [0, 1] onto itself: what a level that was predicted really means."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from ..distributions.checks import as_dims
from ..transitions import AbstractConstant

LEVELS = np.array([1 / 64, 1 / 32, *np.arange(1, 16) / 16, 31 / 32, 63 / 64])
LEAST = 64  # values: fewer say nothing about the outer levels
FAR = 40.0  # normal scores beyond which a normal tail is zero in double precision
GAP = 1e-3  # between knots, in normal scores: the map must rise, and with a bounded slope
BISECTIONS = 40
FIT_STEPS, FIT_RATE = 300, 0.05


class AbstractLevelMap(AbstractConstant):
    """An increasing map G of levels for each dimension: where F was predicted, G(F) is right."""

    @abc.abstractmethod
    def __call__(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """G of each level, `[dim]`."""

    @abc.abstractmethod
    def inverse(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The levels that G takes to `level`, `[dim]`."""

    @abc.abstractmethod
    def log_density(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """Log of the derivative of G at each level, `[dim]`."""

    def marginal(self, dims: tuple[int, ...]) -> Any:
        """The map of some dimensions, in the order given."""
        index = as_dims(dims, len(jax.tree.leaves(self)[0]))
        return jax.tree.map(lambda x: x[index], self)


class QuantileMap(AbstractLevelMap):
    """Through the quantiles of hold-out PIT values: straight lines between normal scores.

    The isotonic regression of Kuleshov, Fenner & Ermon (2018, arXiv 1807.00263) on 19 knots. It is
    drawn in normal scores, `Phi^-1(G(Phi(z)))` against z, where a wrong standard deviation is a
    straight line: so it is strictly increasing, has a density, and beyond the outer knots goes on
    with the overall slope, which keeps the tails of the family.
    """

    source: Float[Array, "dim knots"]
    """Normal scores of predicted levels, in order."""
    target: Float[Array, "dim knots"]
    """Normal scores of what they mean."""

    @staticmethod
    def fit(values: Float[np.ndarray, "number dim"]) -> "QuantileMap":
        """The map through the quantiles of PIT values `[number, dim]`.

        Raises:
            ValueError: fewer than 64 values.
        """
        _check_number(values)
        normal = np.asarray(ndtri(_inside(jnp.asarray(values))), float)
        target = np.asarray(ndtri(LEVELS), float)
        quantiles = np.quantile(normal, LEVELS, axis=0).T
        # Spread out what coincides: q_k - k GAP must not fall.
        steps = GAP * np.arange(len(LEVELS))
        source = np.maximum.accumulate(quantiles - steps, axis=1) + steps
        slope = (target[-1] - target[0]) / (source[:, -1] - source[:, 0])
        reach = 2 * FAR / np.minimum(slope, 1.0)
        low, high = source[:, 0] - reach, source[:, -1] + reach
        ends = target[0] - slope * reach, target[-1] + slope * reach
        inner = np.broadcast_to(target, source.shape)
        return QuantileMap(
            jnp.asarray(np.column_stack([low, source, high]), jnp.float32),
            jnp.asarray(np.column_stack([ends[0], inner, ends[1]]), jnp.float32),
        )

    def __call__(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return ndtr(self._interpolate(ndtri(_inside(level)), self.source, self.target))

    def inverse(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return ndtr(self._interpolate(ndtri(_inside(level)), self.target, self.source))

    def log_density(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        z = ndtri(_inside(level))
        mapped = self._interpolate(z, self.source, self.target)
        index = jax.vmap(lambda z, knots: jnp.searchsorted(knots, z, side="right"))(z, self.source)
        index = jnp.clip(index, 1, self.source.shape[1] - 1)[:, None]
        rise, run = (
            jnp.take_along_axis(x, index, 1) - jnp.take_along_axis(x, index - 1, 1)
            for x in (self.target, self.source)
        )
        return 0.5 * (z - mapped) * (z + mapped) + jnp.log(rise / run)[:, 0]

    def _interpolate(self, z, source, target):
        return jax.vmap(jnp.interp)(z, source, target)


class BetaMap(AbstractLevelMap):
    """Three numbers a dimension: `logit G(u) = a log u - b log(1 - u) + c`, a and b positive.

    Beta calibration (Kull, Silva Filho & Flach 2017, "Beyond sigmoids"), here of a cdf: a and b
    bend the tails, c shifts. For few hold-out data.
    """

    log_a: Float[Array, " dim"]
    log_b: Float[Array, " dim"]
    shift: Float[Array, " dim"]

    @staticmethod
    def fit(values: Float[np.ndarray, "number dim"]) -> "BetaMap":
        """The map of greatest likelihood, under which the PIT values `[number, dim]` have density.

        Raises:
            ValueError: fewer than 64 values.
        """
        _check_number(values)
        zero = jnp.zeros(values.shape[1])
        return _fit_beta(BetaMap(zero, zero, zero), _inside(jnp.asarray(values)))

    def __call__(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return jax.nn.sigmoid(self._logit(_inside(level)))

    def inverse(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """By bisection on the logit scale, with the gradient of the exact inverse."""
        level = _inside(level)
        wanted = jnp.log(level) - jnp.log1p(-level)
        fixed, goal = jax.lax.stop_gradient((self, wanted))

        def halve(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            below = fixed._of_logit(middle) < goal
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        far = jnp.full_like(goal, FAR**2)
        low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (-far, far))
        root = 0.5 * (low + high)
        slope = fixed._slope(jax.nn.sigmoid(root))
        step = (wanted - self._of_logit(root)) / slope
        return jax.nn.sigmoid(root + (step - jax.lax.stop_gradient(step)))

    def log_density(self, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
        level = _inside(level)
        logit = self._logit(level)
        inner = jax.nn.log_sigmoid(logit) + jax.nn.log_sigmoid(-logit)
        return inner + jnp.log(self._slope(level)) - jnp.log(level) - jnp.log1p(-level)

    def _logit(self, level):
        rise, fall = jnp.exp(self.log_a), jnp.exp(self.log_b)
        return rise * jnp.log(level) - fall * jnp.log1p(-level) + self.shift

    def _of_logit(self, logit):
        rise, fall = jnp.exp(self.log_a), jnp.exp(self.log_b)
        below, above = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)
        return rise * below - fall * above + self.shift

    def _slope(self, level):
        """Derivative of the logit of G by the logit of the level."""
        return jnp.exp(self.log_a) * (1 - level) + jnp.exp(self.log_b) * level


@eqx.filter_jit
def _fit_beta(start: BetaMap, values: Float[Array, "number dim"]) -> BetaMap:
    optimiser = optax.adam(FIT_RATE)
    loss = lambda level_map: -jnp.sum(jnp.mean(jax.vmap(level_map.log_density)(values), 0))  # noqa: E731

    def step(carry, _):
        level_map, state = carry
        gradient: Any = jax.grad(loss)(level_map)
        updates, state = optimiser.update(gradient, state)
        return (eqx.apply_updates(level_map, updates), state), None

    initial: Any = start
    (fitted, _), _ = jax.lax.scan(step, (start, optimiser.init(initial)), length=FIT_STEPS)
    return fitted


def _inside(level: Array) -> Array:
    """Levels moved off 0 and 1, where normal scores and logits are infinite."""
    kind = jnp.finfo(level.dtype)
    return jnp.clip(level, 4 * kind.tiny, 1 - 0.5 * kind.eps)


def _check_number(values: np.ndarray) -> None:
    if len(values) < LEAST:
        raise ValueError(f"holdout must have at least {LEAST} transitions, but has {len(values)}.")
