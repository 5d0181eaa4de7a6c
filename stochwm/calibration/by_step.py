"""A spread factor for each step of a rollout, so that particles are right at every horizon."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..data import Episodes
from ..distributions import LatentState, LatentStateDistribution
from ..models import AbstractWorldModel
from .bootstrap import episode_intervals
from .crps import crps
from .factors import Factors, best_factors
from .spread import spread
from .starts import HORIZONS, MIN_STARTS, Starts, choose_starts

STEPS = 4  # of a start, or as many more starts: what a factor is fitted to
START_BATCH = 32  # starts whose particles advance at the same time


class ByStep(AbstractWorldModel):
    """A world model with a clock, whose predictions are spread by the factor of the step.

    A rollout begins at `start(observation)`, a `LatentState` of the number of the step, 0, and the
    state of the model inside. The transition of step t is spread by row t of the factors, and
    from their end on by the last row. `observed(state)` drops the clock: `on_observations` lets a
    policy of observations act on such states.
    """

    model: AbstractWorldModel
    factor: Factors

    def __init__(self, model: AbstractWorldModel, factor: Any):
        """Wrap a world model over flat states.

        Args:
            model: predicts a family with `mean` and `affine`.
            factor: positive, `[steps, state]`.

        Raises:
            ValueError: another shape, or a factor known not to be positive.
        """
        self.model, self.factor = model, Factors(factor)
        if self.factor.values.ndim != 2 or self.factor.values.shape[0] == 0:
            raise ValueError(
                "factor must have shape [steps, state], at least one step, but has shape "
                f"{list(self.factor.values.shape)}."
            )

    def transition(self, state: LatentState, action: Array) -> LatentStateDistribution:
        factors = jax.lax.stop_gradient(self.factor.values)
        factor = factors[jnp.minimum(state.deter, factors.shape[0] - 1)]
        prediction = spread(self.model.transition(state.stoch, action), factor)
        return LatentStateDistribution(state.deter + 1, prediction)

    def reward(
        self, state: LatentState, action: Array, next_state: LatentState
    ) -> Float[Array, ""]:
        return self.model.reward(state.stoch, action, next_state.stoch)

    def discount(
        self, state: LatentState, action: Array, next_state: LatentState
    ) -> Float[Array, ""]:
        return self.model.discount(state.stoch, action, next_state.stoch)

    def start(self, observation: PyTree[Array]) -> LatentState:
        return LatentState(jnp.zeros((), int), self.model.start(observation))

    def observed(self, state: LatentState) -> PyTree[Array]:
        return self.model.observed(state.stoch)


def fit_by_step(
    model: AbstractWorldModel,
    holdout: Episodes,
    *,
    horizons: Sequence[int] = HORIZONS,
    num_starts: int = 500,
    num_particles: int = 50,
    key: PRNGKeyArray,
) -> ByStep:
    """The model with factors that make open-loop particles right at every horizon.

    Particles roll under the recorded actions from starts all over the hold-out. The steps up to
    the first horizon share one factor per dimension, those from there to the second another, and so
    on, each fitted after the ones before it: it minimises the CRPS of the particles at its own
    steps, from where they are at its first, with the same random numbers for every candidate. A
    new factor takes the place of the one before it only where it is better by more than chance, by
    bootstrap over episodes: far ahead one step adds little to the spread, so that a factor of its
    own would fit noise. Horizons that about double are well conditioned.

    Args:
        model: a world model over flat states whose predictions have `mean` and `affine`.
        holdout: episodes that the model was not trained on.
        horizons: the last step of each factor, increasing; the last factor holds ever after.
        num_starts: at most this many starts; up to four times as many for factors of fewer than
            four steps. Where modes are narrow beside the distance between them, a factor that is
            off by 1 % moves them noticeably.
        num_particles: a start, at least 2.
        key: for the particles.

    Raises:
        TypeError: predictions that cannot be spread.
        ValueError: horizons that do not increase, or that fewer than 10 futures reach.
    """
    ends = [int(horizon) for horizon in horizons]
    if not ends or ends[0] < 1 or any(np.diff(ends) < 1):
        raise ValueError(f"horizons must increase and be at least 1, but are {list(horizons)}.")
    starts = choose_starts(holdout, num_starts, ends[-1])
    long_enough = int(starts.mask[:, ends[-1] - 1].sum())
    if long_enough < MIN_STARTS:
        raise ValueError(
            f"horizons must lie inside the episodes of holdout, but only {long_enough} starts are "
            f"followed by {ends[-1]} steps; {MIN_STARTS} are needed."
        )
    rows = []
    for end in ends:
        steps = range(len(rows), end)
        starts = choose_starts(holdout, num_starts * -(-STEPS // len(steps)), ends[-1])
        first = jnp.repeat(jnp.asarray(starts.state)[:, None], num_particles, axis=1)
        here, _ = _roll(model, starts, first, rows, range(len(rows)), key)

        def scores(factor, starts=starts, here=here, steps=steps):
            return _roll(model, starts, here, [factor] * len(steps), steps, key)[1]

        factor = best_factors(lambda f, of=scores: of(f).mean(axis=0), first.shape[-1])
        if rows:
            better = _better(scores(factor) - scores(rows[-1]), starts.episode)
            factor = np.where(better, factor, rows[-1])
        rows += [factor] * len(steps)
    return ByStep(model, np.stack(rows))


def _better(differences: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Whether differences of scores `[starts, dim]` are below 0 by more than chance, `[dim]`.

    They are of a factor that was chosen to make them so. One that chance took z standard errors
    away from the right one is better by z / 2 standard errors of the difference: the end of an 80 %
    interval, 1.28 of them, is a test of factors at 1 %.
    """
    return episode_intervals(differences, episode, level=0.8)[2] < 0


def _roll(model, starts: Starts, clouds, factors, steps, key) -> tuple[Array, np.ndarray]:
    """Clouds after some steps with a factor each, and each start's share in their CRPS.

    The scores, `[starts, dim]`, have as their mean that of the steps, each over the futures that
    last that long.
    """
    total = np.zeros((len(clouds), clouds.shape[-1]))
    for step, factor in zip(steps, factors, strict=True):
        there = starts.mask[:, step]
        real = (starts.action[:, step], starts.future[:, step])
        at = jax.random.fold_in(key, step)
        clouds, score = _advance(model, clouds, jnp.asarray(factor), *real, at)
        total += np.where(there[:, None], score, 0.0) / (len(steps) * there.mean())
    return clouds, total


@eqx.filter_jit
def _advance(model, clouds, factor, action, future, key) -> tuple[Array, Array]:
    """Every cloud `[starts, particles, state]` one step on, and its CRPS, `[starts, dim]`."""

    def one_start(row):
        cloud, action, future, keys = row

        def particle(state, key):
            prediction = spread(model.transition(model.start(state), action), factor)
            return model.observed(prediction.sample(seed=key))

        cloud = jax.vmap(particle)(cloud, keys)
        return cloud, crps(cloud, future)

    keys = jax.random.split(key, clouds.shape[:2])
    inputs = (clouds, action, future, keys)
    return jax.lax.map(one_start, inputs, batch_size=START_BATCH)
