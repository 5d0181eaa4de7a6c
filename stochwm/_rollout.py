"""The three loops: imagine under a policy, replay a plan, observe a real sequence.

They know only the abstract world model and never look inside a state.
"""

import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

from ._guard import AbstractGuard
from .models import AbstractFilter, AbstractWorldModel
from .models.checks import check_filter, check_world_model, named

Policy = Callable[..., Array]
"""`policy(state, *, key) -> action`, for one state without a batch axis."""


class Trajectory(eqx.Module):
    """What a rollout went through; every leaf has a leading time axis.

    Row t is step t: `action[t]` was chosen, `state[t]` is where it led, `reward[t]` was received on
    arrival there and `discount[t]` is the probability that the episode goes on from there.

    Under a guard, `trusted[t]` says whether the guard trusted every step up to t. From the first
    step that it did not, the state stays at the last trusted one, and reward and discount are 0: a
    return, a value or a plan ends there. `aux` is as recorded.
    """

    state: PyTree[Array]
    action: Array
    reward: Float[Array, "*time"]
    discount: Float[Array, "*time"]
    aux: PyTree[Array]
    trusted: Bool[Array, "*time"] | None = None
    """Never true again after false; None without a guard."""

    def trusted_horizon(self) -> Int[Array, "*futures"]:
        """How many steps of each future were trusted, from 0 to the length of the rollout.

        Its values over many futures are the distribution of the trusted horizon.

        Raises:
            ValueError: nobody watched the rollout.
        """
        if self.trusted is None:
            raise ValueError(
                "the rollout was not watched: pass guard= to imagine, for instance a "
                "stochwm.drift.DriftGuard."
            )
        return jnp.sum(self.trusted, axis=-1)


class Filtered(eqx.Module):
    """Filtered states along a real sequence; every leaf has a leading time axis."""

    state: PyTree[Array]
    aux: PyTree[Array]


def identity(state: PyTree[Array]) -> PyTree[Array]:
    """Keep the state as it is."""
    return state


def nothing(*_: Any) -> None:
    """Record nothing."""


def imagine(
    model: AbstractWorldModel,
    policy: Policy,
    state: PyTree[Array],
    *,
    key: PRNGKeyArray,
    length: int,
    save: Callable[[PyTree[Array]], PyTree[Array]] = identity,
    record: Callable[..., PyTree[Array]] = nothing,
    unroll: int = 1,
    guard: AbstractGuard | None = None,
) -> tuple[PyTree[Array], Trajectory]:
    """Imagine one future: at each step the policy acts and the model's prediction is drawn.

    For a thousand futures, `vmap` over keys. A longer `length` extends a shorter one.

    Args:
        model: any world model.
        policy: `policy(state, *, key) -> action`.
        state: where to start; one state, any pytree.
        key: the only source of randomness.
        length: number of steps, at least 1.
        save: what the trajectory keeps of each state; pass a function that drops large parts.
        record: `record(state, action, prediction, next_state)`, kept as `aux`.
        unroll: steps per loop iteration of the compiled scan.
        guard: says from when on the future is not to be trusted, see `Trajectory`.

    Returns:
        the last state and the `Trajectory` of `length` steps.

    Raises:
        TypeError: no world model, no policy, or a state that is a list of numbers.
        ValueError: `length` is below 1
        FloatingPointError: a rollout outside `jit` becomes NaN or infinite, naming the step. Inside
            `jit`, NaN stays NaN to the end.
    """
    check_policy(policy)
    times = step_times(length)
    act = lambda state, inputs: policy(state, key=step_keys(key, inputs)[0])  # noqa: E731
    draw = lambda inputs: step_keys(key, inputs)[1]  # noqa: E731
    return _rollout(model, act, draw, state, times, save, record, unroll, guard)


def replay(
    model: AbstractWorldModel,
    state: PyTree[Array],
    actions: Array,
    *,
    key: PRNGKeyArray,
    save: Callable[[PyTree[Array]], PyTree[Array]] = identity,
    record: Callable[..., PyTree[Array]] = nothing,
    unroll: int = 1,
    guard: AbstractGuard | None = None,
) -> tuple[PyTree[Array], Trajectory]:
    """Imagine one future under a given plan (open loop).

    With the key of an `imagine` call and the actions it took, its future comes again.

    Args:
        model: any world model.
        state: where to start; one state, any pytree.
        actions: one action a step, `[length, action_size]`.
        key: the only source of randomness.
        save: what the trajectory keeps of each state; pass a function that drops large parts.
        record: `record(state, action, prediction, next_state)`, kept as `aux`.
        unroll: steps per loop iteration of the compiled scan.
        guard: says from when on the future is not to be trusted, see `Trajectory`.

    Returns:
        the last state and the `Trajectory`.

    Raises:
        ValueError: there is no action
        FloatingPointError: a rollout outside `jit` becomes NaN or infinite, naming the step. Inside
            `jit`, NaN stays NaN to the end.
    """
    times = step_times(jnp.shape(actions)[0] if jnp.ndim(actions) else 0)
    act = lambda state, inputs: inputs[1]  # noqa: E731
    draw = lambda inputs: step_keys(key, inputs[0])[1]  # noqa: E731
    return _rollout(model, act, draw, state, (times, actions), save, record, unroll, guard)


def observe(
    model: AbstractFilter,
    observations: PyTree[Array],
    actions: Array,
    is_first: Bool[Array, " time"],
    *,
    key: PRNGKeyArray,
    carry: tuple[PyTree[Array], Array] | None = None,
    record: Callable[..., PyTree[Array]] = nothing,
) -> tuple[tuple[PyTree[Array], Array], Filtered]:
    """Filter along a real sequence, which may run over several episodes.

    At each step the prior is the transition from the state before under the action before, or from
    `model.initial()` under zeros where an episode begins; the posterior sees the observation and
    is drawn.

    Args:
        model: any filter.
        observations: what was seen, `[time, ...]`.
        actions: the action chosen at each observation, `[time, action_size]`.
        is_first: whether an episode begins there, `[time]`.
        key: for the draws from the posteriors.
        carry: what an earlier call returned, to go on from it; pass another key with it, since
            every call draws from the keys of its own steps 0, 1, 2, ...
        record: `record(prior, posterior, state)`, kept as `aux`.

    Returns:
        the carry (last state and action), and the `Filtered` states.

    Raises:
        TypeError: a model that infers nothing from observations.
        ValueError: the leading axes differ or are empty.
        FloatingPointError: as `imagine`.
    """
    check_filter(model)
    lengths = {jnp.shape(x)[:1] for x in jax.tree.leaves((observations, actions, is_first))}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise ValueError(
            "observations, actions and is_first must share one leading time axis of at least 1, "
            f"but their leading axes are {sorted(lengths)}."
        )
    start = (model.initial(), jnp.zeros_like(actions[0])) if carry is None else carry

    def step(carry, inputs):
        observation, action, first, time = inputs
        fresh = (model.initial(), jnp.zeros_like(action))
        before, action_before = jax.tree.map(lambda a, b: jnp.where(first, a, b), fresh, carry)
        prior = model.transition(before, action_before)
        posterior = model.posterior(prior, observation)
        state = like_before(before, posterior.sample(seed=step_keys(key, time)[1]))
        return (state, action), Filtered(state, record(prior, posterior, state))

    times = step_times(actions.shape[0])
    last, filtered = jax.lax.scan(step, start, (observations, actions, is_first, times))
    check_finite(last[0], filtered.state)  # the last action has not led anywhere yet
    return last, filtered


def _rollout(model, act, draw, state, inputs, save, record, unroll, guard):
    step = make_step(model, act, draw, save, record, guard)
    carry, trajectory = jax.lax.scan(step, start_carry(state, guard), inputs, unroll=unroll)
    last = last_state(carry, guard)
    check_finite(last, kept(trajectory))
    return last, trajectory


def make_step(
    model: AbstractWorldModel,
    act: Callable[..., Array],
    draw: Callable[..., PRNGKeyArray],
    save: Callable[[PyTree[Array]], PyTree[Array]] = identity,
    record: Callable[..., PyTree[Array]] = nothing,
    guard: AbstractGuard | None = None,
) -> Callable[..., tuple[PyTree[Array], Trajectory]]:
    """One step of a rollout, `step(carry, inputs) -> (carry, row)`; see `start_carry`.

    `act(state, inputs)` is the action, and `draw(inputs)` the key of the draw.

    Raises:
        TypeError: no world model; as the step is traced, an action that is no array, or a state of
            whole numbers that the model leads to one of floats.
        ValueError: alike, a reward or a discount that is not a scalar.
    """
    check_world_model(model)

    def step(state, inputs):
        action = act(state, inputs)
        _check_action(action)
        prediction = model.transition(state, action)
        next_state = like_before(state, prediction.sample(seed=draw(inputs)))
        reward = model.reward(state, action, next_state)
        discount = model.discount(state, action, next_state)
        _check_scalar("reward", reward)
        _check_scalar("discount", discount)
        aux = record(state, action, prediction, next_state)
        return prediction, (next_state, action, reward, discount, aux)

    def bare(state, inputs):
        _, (next_state, *row) = step(state, inputs)
        return next_state, Trajectory(save(next_state), *row)

    if guard is None:
        return bare

    def watched(carry, inputs):
        state, memory, trusted = carry
        prediction, (next_state, action, reward, discount, aux) = step(state, inputs)
        memory, trusted_now = guard.step(memory, prediction)
        trusted = trusted & trusted_now
        state = jax.tree.map(lambda new, old: jnp.where(trusted, new, old), next_state, state)
        reward, discount = jnp.where(trusted, reward, 0.0), jnp.where(trusted, discount, 0.0)
        row = Trajectory(save(state), action, reward, discount, aux, trusted)
        return (state, memory, trusted), row

    return watched


def check_policy(policy: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: naming what it is.
    """
    if not callable(policy):
        raise TypeError(
            f"policy must be a function policy(state, *, key) -> action, but is {named(policy)}; "
            "stochwm.data.RandomPolicy(episodes.action_space) acts at random, and replay takes a "
            "plan, an array of actions."
        )


def _check_action(action: Any) -> None:
    """A list would pass for a pytree of actions, and None for one without any."""
    if action is None:
        raise TypeError("policy must return an array [action], but returned None.")
    if isinstance(action, list | tuple):
        raise TypeError(
            f"policy must return an array [action], but returned a {type(action).__name__}: "
            "jnp.stack or jnp.asarray makes one of it."
        )


def like_before(state: PyTree[Array], next_state: PyTree[Array]) -> PyTree[Array]:
    """The next state in the precision of the one before, which may come from recorded episodes.

    Whole numbers to start from, often a list of literals, are no state of a model of floats.
    """
    if jax.tree.structure(state) != jax.tree.structure(next_state):
        return next_state  # the scan says it well

    def like(before, after):
        old, new = jnp.result_type(before), jnp.result_type(after)
        if not jnp.issubdtype(new, jnp.floating) or old == new:
            return after
        if not jnp.issubdtype(old, jnp.floating):
            raise TypeError(
                f"state must have the dtype of the next one, {new}, but has {old}: start from "
                "jnp.asarray(state, float)."
            )
        return after.astype(old)

    return jax.tree.map(like, state, next_state)


def _check_scalar(name: str, value: Any) -> None:
    """A vector would be broadcast against time, and add up to a wrong return."""
    shape = jnp.shape(value)
    if shape:
        mend = " Index it, [0]: a network of one output gives a vector." if shape == (1,) else ""
        raise ValueError(
            f"model.{name} must return a scalar for one step, but returned shape {shape}.{mend}"
        )


def start_carry(state: PyTree[Any], guard: AbstractGuard | None) -> PyTree[Array]:
    """What a rollout carries from step to step: the state; under a guard, also what that keeps.

    Raises:
        TypeError: a list of numbers, which would pass for a pytree of as many states.
    """
    if isinstance(state, list) and state and all(isinstance(x, int | float) for x in state):
        raise TypeError(
            "state must be an array or a tree of arrays, but is a list of numbers: start from "
            "jnp.asarray(state, float)."
        )
    state = jax.tree.map(jnp.asarray, state)
    return state if guard is None else (state, guard.initial(), jnp.asarray(True))


def last_state(carry: PyTree[Array], guard: AbstractGuard | None) -> PyTree[Array]:
    """The state that a rollout carries."""
    return carry if guard is None else carry[0]


def kept(trajectory: Trajectory) -> PyTree[Array]:
    """What of a trajectory has to be finite: all but what the caller recorded."""
    return trajectory.state, trajectory.action, trajectory.reward, trajectory.discount


def step_times(length: Any) -> Int[Array, " length"]:
    """The numbers of the steps, `[length]`.

    Raises:
        TypeError: no whole number, of which JAX would make another length.
        ValueError: none at all.
    """
    try:
        length = operator.index(length)
    except TypeError as error:
        raise TypeError(f"length must be a whole number of steps, but is {length!r}.") from error
    if length < 1:
        raise ValueError(f"length must be at least 1 step, but is {length}.")
    return jnp.arange(length)


def step_keys(key: PRNGKeyArray, time: Int[Array, ""]) -> Key[Array, "2"]:
    """The two keys of a step, for the policy and for the draw, whatever the length is.

    Made inside the scan: made before it, those of many particles and steps would fill memory.
    """
    return jax.random.split(jax.random.fold_in(key, time))


def check_finite(last: PyTree[Array], kept: PyTree[Array], time_axis: int = 0) -> None:
    """Raise where values are known, and leave NaN to spread where they are traced.

    Not `eqx.error_if`: its host callback keeps XLA's persistent compilation cache from storing the
    rollout, which costs more than the rollout.
    """
    rows = [_bad(leaf) for leaf in jax.tree.leaves(kept)]
    steps = [int(np.argwhere(bad)[:, time_axis].min()) for bad in rows if bad.any()]
    if steps or any(_bad(leaf).any() for leaf in jax.tree.leaves(last)):
        when = f"at step {min(steps)}" if steps else "in a part that save= dropped"
        raise FloatingPointError(
            f"The rollout became NaN or infinite {when}: the model's prediction is broken, or the "
            "state, action or observation that it was given is."
        )


def _bad(leaf: Array) -> np.ndarray:
    """Where a known floating-point leaf is not finite."""
    if isinstance(leaf, Tracer) or not jnp.issubdtype(leaf.dtype, jnp.floating):
        return np.zeros((1,), bool)
    return np.asarray(~np.isfinite(np.asarray(leaf)))
