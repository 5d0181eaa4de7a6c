"""Collect transitions from Gymnasium environments without ever crossing a reset."""

import contextlib
import functools
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import VectorEnv
from tqdm import tqdm

from .checks import checked_seed
from .codec import flatten_value, unflatten_value
from .episodes import Episodes
from .named import make_env
from .policies import RandomPolicy
from .spaces import FlatSpace, flat_space, out_of_bounds
from .stepping import AbstractStepper, Arrival, make_stepper
from .streams import Stream


class CollectionError(ValueError):
    """Collection stopped early: the environment or the policy raised or returned bad values.

    Attributes:
        episodes: everything collected until then, the unfinished episodes marked as truncated;
            None when there was no transition yet.
    """

    def __init__(self, message: str, episodes: Episodes | None):
        super().__init__(message)
        self.episodes = episodes


def collect(
    env: gym.Env | VectorEnv | str,
    policy: Callable | None = None,
    *,
    steps: int,
    seed: int,
    timeout: float | int | None = None,
    progress: bool = True,
) -> Episodes:
    """Run a policy in an environment and record every transition.

    The same environments give the same episodes whether stepped alone or as a vector environment
    in any `AutoresetMode`: environment i of B is seeded with `seed + i`, its t-th action uses
    `fold_in(fold_in(key(seed), i), t)`, and it contributes `steps / B` transitions (the first
    `steps % B` environments one more). Its last, unfinished episode is kept, marked as truncated.

    Args:
        env: a single or vector environment, or a registered id (made and closed here).
        policy: `policy(state, *, key) -> action` on flat float32 vectors (see `flat_space`). It is
            compiled, so it must be made of JAX operations, and vmapped over environments. By
            default a `RandomPolicy`.
        steps: how many transitions to collect in all, at least 1.
        seed: in [0, 2**32).
        timeout: how many seconds the workers of an `AsyncVectorEnv` may take for one step or reset.
            By default they are waited for.
        progress: show a progress bar on stderr.

    Returns:
        `Episodes` with exactly `steps` transitions, environment after environment. Actions are
        recorded as they were executed (rounded, one-hot).

    Raises:
        TypeError: `env` is no environment, its spaces are not supported, or the policy is not
            made of JAX operations.
        ValueError: `steps` or `seed` out of range, an unknown id, a policy of the wrong shape, or
            a `timeout` for an environment without workers.
        CollectionError: (a ValueError) the environment raised, died, took longer than `timeout`, or
            returned NaN or infinity, or the policy left the action space. It holds what was
            collected in `.episodes`, and is chained to the original exception.
    """
    if isinstance(steps, bool) or operator.index(steps) < 1:
        raise ValueError(f"steps must be at least 1 transition, got {steps!r}")
    seed = checked_seed(seed)
    with _opened(env) as opened:
        stepper = make_stepper(opened, timeout)
        spaces = flat_space(stepper.observation_space), flat_space(stepper.action_space, "action")
        policy = RandomPolicy(spaces[1]) if policy is None else policy
        _check_policy(policy, *spaces)
        streams = [
            Stream(i, quota, *spaces) for i, quota in enumerate(_shares(steps, stepper.num_envs))
        ]
        with tqdm(total=steps, desc="collect", file=sys.stderr, disable=not progress) as bar:
            try:
                _run(stepper, policy, streams, spaces[1], seed, bar)
            except Exception as error:
                raise _failure(opened, error, streams, steps, seed) from error
    return Episodes.concatenate(_recorded(streams))


def _run(
    stepper: AbstractStepper,
    policy: Callable,
    streams: list[Stream],
    action_space: FlatSpace,
    seed: int,
    bar: tqdm,
) -> None:
    key, act = jax.random.key(seed), _compiled(policy)
    states = stepper.reset(seed)
    while True:
        for stream, state in zip(streams, states, strict=True):
            if stream.fresh and not stream.full:
                stream.begin(state)
        counts = np.array([stream.transitions for stream in streams], np.int32)
        actions = np.array(act(states, key, counts), np.float32)
        actions = _executed(stepper, action_space, actions, streams)
        bar.update(_record(streams, actions, stepper.step(actions)))
        if all(stream.full for stream in streams):
            return
        states = stepper.following()


def _compiled(policy: Callable) -> Callable:
    """`(states, key, counts) -> actions`, compiled once per kind of policy."""
    arrays, rest = eqx.partition(policy, lambda x: isinstance(x, (jax.Array, np.ndarray)))
    leaves, structure = jax.tree.flatten(rest)
    return functools.partial(_act, (structure, tuple(leaves)), arrays)


# Not eqx.filter_jit, which costs as much per call as a step of a small environment.
@functools.partial(jax.jit, static_argnums=0)
def _act(rest: tuple, arrays: Any, states: Any, key: Any, counts: Any) -> Any:
    policy = eqx.combine(arrays, jax.tree.unflatten(*rest))

    def one(state, env, count):
        return policy(state, key=jax.random.fold_in(jax.random.fold_in(key, env), count))

    return jax.vmap(one)(states, jnp.arange(len(counts)), counts)


def _executed(
    stepper: AbstractStepper, space: FlatSpace, actions: np.ndarray, streams: list[Stream]
) -> np.ndarray:
    """The actions as the environment will see them; `ValueError` for one outside the space."""
    actions[stepper.ignored] = 0.0
    for i in np.flatnonzero(~stepper.ignored):
        fault = out_of_bounds(space, actions[i])
        if fault is not None:
            raise ValueError(f"the policy chose {fault}, in {streams[i].place}; clip its output")
    return flatten_value(stepper.action_space, unflatten_value(stepper.action_space, actions))


def _record(streams: list[Stream], actions: np.ndarray, arrival: Arrival) -> int:
    """Add what is good, then raise for what is not; how many transitions were added."""
    added, faults = 0, []
    over = arrival.terminated | arrival.truncated
    for i, stream in enumerate(streams):
        if stream.full or not arrival.live[i]:
            continue
        try:
            stream.check_arrival(arrival.observation[i], arrival.reward[i])
        except ValueError as error:
            faults.append(error)
            continue
        terminal = bool(arrival.terminated[i])
        stream.step(actions[i], arrival.observation[i], arrival.reward[i], bool(over[i]), terminal)
        added += 1
    if faults:
        raise faults[0]
    return added


def _check_policy(policy: Callable, observation_space: FlatSpace, action_space: FlatSpace) -> None:
    state = jax.ShapeDtypeStruct((observation_space.size,), jnp.float32)
    try:
        action = eqx.filter_eval_shape(policy, state, key=jax.random.key(0))
    except jax.errors.JAXTypeError as error:
        raise TypeError(
            f"policy {policy!r} must be made of JAX operations (it is compiled); it failed when "
            f"traced: {error}"
        ) from error
    expected = (action_space.size,)
    if getattr(action, "shape", None) != expected:
        one_hot = "; categories are one-hot, jax.nn.one_hot(category, number)"
        raise ValueError(
            f"policy {policy!r} returns {action} for a state of shape {state.shape}, expected an "
            f"action of shape {expected}: {', '.join(action_space.names)}"
            f"{one_hot * bool(action_space.groups)}"
        )


@contextlib.contextmanager
def _opened(env: Any) -> Iterator[Any]:
    if not isinstance(env, str):
        yield env
        return
    with contextlib.closing(make_env(env)) as made:
        yield made


def _shares(steps: int, num_envs: int) -> list[int]:
    return [steps // num_envs + (i < steps % num_envs) for i in range(num_envs)]


def _recorded(streams: list[Stream]) -> list[Episodes]:
    return [part for stream in streams if (part := stream.episodes()) is not None]


def _failure(
    env: Any, error: Exception, streams: list[Stream], steps: int, seed: int
) -> CollectionError:
    done = sum(stream.transitions for stream in streams)
    name = env.spec.id if getattr(env, "spec", None) is not None else str(env)
    where = "; ".join(stream.place for stream in streams[:4]) + ("; ..." if streams[4:] else "")
    parts = _recorded(streams)  # closes the episodes, so after saying where they stopped
    return CollectionError(
        f"collecting from {name} (seed {seed}) stopped after {done} of {steps} transitions, at "
        f"{where}: {type(error).__name__}: {error}. What was collected is in `.episodes`.",
        Episodes.concatenate(parts) if parts else None,
    )
