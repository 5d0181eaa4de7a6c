"""Filters along recorded episodes: where their rollouts start, and how likely each step was."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .._rollout import Filtered, nothing, observe, step_keys, step_times
from ..data import Episodes
from ..models import AbstractFilter, AbstractWorldModel
from .one_step import next_targets, seen_density
from .scorecard import Sample
from .starts import in_blocks

PAST = np.uint32(2**32 - 1)  # folded in for the past: far from the numbers of futures
AT_ONCE = 8  # particles that filter at the same time: their states at all rows must fit


def filtered(
    model: AbstractFilter,
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    record: Callable[..., PyTree[Array]] = nothing,
) -> Filtered:
    """`observe` along all rows of the episodes, each from its beginning."""
    rows = (episodes.observation, episodes.action, episodes.is_first)
    return observe(model, *map(jnp.asarray, rows), key=key, record=record)[1]


def start_states(
    model: AbstractWorldModel,
    episodes: Episodes,
    row: Int[np.ndarray, " starts"],
    *,
    key: PRNGKeyArray,
    num_particles: int,
) -> PyTree[np.ndarray]:
    """Where the futures from some rows of recorded episodes start, as `open_loop` takes it.

    Of a filter these are states, `[starts, particles, ...]`: each particle has seen the episode of
    its row from the beginning up to the row and nothing after it, with draws of its own, since a
    single draw would pass for certainty. Of any other model it is what was seen in the row,
    `[starts, state]`.

    Args:
        model: a world model over flat observations.
        episodes: recorded.
        row: rows of the episodes.
        key: for the draws of a filter.
        num_particles: futures a start.
    """
    if not isinstance(model, AbstractFilter):
        return episodes.observation[row]

    def block(keys):
        return jax.tree.map(lambda x: np.asarray(x)[:, row], _states(model, episodes, keys))

    return jax.tree.map(lambda x: np.swapaxes(x, 0, 1), _each(block, key, num_particles))


def filter_density_sample(
    model: AbstractFilter,
    noise: Array | None,
    episodes: Episodes,
    *,
    target_noise: np.ndarray,
    key: PRNGKeyArray,
    num_particles: int,
) -> Sample:
    """`density_sample` of a filter: at every step, of the mixture over its particles.

    Each particle filters up to the step with draws of its own, and draws the next state; the
    density is the mean of those that the particles decode to.

    Args:
        model: a filter.
        noise: what its predictions are seen through, `[state]`, or None.
        episodes: held-out episodes.
        target_noise: standard deviation of the noise on what came, `[state]`.
        key: for the noise on what came, the same as for other models, and for the particles.
        num_particles: how many, at least 1.
    """
    rows, target, name = next_targets(episodes, key=key, noise=target_noise)
    acted, action = ~episodes.is_last, np.asarray(rows.action)

    def block(keys):
        states = jax.tree.map(lambda x: np.asarray(x)[:, acted], _states(model, episodes, keys))
        return _log_probs(model, noise, states, action, target, keys)

    log_probs = _each(block, key, num_particles)
    values = math.log(num_particles) - np.logaddexp.reduce(log_probs, axis=0)
    return Sample(values, np.asarray(rows.episode), name)


def _each(block: Callable[..., Any], key: PRNGKeyArray, num_particles: int) -> Any:
    """What each particle's past gives, `[particles, ...]`."""
    keys = jax.random.split(jax.random.fold_in(key, PAST), num_particles)
    return in_blocks(block, (keys,), AT_ONCE)


@eqx.filter_jit
def _states(model, episodes: Episodes, keys) -> PyTree[Array]:
    """What each particle has filtered at all rows, `[particles, rows, ...]`."""
    return jax.vmap(lambda key: filtered(model, episodes, key=key).state)(keys)


@eqx.filter_jit
def _log_probs(model, noise, states, actions, targets, keys) -> Float[Array, "particles rows"]:
    """Of what came, given the next state that each particle draws."""

    def of_particle(states, key):
        def step(inputs):
            state, action, target, time = inputs
            drawn = model.transition(state, action).sample(seed=step_keys(key, time)[0])
            return seen_density(model.decode(drawn), noise).log_prob(target)

        return jax.lax.map(step, (states, actions, targets, step_times(len(targets))))

    return jax.vmap(of_particle)(states, keys)
