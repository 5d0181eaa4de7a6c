"""A world of known law as a Gymnasium environment."""

from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..data import flat_space, flatten_value, unflatten_value
from .base import AbstractWorld


class WorldEnv(gym.Env):
    """Any `AbstractWorld` as an environment: each step draws from the law.

    `reset(seed=...)` fixes every draw that follows. `reset(options={"state": element})` starts
    from a given element of `world.state_space` instead of a draw; unless the world hides something,
    that is an observation.

    Attributes:
        world: the world, whose `law(state, action)` is the exact distribution of every step.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, world: AbstractWorld, render_mode: str | None = None):
        """Wrap a world.

        Args:
            world: the world to step.
            render_mode: `"rgb_array"`, or None if nothing is to be drawn.

        Raises:
            ValueError: another render mode.
        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is {render_mode!r}, expected 'rgb_array' or None")
        self.world = world
        self.render_mode = render_mode
        self.observation_space = world.observation_space
        self.action_space = world.action_space
        self._encode = _encoder(self.action_space)
        self._decode = _decoder(self.observation_space)
        self._state = None

    @property
    def state(self) -> np.ndarray:
        """The current state of the world, `[state]`, with what an observation may hide.

        Raises:
            gymnasium.error.ResetNeeded: there was no `reset` yet.
        """
        if self._state is None:
            raise gym.error.ResetNeeded("state before reset(): call reset() first")
        return np.array(self._state)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode.

        Raises:
            ValueError: an unknown option, or a state outside the state space.
        """
        super().reset(seed=seed)
        start = _start(self.world.state_space, options or {})
        self._word = self.np_random.integers(2**32, dtype=np.uint32)
        self._time = 0
        self._state = np.asarray(_initial(self.world, self._word)) if start is None else start
        return self._observation(), {}

    def step(self, action: Any):
        """Draw the next state from the law.

        Raises:
            ValueError: an action outside the action space.
            gymnasium.error.ResetNeeded: there was no `reset` yet.
        """
        if self._state is None:
            raise gym.error.ResetNeeded("step() before reset(): call reset() first")
        flat = self._encode(action)
        drawn = np.asarray(_advance(self.world, self._word, self._time, self._state, flat))
        self._state, self._time = drawn[:-2], self._time + 1
        return self._observation(), float(drawn[-2]), self._ends(float(drawn[-1])), False, {}

    def _observation(self):
        return self._decode(np.asarray(self.world.emit(self.state)))

    def _ends(self, discount: float) -> bool:
        # Certain ends, the usual ones, take no draw.
        return discount < 1 and (discount <= 0 or bool(self.np_random.random() >= discount))

    def render(self):
        """The current state as an image, uint8 `[height, width, 3]`; None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: there was no `reset` yet.
        """
        if self.render_mode is None:
            return None
        if self._state is None:
            raise gym.error.ResetNeeded("render() before reset(): call reset() first")
        return self.world.render(self._state)


# The world is an argument: all environments of one kind share one compilation.
@jax.jit
def _initial(world: AbstractWorld, word: Array) -> Float[Array, " state"]:
    # Step t uses fold_in(key, t), which is far from this one for any episode.
    key = jax.random.fold_in(jax.random.key(word), jnp.uint32(2**32 - 1))
    return world.initial().sample(seed=key).astype("float32")


@jax.jit
def _advance(world: AbstractWorld, word, time, state, action) -> Float[Array, " state_plus_2"]:
    """The next state, the reward and the discount in one array: one transfer, not three."""
    key = jax.random.fold_in(jax.random.key(word), time)
    next_state = world.law(state, action).sample(seed=key).astype("float32")
    reward = world.reward(state, action, next_state)
    discount = world.discount(state, action, next_state)
    return jnp.concatenate([next_state, jnp.stack([reward, discount])])


def _start(space: gym.Space, options: dict[str, Any]) -> np.ndarray | None:
    unknown = set(options) - {"state"}
    if unknown:
        raise ValueError(f"unknown reset options {sorted(unknown)}, expected only 'state'")
    if options.get("state") is None:
        return None
    state = options["state"]
    if isinstance(space, gym.spaces.Box):
        state = np.asarray(state, space.dtype)
    if not space.contains(state):
        raise ValueError(f"options['state'] is {state}, expected an element of {space}")
    return flatten_value(space, state)


def _encoder(space: gym.Space):
    """A function that checks an action and encodes it flat, quicker than for any space."""
    if isinstance(space, gym.spaces.Discrete):
        eye = np.eye(int(space.n), dtype=np.float32)
        return lambda action: eye[_checked_choice(space, action) - int(space.start)]
    if not (isinstance(space, gym.spaces.Box) and len(space.shape) == 1):
        return lambda action: flatten_value(space, action)

    def encode(action):
        # float64 actions are welcome: they are rounded before the bounds are compared.
        flat = np.asarray(action, np.float32)
        if flat.shape != space.shape or not ((flat >= space.low) & (flat <= space.high)).all():
            raise ValueError(
                f"action is {action} (shape {flat.shape}), expected shape {space.shape} with "
                f"entries from {space.low} to {space.high}"
            )
        return flat

    return encode


def _checked_choice(space: gym.spaces.Discrete, action: Any) -> int:
    if not space.contains(action):
        first, last = int(space.start), int(space.start + space.n) - 1
        raise ValueError(f"action is {action!r}, expected an integer from {first} to {last}")
    return int(action)


def _decoder(space: gym.Space):
    """A function from flat states to observations; boxes are copied, for callers may write."""
    if isinstance(space, gym.spaces.Box) and space.dtype == np.float32:
        return lambda flat: np.array(flat, np.float32).reshape(space.shape)
    if isinstance(space, gym.spaces.Discrete):
        return lambda flat: np.argmax(flat) + space.start
    size = flat_space(space).size
    return lambda flat: unflatten_value(space, np.asarray(flat, np.float32).reshape(size))
