"""One episode of an agent, row by row."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from .source import AbstractSource, Act
from .steps import Steps


def record_episode(
    source: AbstractSource,
    act: Act,
    agent: PyTree,
    *,
    key: PRNGKeyArray,
    memory: PyTree = None,
    longest: int = 1_000,
    look: Callable[[], Any] = lambda: None,
) -> tuple[Steps, list[Any]]:
    """One episode from a fresh start: its rows `[time]`, and what was seen at each.

    Args:
        source: where to act: one copy of an environment, which is started anew.
        act: how the agent acts, see `acting`.
        agent: what `act` acts for.
        key: of the start and of all draws.
        memory: before the first observation, with a leading axis `[1]`, or None.
        longest: rows after which the episode is left as it is.
        look: called at each row before the action, for instance to render the environment.

    Raises:
        ValueError: several copies, or no row.
    """
    if source.num_envs != 1 or longest < 1:
        raise ValueError(
            f"source must be one copy and longest at least 1 row, but are {source.num_envs} copies "
            f"and {longest}."
        )
    key_start, key = jax.random.split(key)
    place = source.start(int(jax.random.bits(key_start, dtype="uint32")))
    rows, seen = [], []
    for number in range(longest):
        seen.append(look())
        memory, place, steps, _ = source.collect(
            act, agent, memory, place, key=jax.random.fold_in(key, number), length=1
        )
        rows.append(jax.device_get(steps))
        if rows[-1].is_last.any():
            break
    return jax.tree.map(lambda *x: np.concatenate(x)[:, 0], *rows), seen
