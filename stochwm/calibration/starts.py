"""Held-out starts, and what really followed: what open-loop predictions are held against."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ..data import Episodes

HORIZONS = (1, 2, 5, 10, 20)
MIN_STARTS = 10  # fewer realised futures than this say little about a horizon


class Starts(NamedTuple):
    """Held-out starts and what really followed, padded after the end of an episode."""

    row: np.ndarray
    """Where in the stream of the episodes each start is, `[starts]`"""
    state: np.ndarray
    """What was seen there, `[starts, state]`"""
    action: np.ndarray
    """`[starts, horizon, action]`"""
    future: np.ndarray
    """`[starts, horizon, state]`"""
    mask: np.ndarray
    """Whether the episode lasted that long, `[starts, horizon]`"""
    episode: np.ndarray
    """`[starts]`"""


def choose_starts(episodes: Episodes, num_starts: int, horizon: int) -> Starts:
    """At most `num_starts` starts, evenly spread over all transitions of the episodes."""
    rows = np.flatnonzero(~episodes.is_last)
    picked = np.linspace(0, len(rows) - 1, min(num_starts, len(rows))).round().astype(int)
    start = rows[picked]
    episode = np.cumsum(episodes.is_first) - 1
    last = np.flatnonzero(episodes.is_last)[episode[start]]
    steps = start[:, None] + np.arange(horizon)
    inside = np.minimum(steps, last[:, None])
    return Starts(
        row=start,
        state=episodes.observation[start],
        action=episodes.action[inside],
        future=episodes.observation[np.minimum(steps + 1, last[:, None])],
        mask=steps < last[:, None],
        episode=episode[start],
    )


def too_short(lasted: dict[int, int]) -> list[str]:
    """Which horizons have too few futures, a sentence for all that have as few.

    Args:
        lasted: how many futures are that long, by horizon.
    """
    by_number: dict[int, list[str]] = {}
    for horizon, number in lasted.items():
        if number < MIN_STARTS:
            by_number.setdefault(number, []).append(str(horizon))
    return [
        f"horizon{'s' * (len(which) > 1)} {', '.join(which)}: only {number} futures are that long"
        for number, which in by_number.items()
    ]


def in_blocks(function: Callable[..., Any], inputs: tuple[Any, ...], size: int) -> Any:
    """`function` of blocks of rows, its results as numpy arrays of all rows.

    The last block is filled up with copies of the last row: blocks of one shape are compiled once.

    Args:
        function: of pytrees of arrays `[size, ...]`, returning such a pytree.
        inputs: pytrees of arrays `[rows, ...]`, at least one row.
        size: rows of a block.
    """
    number, results = len(jax.tree.leaves(inputs)[0]), []
    for first in range(0, number, size):
        rows = np.minimum(np.arange(first, first + size), number - 1)
        block = jax.tree.map(lambda x, rows=rows: x[rows], inputs)
        results.append(jax.tree.map(np.asarray, function(*block)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:number], *results)


def fingerprint(*arrays: np.ndarray) -> str:
    """A short name of what the arrays hold: equal for equal arrays, else different."""
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(repr((array.shape, array.dtype.str)).encode() + array.tobytes())
    return digest.hexdigest()[:16]
