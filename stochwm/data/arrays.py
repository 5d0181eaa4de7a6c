"""Episodes from arrays that were recorded elsewhere: a robot's log, a table of measurements."""

from typing import Any

import gymnasium as gym
import numpy as np

from .codec import flatten_value
from .episodes import Episodes
from .spaces import flat_space


def from_arrays(
    observations: Any,
    actions: Any,
    rewards: Any = None,
    terminated: Any = None,
    *,
    observation_space: gym.Space | None = None,
    action_space: gym.Space | None = None,
) -> Episodes:
    """Episodes from lists of arrays, or arrays: each element belongs to an episode of T steps.

    Args:
        observations: of each episode `[T + 1, ...]`, in the layout of `observation_space`: the one
            before the first action, and the one after each.
        actions: of each episode `[T, ...]`; the t-th was chosen at the t-th observation.
        rewards: of each episode `[T]`; the t-th came with the observation after the t-th action.
            None: zeros.
        terminated: of each episode, whether it truly ended there, so that nothing of worth could
            follow. None: none did, they were cut off.
        observation_space: says what is a category and what a number, and its bounds. None: numbers
            without bounds, as many as the first episode has, however they are shaped.
        action_space: the same of actions. Agents need bounds, or categories.

    Raises:
        TypeError: a space that has no flat encoding.
        ValueError: no episode, unequal lengths, wrong shapes, NaN, a category that does not exist,
            or an action outside its space; the message names the episode.
    """
    count = len(observations)
    each = {"actions": actions, "rewards": rewards, "terminated": terminated}
    for name, values in each.items():
        if values is not None and (not hasattr(values, "__len__") or len(values) != count):
            have = len(values) if hasattr(values, "__len__") else repr(values)
            raise ValueError(
                f"observations has {count} episodes, so {name} must hold {count} elements, one an "
                f"episode, but has {have}."
            )
    if not count:
        raise ValueError("observations holds no episode; expected a list with one array for each.")
    spaces = (
        _numbers(observations) if observation_space is None else observation_space,
        _numbers(actions) if action_space is None else action_space,
    )
    rewards = [None] * count if rewards is None else rewards
    terminated = [False] * count if terminated is None else terminated
    columns = [
        _columns(i, *episode, spaces)
        for i, episode in enumerate(zip(observations, actions, rewards, terminated, strict=True))
    ]
    return Episodes(
        *map(np.concatenate, zip(*columns, strict=True)),
        observation_space=flat_space(spaces[0]),
        action_space=flat_space(spaces[1], "action"),
    )


def _columns(
    number: int,
    observations: Any,
    actions: Any,
    rewards: Any,
    terminated: Any,
    spaces: tuple[gym.Space, gym.Space],
) -> tuple[np.ndarray, ...]:
    """The six columns of `Episodes` for one episode."""
    try:
        observation, action = map(flatten_value, spaces, (observations, actions))
    except ValueError as error:
        raise ValueError(f"episode {number}: {error}") from error
    steps = len(action)
    rewards = np.zeros(steps) if rewards is None else np.asarray(rewards)
    if not len(observation) - 1 == len(rewards) == steps > 0:
        raise ValueError(
            f"episode {number} has {len(observation)} observations, {steps} actions and "
            f"{len(rewards)} rewards, but T + 1, T and T are expected, for T of at least 1: the "
            "last observation is the one after the last action."
        )
    index = np.arange(steps + 1)
    return (
        observation,
        np.concatenate([action, np.zeros_like(action[:1])]),
        np.concatenate([[0.0], rewards]),
        index == 0,
        index == steps,
        (index == steps) & bool(terminated),
    )


def _numbers(episodes: Any) -> gym.Space:
    """A space of numbers without bounds, for episodes `[time, ...]` like the first."""
    shape = np.shape(episodes[0])
    if not shape:
        raise ValueError(
            f"an episode must be an array with one row a step, but one is {episodes[0]!r}; pass a "
            "list of one for a single episode."
        )
    return gym.spaces.Box(-np.inf, np.inf, shape[1:], np.float32)
