"""Imagined futures from held-out episodes, under the actions that were really taken."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._rollout import replay, step_keys, step_times
from ..calibration import Starts, kernel_density, rank_of, start_states
from ..calibration.open_loop import begins
from ..data import Episodes, check_spaces, fit_standardiser
from ..distributions import energy_score
from ..models import AbstractWorldModel
from .measured import measured
from .members import Measure
from .spread import spread_along

ULPS = 8  # that a measure may move by where it is compiled into another program


class Rehearsal(NamedTuple):
    """What a guard would have seen, one start an episode: episodes are exchangeable, steps not."""

    statistic: Float[np.ndarray, "episodes particles horizon"]
    """What the guard compares to its threshold: never falls along a future. After the end of an
    episode it stays as it is."""
    level: Float[np.ndarray, "episodes horizon"]
    """Mass of the smallest region of the model's cloud that reaches what really came, in (0, 1);
    1 where the cloud is not finite, NaN after the end of an episode."""
    distance: Float[np.ndarray, "episodes horizon"] | None = None
    """Energy distance of the model's cloud to what really came, in units of the observations;
    infinite where the cloud is not finite, NaN after the end of an episode."""
    spread: Float[np.ndarray, "episodes horizon"] | None = None
    """How far apart the futures of each start are, see `spread_along`, in the same units. After the
    end of an episode it stays as it is."""

    @property
    def horizon(self) -> int:
        """Steps of each future."""
        return self.statistic.shape[-1]

    def part(self, episodes: Any) -> "Rehearsal":
        """That of some of the episodes: a slice, indices or a mask."""
        distance = None if self.distance is None else self.distance[episodes]
        spread = None if self.spread is None else self.spread[episodes]
        return Rehearsal(self.statistic[episodes], self.level[episodes], distance, spread)

    def of_clouds(self) -> "Rehearsal":
        """The same of starts as a whole, `[episodes, 1, horizon]`, by the spread of their futures.

        Raises:
            ValueError: a rehearsal that did not measure it.
        """
        if self.spread is None:
            raise ValueError("a rehearsal must have measured spread to judge starts by it.")
        return self._replace(statistic=self.spread[:, None])


def rehearse(
    model: AbstractWorldModel,
    episodes: Episodes,
    measure: Measure,
    *,
    cumulative: bool,
    horizon: int,
    key: PRNGKeyArray,
    num_particles: int,
    unit: Any = None,
) -> Rehearsal:
    """Imagine from one random start of each episode, under its recorded actions.

    A filter is shown each episode up to its start, see `start_states`; it is measured by what it
    predicts of its latent state, as a guard sees it, and ranked by observations drawn in that.

    A start has `horizon` steps of its episode to come, or all of them where the episode is shorter.
    The level is the rank of what came by the density of the cloud around it (`kernel_density`), the
    distance twice the energy score of the cloud.

    Args:
        model: a world model over flat observations, or a filter of them, whose predictions
            `measure` takes.
        episodes: that the model was not trained on.
        measure: `measure(prediction)`.
        cumulative: whether the statistic is the sum over the steps so far, or the largest.
        horizon: steps, at least 1.
        key: picks the starts, and draws.
        num_particles: futures from each start, at least 2.
        unit: of the distance, a number or one a dimension, `[observation]`; by default the spread
            of `episodes`, or 1 where they are one-hot.

    Raises:
        TypeError: `measure` does not take what the model predicts.
        ValueError: a model of other spaces, a horizon below 1, fewer than two particles, a measure
            that returns NaN, -inf or no scalar, or one of disagreement where there is one member.
    """
    if horizon < 1 or num_particles < 2:
        raise ValueError(
            "horizon must be at least 1 and num_particles at least 2, but are "
            f"{horizon} and {num_particles}."
        )
    check_spaces(model, episodes)
    key_starts, key = jax.random.split(key)
    starts = one_start_each(episodes, horizon, key=key_starts)
    keys = jax.random.split(key, len(starts.state))
    states = start_states(model, episodes, starts.row, key=key, num_particles=num_particles)
    rows = jax.tree.map(jnp.asarray, (states, starts.action, starts.future, keys))
    unit = jnp.asarray(units_of(episodes) if unit is None else unit, float)
    values, level, distance, spread = _imagined(model, measure, unit, rows, num_particles)
    values = np.where(starts.mask[:, None], np.asarray(values, float), np.inf)
    broken = np.isnan(values) | np.isneginf(values)
    if broken.any():
        episode, particle, step = (int(i) for i in np.argwhere(broken)[0])
        what = "NaN" if np.isnan(values[episode, particle, step]) else "-inf"
        raise ValueError(
            f"the measure is {what} in episode {episode}, {step + 1} steps after its start: the "
            "measure or the model's prediction is broken there, so that no threshold can be found."
        )
    values = np.where(starts.mask[:, None], values, -np.inf)
    distance = np.nan_to_num(np.asarray(distance, float), nan=np.inf, posinf=np.inf)
    level = np.nan_to_num(np.asarray(level, float), nan=1.0)  # whatever came is outside
    lasting = lambda x: np.where(starts.mask, x, np.nan)  # noqa: E731
    spread = np.nan_to_num(np.asarray(spread, float), nan=np.inf, posinf=np.inf)
    spread = running(np.where(starts.mask, spread, -np.inf), cumulative=False)
    return Rehearsal(running(values, cumulative), lasting(level), lasting(distance), spread)


def units_of(episodes: Episodes) -> Float[np.ndarray, " observation"]:
    """The spread of each number over the episodes; 1 where there is none, or they are one-hot."""
    spread = np.asarray(fit_standardiser(episodes.observation).scale)
    return np.ones_like(spread) if any(episodes.observation_space.one_hot) else spread


def running(measured: Float[np.ndarray, "*futures horizon"], cumulative: bool) -> np.ndarray:
    """The statistic of a guard after each step, where -inf marks steps that were not taken.

    In the guard's own precision and order: rounded otherwise, sums that tie there would not here.
    """
    measured = np.asarray(measured, jnp.result_type(float))
    if cumulative:
        with np.errstate(over="ignore", invalid="ignore"):  # as on a device, silently
            measured = np.cumsum(np.where(np.isneginf(measured), 0, measured), axis=-1)
    return np.maximum.accumulate(measured, axis=-1)


def raised(threshold: float, statistic: Float[np.ndarray, "*futures horizon"]) -> float:
    """The threshold as a guard holds it, with room for the rounding of a number that ties with it.

    Worlds of few states have few values of the statistic: without room, the last bit of another
    program decides whether all who share the largest trusted one are flagged. Sums round once more
    a step. Near 0, numbers are as exact as those that they are differences of, up to 1.
    """
    if not np.isfinite(threshold):
        return float(threshold)
    kind = np.dtype(jnp.result_type(float))
    finite = np.abs(statistic[np.isfinite(statistic)])
    size = max(abs(threshold), min(1.0, np.max(finite, initial=0.0)))
    room = (ULPS + statistic.shape[-1]) * float(np.finfo(kind).eps) * float(size)
    with np.errstate(over="ignore"):
        return float(np.asarray(float(threshold) + room).astype(kind))


def one_start_each(episodes: Episodes, horizon: int, *, key: PRNGKeyArray) -> Starts:
    """One random start of each episode with `horizon` steps to come, else its first."""
    lengths = episodes.lengths - 1
    room = np.maximum(lengths - horizon, 0)
    drawn = np.asarray(jax.random.uniform(key, room.shape))
    begins = np.flatnonzero(episodes.is_first) + np.floor(drawn * (room + 1)).astype(int)
    last = np.flatnonzero(episodes.is_last)[:, None]
    steps = begins[:, None] + np.arange(horizon)
    return Starts(
        row=begins,
        state=episodes.observation[begins],
        action=episodes.action[np.minimum(steps, last - 1)],
        future=episodes.observation[np.minimum(steps + 1, last)],
        mask=steps < last,
        episode=np.arange(len(begins)),
    )


@eqx.filter_jit
def _imagined(model, measure, unit, rows, num_particles: int) -> tuple[Array, ...]:
    def one(row):
        state, actions, future, key = row
        key_future, key_ties = jax.random.split(key)

        def particle(start, key):
            trajectory = replay(
                model,
                start,
                actions,
                key=key,
                record=lambda state, action, prediction, next_state: measured(measure, prediction),
            )[1]
            emit = lambda state, time: model.emission(state, key=step_keys(key, time)[0])  # noqa: E731
            return trajectory.aux, jax.vmap(emit)(trajectory.state, step_times(len(actions)))

        keys = jax.random.split(key_future, num_particles)
        values, states = jax.vmap(particle)(begins(model, state, num_particles), keys)
        keys = jax.random.split(key_ties, len(future))
        clouds = jnp.swapaxes(states, 0, 1)
        rank = jax.vmap(lambda cloud, came, key: rank_of(kernel_density, cloud, came, key=key))
        distance = 2 * jax.vmap(energy_score)(clouds / unit, future / unit)
        return values, 1 - rank(clouds, future, keys), distance, spread_along(states, unit)

    return jax.lax.map(one, rows)
