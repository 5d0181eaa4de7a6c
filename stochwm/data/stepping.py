"""One way to step every kind of environment, with flat vectors in and out.

Gymnasium's vector environments start a new episode in three ways (`AutoresetMode`), a single
environment in none. The steppers hide the difference: `step` reports what the actions led to, the
final observation of an episode included, and `following` gives what the next actions are chosen
at, after any reset.
"""

import abc
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from jaxtyping import Bool, Float, Float32

from .codec import flatten_value, unflatten_value
from .workers import Workers, check_timeout


class Arrival(NamedTuple):
    """What one step of B environments led to; meaningless in rows that are not `live`."""

    observation: Float32[np.ndarray, "envs observation"]
    reward: Float[np.ndarray, " envs"]
    terminated: Bool[np.ndarray, " envs"]
    truncated: Bool[np.ndarray, " envs"]
    live: Bool[np.ndarray, " envs"]  # False: the action was ignored, the environment was reset


class AbstractStepper(abc.ABC):
    """Steps B environments at once."""

    env: Any
    num_envs: int
    observation_space: gym.Space  # of one environment
    action_space: gym.Space
    ignored: Bool[np.ndarray, " envs"]  # where the next action will be ignored

    @abc.abstractmethod
    def reset(self, seed: int) -> Float32[np.ndarray, "envs observation"]:
        """Start an episode everywhere."""

    @abc.abstractmethod
    def step(self, action: Float32[np.ndarray, "envs action"]) -> Arrival:
        """Act everywhere."""

    @abc.abstractmethod
    def following(self) -> Float32[np.ndarray, "envs observation"]:
        """What to choose the next actions at; starts new episodes if the environment does not."""


class Single(AbstractStepper):
    """A plain `gymnasium.Env`, B = 1."""

    def __init__(self, env: gym.Env):
        self.env, self.num_envs, self.ignored = env, 1, np.array([False])
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, seed):
        """Start the first episode."""
        return self._observe(self.env.reset(seed=seed)[0])

    def step(self, action):
        """One step, without a reset."""
        value = unflatten_value(self.action_space, action[0])
        observation, reward, terminated, truncated, _ = self.env.step(value)
        self._done = bool(terminated or truncated)
        return Arrival(
            self._observe(observation),
            np.array([reward], float),
            np.array([terminated], bool),
            np.array([truncated], bool),
            np.array([True]),
        )

    def following(self):
        """Reset if the episode is over."""
        return self._observe(self.env.reset()[0]) if self._done else self._current

    def _observe(self, observation: Any) -> np.ndarray:
        self._current = flatten_value(self.observation_space, observation)[None]
        return self._current


class NextStep(AbstractStepper):
    """`AutoresetMode.NEXT_STEP`: the step after the last one ignores the action and resets."""

    def __init__(self, env: VectorEnv | Workers):
        _adopt(self, env)

    def reset(self, seed):
        """Start all."""
        self._current = flatten_value(self.observation_space, self.env.reset(seed=seed)[0])
        return self._current

    def step(self, action):
        """One step; environments that had ended are reset instead and are not live."""
        arrival = _step(self, action)[0]
        live, self._current = ~self.ignored, arrival.observation
        self.ignored = arrival.terminated | arrival.truncated
        return arrival._replace(live=live)

    def following(self):
        """The last observations; final ones where the next step resets."""
        return self._current


class SameStep(AbstractStepper):
    """`AutoresetMode.SAME_STEP`: the last step resets; the final observation is in the info."""

    def __init__(self, env: VectorEnv | Workers):
        _adopt(self, env)

    def reset(self, seed):
        """Start all."""
        self._current = flatten_value(self.observation_space, self.env.reset(seed=seed)[0])
        return self._current

    def step(self, action):
        """One step, with the final observations put back in their place."""
        arrival, info = _step(self, action)
        self._current = arrival.observation.copy()
        for i in np.flatnonzero(arrival.terminated | arrival.truncated):
            final = flatten_value(self.observation_space, info["final_obs"][i])
            arrival.observation[i] = final
        return arrival

    def following(self):
        """The last observations; those of a new episode where one has ended."""
        return self._current


class Disabled(AbstractStepper):
    """`AutoresetMode.DISABLED`: whoever steps must reset."""

    def __init__(self, env: VectorEnv | Workers):
        _adopt(self, env)

    def reset(self, seed):
        """Start all."""
        return self._observe(self.env.reset(seed=seed)[0])

    def step(self, action):
        """One step, without resets."""
        arrival = _step(self, action)[0]
        self._current, self._done = arrival.observation, arrival.terminated | arrival.truncated
        return arrival

    def following(self):
        """Reset where an episode is over."""
        if not self._done.any():
            return self._current
        return self._observe(self.env.reset(options={"reset_mask": self._done.copy()})[0])

    def _observe(self, observation: Any) -> np.ndarray:
        self._current = flatten_value(self.observation_space, observation)
        return self._current


_MODES = {
    AutoresetMode.NEXT_STEP: NextStep,
    AutoresetMode.SAME_STEP: SameStep,
    AutoresetMode.DISABLED: Disabled,
}


def make_stepper(env: gym.Env | VectorEnv, timeout: float | int | None = None) -> AbstractStepper:
    """The stepper for an environment.

    `timeout` is how many seconds the worker processes of an `AsyncVectorEnv` may take for a step.

    Raises:
        TypeError: neither kind of environment.
        ValueError: a vector environment that does not say how it resets, or a `timeout` that is not
            positive, or for an environment that has no worker processes.
    """
    check_timeout(env, timeout)
    if isinstance(env, VectorEnv):
        mode = (env.metadata or {}).get("autoreset_mode")
        held = Workers(env, timeout) if isinstance(env, AsyncVectorEnv) else env
        try:
            return _MODES[AutoresetMode(mode)](held)
        except ValueError as error:
            raise ValueError(
                f"{env}: metadata['autoreset_mode'] is {mode!r}, expected one of "
                f"{[m.name for m in _MODES]}; set it on the environment class"
            ) from error
    if isinstance(env, gym.Env):
        return Single(env)
    law = callable(getattr(env, "transition", None))
    mend = "; of a world stochwm.envs.WorldEnv(world) makes an environment" if law else ""
    raise TypeError(
        "env must be a gymnasium.Env, a gymnasium.vector.VectorEnv or a registered id, got "
        f"{env!r}{mend}"
    )


def _adopt(stepper: AbstractStepper, env: VectorEnv | Workers) -> None:
    stepper.env, stepper.num_envs = env, env.num_envs
    stepper.ignored = np.zeros(env.num_envs, bool)
    stepper.observation_space = env.single_observation_space
    stepper.action_space = env.single_action_space


def _step(stepper: AbstractStepper, action: np.ndarray) -> tuple[Arrival, dict]:
    """Step a vector environment; every row counts as live."""
    value = unflatten_value(stepper.action_space, action)
    observation, reward, terminated, truncated, info = stepper.env.step(value)
    arrival = Arrival(
        flatten_value(stepper.observation_space, observation),
        np.array(reward, float),
        np.array(terminated, bool),
        np.array(truncated, bool),
        np.ones(stepper.num_envs, bool),
    )
    return arrival, info
