"""The spaces of a dream, and the way from actions to flat vectors."""

from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float32

from ..data import Episodes, FlatSpace, flat_space, flatten_value
from ..data.spaces import out_of_bounds
from ..distributions.checks import as_float, check_finite


def resolve(
    starts: Any, observation_space: gym.Space | None, action_space: gym.Space | None
) -> tuple[Float32[np.ndarray, "starts observation"], gym.Space, gym.Space]:
    """Starts as rows, and the two spaces; those of `Episodes` where none is given.

    Raises:
        ValueError: a space is missing, or does not fit; no start, or starts of another shape.
    """
    if isinstance(starts, Episodes):
        if observation_space is None:
            observation_space = _observations(starts.observation_space)
        if action_space is None:
            action_space = _actions(starts.action_space)
        _check_size("action_space", action_space, starts.action_space.size, "actions")
        starts = starts.observation[~starts.is_last]
    if observation_space is None or action_space is None:
        raise ValueError(
            "observation_space and action_space must be given, unless starts are Episodes."
        )
    rows = as_float("starts", starts)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"starts must be [starts, observation], but has shape {rows.shape}.")
    check_finite("starts", rows)
    _check_size("observation_space", observation_space, rows.shape[1], "starts")
    return np.asarray(rows, np.float32), observation_space, action_space


class ActionEncoder:
    """Checks actions and makes them flat."""

    def __init__(self, space: gym.Space, batch: tuple[int, ...]):
        """Take the space of one action, and the leading axes that actions come with."""
        self.space, self.flat = space, flat_space(space)
        self.shape = (*batch, self.flat.size)
        self.low = np.asarray(self.flat.low, np.float32)
        self.high = np.asarray(self.flat.high, np.float32)

    def __call__(self, action: Any) -> Float32[np.ndarray, "*batch action"]:
        """The flat actions.

        Raises:
            ValueError: another shape, or an action outside its space.
        """
        flat = flatten_value(self.space, action)
        if flat.shape != self.shape:
            raise ValueError(f"action is flat {flat.shape}, expected {self.shape}.")
        if not (np.isfinite(flat) & (self.low <= flat) & (flat <= self.high)).all():
            rows = flat.reshape(-1, self.flat.size)
            bad = next(filter(None, (out_of_bounds(self.flat, row) for row in rows)))
            raise ValueError(f"action leaves its space: {bad.replace('state', 'action')}.")
        return flat


def _observations(flat: FlatSpace) -> gym.Space:
    """Categories as such; numbers without bounds, for a dream may leave those of the real world."""
    if flat.discrete:
        return _categories(flat)
    one_hot = np.asarray(flat.one_hot)
    low, high = np.where(one_hot, 0.0, -np.inf), np.where(one_hot, 1.0, np.inf)
    return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))


def _actions(flat: FlatSpace) -> gym.Space:
    if flat.discrete:
        return _categories(flat)
    if flat.groups:
        raise ValueError(
            "action_space must be given: the actions of starts mix numbers and categories."
        )
    return gym.spaces.Box(np.asarray(flat.low, np.float32), np.asarray(flat.high, np.float32))


def _categories(flat: FlatSpace) -> gym.Space:
    sizes = [size for _, size in flat.groups]
    return gym.spaces.Discrete(sizes[0]) if len(sizes) == 1 else gym.spaces.MultiDiscrete(sizes)


def _check_size(name: str, space: gym.Space, size: int, what: str) -> None:
    found = flat_space(space).size
    if found != size:
        raise ValueError(f"{name} must have {size} flat entries like the {what}, but has {found}.")
