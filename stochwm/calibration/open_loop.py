"""Futures that a model imagines under recorded actions, and how probable it held what happened."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._rollout import like_before, nothing, step_keys, step_times
from ..models import AbstractFilter, AbstractWorldModel
from ..transitions import Ensemble


def open_loop(
    model: AbstractWorldModel,
    state: PyTree[Array],
    actions: Array,
    *,
    key: PRNGKeyArray,
    particles: int,
) -> Array:
    """Futures from one state under given actions, `[particles, horizon, state]`.

    A filter starts in states of its own, one a particle, see `start_states`; what is kept of its
    futures is an observation drawn in each state.

    Where the kernel is an `Ensemble`, each particle keeps one member (TS-infinity), particle i
    member i modulo their number, so that no member is evaluated on another member's particles. The
    members then have equal shares of a cloud, where independent draws of the mixture would have
    random ones: ranks and fair scores are off by at most a part in `particles`, which no order of
    the particles would change. Take 20 a member or more.
    """
    return judged_futures(model, state, actions, None, key=key, particles=particles)[0]


def judged_futures(
    model: AbstractWorldModel,
    state: PyTree[Array],
    actions: Array,
    targets: Any,
    *,
    key: PRNGKeyArray,
    particles: int,
    judge: Callable[..., Any] = nothing,
) -> tuple[Array, Any]:
    """The futures of `open_loop`, and what `judge` says of each prediction on their way.

    Args:
        model: any world model over flat observations.
        state: where to start, an observation `[state]`; of a filter, `[particles, ...]` states.
        actions: one a step, `[horizon, action]`.
        targets: given to the judge, with a leading axis of steps.
        key: for the draws.
        particles: how many futures.
        judge: `judge(prediction, target)`, where the prediction of a step is made from where the
            particle is one step before; of a filter it is what the particle decodes to.

    Returns:
        states `[particles, horizon, state]` and verdicts `[particles, horizon, ...]`.
    """
    times, filters = step_times(len(actions)), isinstance(model, AbstractFilter)

    def futures(model, keys):
        def future(start, key):
            def step(state, inputs):
                time, action, target = inputs
                key_seen, key_state = step_keys(key, time)
                prediction = model.transition(state, action)
                state = like_before(state, prediction.sample(seed=key_state))
                if filters:
                    prediction = model.decode(state)
                return state, (model.emission(state, key=key_seen), judge(prediction, target))

            return jax.lax.scan(step, start, (times, actions, targets))[1]

        return jax.vmap(future)(begins(model, state, len(keys)), keys)

    return _by_member(futures, model, key, particles)


def begins(model: AbstractWorldModel, state: PyTree[Array], particles: int) -> PyTree[Array]:
    """Where each particle starts, `[particles, ...]`, from what `start_states` gives for a start.

    Raises:
        ValueError: another number of states of a filter.
    """
    if not isinstance(model, AbstractFilter):
        start = jax.tree.map(jnp.asarray, model.start(state))
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (particles, *x.shape)), start)
    leading = {jnp.shape(x)[:1] for x in jax.tree.leaves(state)}
    if leading != {(particles,)}:
        raise ValueError(
            f"state must hold one state of the filter for each of the {particles} particles, "
            f"[particles, ...], but its leading axes are {sorted(leading)}."
        )
    return state


def _by_member(futures: Callable[..., Any], model: Any, key: PRNGKeyArray, particles: int) -> Any:
    """`futures(model, keys)`, each member of an ensemble on its own share of the particles."""
    kernel = getattr(model, "kernel", None)
    if not isinstance(kernel, Ensemble):
        return futures(model, jax.random.split(key, particles))

    def of_member(member, keys):
        return futures(eqx.tree_at(lambda m: m.kernel, model, member), keys)

    share = -(-particles // kernel.num_members)  # rounded up; the last ones are left out
    keys = jax.random.split(key, (kernel.num_members, share))
    stacked = eqx.filter_vmap(of_member)(kernel.members, keys)

    def in_turn(x):
        return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])[:particles]

    return jax.tree.map(in_turn, stacked)
