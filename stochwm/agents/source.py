"""Where an agent's experience comes from: Gymnasium environments, or worlds written in JAX.

Both step several copies side by side and give the same rows: those of `AutoresetMode.NEXT_STEP`.
An agent acts by a function

    act(agent, memory, observation, is_first, *, key) -> (memory, action, aux)

of one environment, which is vmapped. The agent is an argument, so that a better one costs no
compilation. Row t of a call draws with `fold_in(key, t)`.
"""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from jaxtyping import PRNGKeyArray, PyTree

from ..data import FlatSpace, flat_space, make_env
from ..data.stepping import make_stepper
from ..envs import AbstractWorld
from .actors import clip_action
from .steps import Steps

Act = Callable[..., tuple[PyTree, Any, PyTree]]


class AbstractSource(abc.ABC):
    """Several copies of an environment, stepped side by side."""

    observation_space: FlatSpace
    action_space: FlatSpace
    num_envs: int
    image: tuple[int, int, int] | None
    """Height, width and channels where an observation is a picture, a box of uint8."""
    can_be_saved: bool
    """Whether a place is arrays only, from which another process could go on."""

    @abc.abstractmethod
    def start(self, seed: int) -> PyTree:
        """The place where all copies begin an episode."""

    @abc.abstractmethod
    def collect(
        self,
        act: Act,
        agent: PyTree,
        memory: PyTree,
        place: PyTree,
        *,
        key: PRNGKeyArray,
        length: int,
    ) -> tuple[PyTree, PyTree, Steps, PyTree]:
        """Act for `length` rows: `(memory, place, steps, aux)`, the last two `[length, envs]`.

        Actions are clipped to their bounds.
        """

    def example(self) -> Steps:
        """A row `[envs]` of zeros."""
        row = (self.num_envs,)
        no, zero = jnp.zeros(row, bool), jnp.zeros(row)
        observation = jnp.zeros((*row, self.observation_space.size))
        action = jnp.zeros((*row, self.action_space.size))
        return Steps(observation, action, zero, no, no, no)


def make_source(env: Any, num_envs: int) -> AbstractSource:
    """The source for a registered id, a function that makes an environment, or a world.

    Raises:
        TypeError: none of these.
        ValueError: an unknown id.
    """
    if isinstance(env, AbstractWorld):
        return WorldSource(env, num_envs)
    if isinstance(env, str):
        return GymSource(partial(make_env, env), num_envs)
    if callable(env) and not isinstance(env, gym.Env):
        return GymSource(env, num_envs)
    raise TypeError(
        "env must be a registered id, a function without arguments that makes a gymnasium.Env, or "
        f"an AbstractWorld, but is {env!r}."
    )


def picture_shape(space: gym.Space) -> tuple[int, int, int] | None:
    """Height, width and channels of a box of uint8 with three axes; None for any other space."""
    if not (isinstance(space, gym.spaces.Box) and space.dtype == np.uint8):
        return None
    if len(space.shape) != 3:
        return None
    height, width, channels = space.shape
    return height, width, channels


class GymSource(AbstractSource):
    """Gymnasium environments, which the host steps one after the other."""

    can_be_saved = False

    def __init__(self, make: Callable[[], Any], num_envs: int):
        """Make `num_envs` environments with `make()`."""
        env = SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
        self._stepper = make_stepper(env)
        self.num_envs = num_envs
        space = self._stepper.observation_space
        self.observation_space = flat_space(space)
        self.action_space = flat_space(self._stepper.action_space, "action")
        self.image = picture_shape(space)

    def start(self, seed: int) -> Steps:
        observation = self._stepper.reset(int(seed))
        self._stepper.ignored, self._number = np.zeros(self.num_envs, bool), 0
        no = np.zeros(self.num_envs, bool)
        action = np.zeros((self.num_envs, self.action_space.size), np.float32)
        return Steps(observation, action, np.zeros(self.num_envs, np.float32), ~no, no, no)

    def collect(self, act, agent, memory, place, *, key, length):
        rows, records = [], []
        choose = _compiled(act, agent, self.action_space)
        for t in range(length):
            # An array: a number would be compiled into a program of its own.
            number = np.asarray(t, np.int32)
            memory, action, aux = choose(memory, place.observation, place.is_first, key, number)
            action = np.asarray(action)
            rows.append(eqx.tree_at(lambda row: row.action, place, action))
            records.append(aux)
            place = self._step(action, place)
        stack = lambda *x: jnp.asarray(np.stack(x))  # noqa: E731
        return memory, place, jax.tree.map(stack, *rows), jax.tree.map(stack, *records)

    def _step(self, action: np.ndarray, place: Steps) -> Steps:
        arrival, self._number = self._stepper.step(action), self._number + 1
        live = arrival.live
        good = np.isfinite(arrival.observation).all(axis=1) & np.isfinite(arrival.reward)
        if not good.all():
            i = np.argmin(good)
            raise ValueError(
                f"environment {i} returned an observation or a reward that is not finite in step "
                f"{self._number} since its start: reward {arrival.reward[i]}, observation "
                f"{arrival.observation[i]}."
            )
        reward = np.where(live, arrival.reward, 0.0).astype(np.float32)
        terminal = live & arrival.terminated
        last = live & (arrival.terminated | arrival.truncated)
        return Steps(arrival.observation, place.action, reward, ~live, last, terminal)


class WorldSource(AbstractSource):
    """Worlds of known law, stepped and acted in by one compiled program."""

    can_be_saved = True

    def __init__(self, world: AbstractWorld, num_envs: int):
        """Step `num_envs` copies of a world."""
        self.world, self.num_envs = world, num_envs
        self.observation_space = flat_space(world.observation_space)
        self.action_space = flat_space(world.action_space, "action")
        self.image = picture_shape(world.observation_space)

    def start(self, seed: int) -> "Place":
        return _begin(self.world, jax.random.split(jax.random.key(seed), self.num_envs))

    def collect(self, act, agent, memory, place, *, key, length):
        return _collect(act, agent, memory, place, key, self.world, self.action_space, length)


class Place(eqx.Module):
    """Where the copies of a world are."""

    state: Any
    time: Any
    """Steps of the episode so far."""
    row: Steps


def _compiled(act: Act, agent: PyTree, space: FlatSpace) -> Callable:
    """`_act` for one agent; another with arrays of the same shapes runs the same program."""
    arrays, rest = eqx.partition(agent, lambda x: isinstance(x, (jax.Array, np.ndarray)))
    leaves, structure = jax.tree.flatten(rest)
    return partial(_act, (act, space, structure, tuple(leaves)), arrays)


# Not eqx.filter_jit, which costs as much per call as a step of a small environment.
@partial(jax.jit, static_argnums=0)
def _act(fixed, arrays, memory, observation, is_first, key, t):
    act, space, structure, leaves = fixed
    agent = eqx.combine(arrays, jax.tree.unflatten(structure, leaves))
    return _vmapped(act, agent, memory, observation, is_first, jax.random.fold_in(key, t), space)


def _vmapped(act, agent, memory, observation, is_first, key, space):
    keys = jax.random.split(key, observation.shape[0])
    one = lambda memory, seen, first, key: act(agent, memory, seen, first, key=key)  # noqa: E731
    memory, action, aux = jax.vmap(one)(memory, observation, is_first, keys)
    return memory, clip_action(space, action), aux


@eqx.filter_jit
def _begin(world: AbstractWorld, keys):
    return jax.vmap(partial(_new_episode, world))(keys)


def _new_episode(world: AbstractWorld, key) -> Place:
    state = world.initial().sample(seed=key)
    action, no = jnp.zeros(flat_space(world.action_space).size), jnp.asarray(False)
    row = Steps(world.emit(state), action, jnp.zeros(()), ~no, no, no)
    return Place(state, jnp.asarray(0), row)


@eqx.filter_jit
def _collect(act, agent, memory, place, key, world, space, length):
    def step(carry, t):
        memory, place = carry
        key_act, key_world = jax.random.split(jax.random.fold_in(key, t))
        seen = place.row.observation, place.row.is_first
        memory, action, aux = _vmapped(act, agent, memory, *seen, key_act, space)
        row = eqx.tree_at(lambda row: row.action, place.row, action)
        keys = jax.random.split(key_world, action.shape[0])
        after = jax.vmap(partial(_advance, world))(place, action, keys)
        return (memory, after), (row, aux)

    (memory, place), (steps, aux) = jax.lax.scan(step, (memory, place), jnp.arange(length))
    return memory, place, steps, aux


def _advance(world: AbstractWorld, place: Place, action, key) -> Place:
    """The next row of one copy: of a new episode where this one is over."""
    key_reset, key_draw, key_end = jax.random.split(key, 3)
    state = world.law(place.state, action).sample(seed=key_draw)
    reward = world.reward(place.state, action, state)
    discount = world.discount(place.state, action, state)
    terminal = jax.random.uniform(key_end) >= discount
    time, no = place.time + 1, jnp.asarray(False)
    longest = world.max_episode_steps
    last = terminal if longest is None else terminal | (time >= longest)
    on = Place(state, time, Steps(world.emit(state), action, reward, no, last, terminal))
    anew = _new_episode(world, key_reset)
    return jax.tree.map(lambda a, b: jnp.where(place.row.is_last, a, b), anew, on)
