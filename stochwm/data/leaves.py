"""The parts of a Gymnasium space, in the order of `gymnasium.spaces.utils.flatten`.

Box and MultiBinary row by row, one one-hot block per Discrete and per entry of MultiDiscrete, the
parts of Dict and Tuple in the order of the space.
"""

import itertools
import math
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
from gymnasium import spaces as gs

_SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"


def leaves(space: gym.Space, label: str, top: bool = True) -> Iterator[tuple[str, gym.Space]]:
    """Each part with its name; the keys of a Dict replace `label`. `TypeError` if unsupported."""
    if isinstance(space, gs.Dict):
        for key, part in space.spaces.items():
            yield from leaves(part, str(key) if top else f"{label}.{key}", top=False)
    elif isinstance(space, gs.Tuple):
        for i, part in enumerate(space.spaces):
            yield from leaves(part, f"{label}.{i}", top=False)
    elif isinstance(space, (gs.Box, gs.Discrete, gs.MultiDiscrete, gs.MultiBinary)):
        yield label, space
    else:
        raise TypeError(
            f"{label}: the space {space} is not supported; expected {_SUPPORTED}. "
            "Wrap the environment, for instance with gymnasium.wrappers.TransformObservation."
        )


def categories(leaf: gym.Space) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and first values of the one-hot blocks of a leaf, in order."""
    if isinstance(leaf, gs.Discrete):
        return np.array([leaf.n]), np.array([leaf.start])
    assert isinstance(leaf, gs.MultiDiscrete)
    start = np.broadcast_to(getattr(leaf, "start", 0), leaf.nvec.shape)
    return leaf.nvec.ravel(), start.ravel()


def blocks(leaf: gym.Space) -> list[tuple[int, int]]:
    """`(start, size)` of the one-hot blocks in the flat vector of one part."""
    if not isinstance(leaf, (gs.Discrete, gs.MultiDiscrete)):
        return []
    sizes = [int(size) for size in categories(leaf)[0]]
    return list(zip(itertools.accumulate(sizes, initial=0), sizes, strict=False))


def size_of(leaf: gym.Space) -> int:
    """How many entries the flat vector of one part has."""
    return sum(size for _, size in blocks(leaf)) or math.prod(leaf.shape or ())
