"""Marginal cdfs recoded by a monotone map, with the copula as it was."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..data import Transitions
from ..distributions import AbstractDistribution
from ..distributions.checks import as_event, as_level
from ..transitions import AbstractTransition
from .level_maps import AbstractLevelMap, QuantileMap
from .marginals import independent_parts
from .pit import pit
from .spread import ROW_BATCH, cannot, predict_rows

MARGIN = 1e-6  # keeps levels inside (0, 1), where quantiles are finite


class PitNoise(eqx.Module):
    """The exogenous noise of a `PitMapped`: that of its base, and what places it in atoms."""

    base: PyTree[Array]
    tie: Float[Array, " dim"]


class PitMapped(AbstractDistribution):
    """A distribution whose marginal cdfs F_d become G_d(F_d), and whose copula stays.

    A draw x of the base becomes `F^-1(G^-1(F(x)))`, dimension by dimension; at an atom the level is
    drawn between the limits of F, as in `pit`. The log density gains that of G and keeps that of
    the copula, c:

        log p'(x) = sum_d [log g_d(F_d(x_d)) + log f_d(x_d)] + log c(G(F(x)))

    In several dimensions the copula is not unique at an atom, and `log_prob` is NaN there; in one
    dimension it is the log mass. Moments have no closed form. Levels keep 1e-6 away from 0 and 1,
    so that draws are finite.
    """

    base: AbstractDistribution
    level_map: AbstractLevelMap

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.base.event_shape

    def noise(self, *, seed: PRNGKeyArray) -> PitNoise:
        key_base, key_tie = jax.random.split(seed)
        return PitNoise(
            self.base.noise(seed=key_base), jax.random.uniform(key_tie, self.event_shape)
        )

    def push(self, noise: PitNoise) -> Float[Array, " dim"]:
        left, right = self.base.cdf_limits(self.base.push(noise.base))
        return self.quantile(_inside(left + noise.tie * (right - left)))

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> PitNoise:
        key_base, key_level, key_tie = jax.random.split(key, 3)
        left, right = self.cdf_limits(as_event(value, self.event_shape))
        share = jax.random.uniform(key_level, self.event_shape)
        level = _inside(left + share * (right - left))
        before = self.base.quantile(level)
        low, high = self.base.cdf_limits(before)
        gap = high - low
        tie = jnp.clip((level - low) / jnp.where(gap > 0, gap, 1.0), 0.0, 1.0)
        free = jax.random.uniform(key_tie, self.event_shape)
        return PitNoise(self.base.abduct(before, key=key_base), jnp.where(gap > 0, tie, free))

    def to_distrax(self):
        raise NotImplementedError(
            "PitMapped has no distrax twin and no closed-form moments: average over samples (vmap "
            "over seeds)."
        )

    def log_prob(self, value: Any) -> Float[Array, ""]:
        value = as_event(value, self.event_shape)
        left, right = self.base.cdf_limits(value)
        mass = self.level_map(right) - self.level_map(left)
        atom = right > left
        ratio = jnp.log(mass / jnp.where(atom, right - left, 1.0))
        gain = jnp.where(atom, ratio, self.level_map.log_density(right))
        marginal = jnp.sum(gain + _marginal_log_prob(self.base, value))
        if value.shape == (1,):
            return marginal
        before = self.base.quantile(_inside(self.level_map(right)))
        copula = self.base.log_prob(before) - jnp.sum(_marginal_log_prob(self.base, before))
        return jnp.where(jnp.any(atom), jnp.nan, marginal + copula)

    def cdf(self, value: Any) -> Float[Array, " dim"]:
        return self.cdf_limits(value)[1]

    def cdf_limits(self, value: Any) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
        left, right = self.base.cdf_limits(value)
        return self._of_level(left), self._of_level(right)

    def quantile(self, level: Any) -> Float[Array, " dim"]:
        level = as_level(level) * jnp.ones(self.event_shape)
        return self.base.quantile(_inside(self.level_map.inverse(level)))

    def marginal(self, dims: tuple[int, ...]) -> "PitMapped":
        return PitMapped(self.base.marginal(dims), self.level_map.marginal(dims))

    def affine(self, shift: Any, scale: Any) -> "PitMapped":
        return PitMapped(self.base.affine(shift, scale), self.level_map)

    def _of_level(self, level):
        # Exactly 0 and 1 outside the support, where the map is only nearly so.
        return jnp.where(level <= 0, 0.0, jnp.where(level >= 1, 1.0, self.level_map(level)))


class PitMap(AbstractTransition):
    """A kernel whose marginal cdfs are recoded by a fitted map; see `PitMapped`."""

    kernel: AbstractTransition
    level_map: AbstractLevelMap

    def __call__(self, state: Float[Array, " state"], action: Float[Array, " action"]) -> PitMapped:
        prediction: Any = self.kernel(state, action)
        return PitMapped(prediction, jax.lax.stop_gradient(self.level_map))


def fit_pit_map(
    kernel: AbstractTransition,
    rows: Transitions,
    *,
    key: PRNGKeyArray,
    kind: type[QuantileMap] | Any = QuantileMap,
) -> PitMap:
    """The kernel with marginals recoded so that hold-out PIT values are uniform.

    It mends the shape of marginals. Levels are numbers in float32: where the prediction is several
    times too narrow, PIT values crowd at 0 and 1, and `fit_spread` has to come first.

    Args:
        kernel: predicts a family with `cdf_limits` and `quantile`.
        rows: transitions that the kernel was not trained on, at least 64.
        key: for PIT values at atoms.
        kind: what is fitted, `QuantileMap` or `BetaMap`.

    Raises:
        TypeError: a prediction without cdf or quantile.
        ValueError: too few transitions, or a prediction that is NaN.
    """
    predictions, static = eqx.partition(predict_rows(kernel, rows), eqx.is_array)
    values = jnp.asarray(rows.next_state)

    @eqx.filter_jit
    def levels(*inputs):
        def one(row):
            prediction = eqx.combine(row[0], static)
            _check(prediction, row[1])
            return pit(prediction, row[1], key=row[2])

        return jax.lax.map(one, inputs, batch_size=ROW_BATCH)

    found = np.asarray(levels(predictions, values, jax.random.split(key, len(values))))
    if np.isnan(found).any():
        row = int(np.argwhere(np.isnan(found))[0, 0])
        raise ValueError(
            f"model cannot be scored on the hold-out: its cdf is NaN at transition {row}. Is every "
            "prediction finite, that of each member?"
        )
    return PitMap(kernel, kind.fit(found))


def _check(prediction: Any, value: Array) -> None:
    try:
        prediction.cdf_limits(prediction.quantile(0.5))
        _marginal_log_prob(prediction, value)  # which categories have not: recoded, none is one-hot
    except (NotImplementedError, AttributeError) as error:
        raise cannot("have its cdf recoded", prediction, error) from error


def _marginal_log_prob(law: Any, value: Float[Array, " dim"]) -> Float[Array, " dim"]:
    """The log density of each marginal at its entry, `[dim]`."""
    found = [
        part.marginal((d,)).log_prob(entries[d : d + 1])
        for part, entries in independent_parts(law, value)
        for d in range(len(entries))
    ]
    return jnp.stack(found)


def _inside(level: Array) -> Array:
    return jnp.clip(level, MARGIN, 1 - MARGIN)
