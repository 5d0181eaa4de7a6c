"""Traces that held-out episodes leave in what must not have seen them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..data import Episodes
from ..transitions import AbstractConstant

ROUNDING = 1e-6  # relative: statistics in float32 are this exact
APART = 1e-4  # in standard deviations: nearer statistics do not tell which data they are of


def refuse_pieces(episodes: Episodes) -> None:
    """Raise if episodes are pieces of one: divided among folds, a model would know the rest.

    Where an episode is cut, the last observation of one piece is the first of the next, and of
    continuous observations nothing else is ever equal to it. So an observation that comes exactly
    twice, as the last of an episode that did not terminate and as the first of another one, is a
    cut. Pieces with a step left out between them are not seen, nor cuts where observations come
    again anyway: at resets to a fixed state, at walls, or where all are whole numbers.

    Raises:
        ValueError: naming the first pair of pieces.
    """
    observation = np.asarray(episodes.observation)
    if (observation == np.round(observation)).all():
        return
    names = [row.tobytes() for row in observation]
    times = Counter(names)
    begins = {names[row]: i for i, row in enumerate(np.flatnonzero(episodes.is_first))}
    for i, row in enumerate(np.flatnonzero(episodes.is_last)):
        after = begins.get(names[row])
        if after is not None and times[names[row]] == 2 and not episodes.is_terminal[row]:
            raise ValueError(
                f"episodes must be whole, but episode {after} begins with the very observation "
                f"that episode {i} ends with, {observation[row]}, which is nowhere else: they are "
                "pieces of one. Join them, so that no fold is tested on what another one trained "
                "on."
            )


def refuse_held_out_statistics(model: Any, train: Episodes, test: Episodes) -> None:
    """Raise if the constants of a model are statistics of held-out episodes.

    Means, standard deviations and limits of states, actions and changes are taken of the training
    episodes, of the held-out ones and of all. A number of an `AbstractConstant` of the model, such
    as a `Standardiser`, that is one of the latter two and not the first was fitted on what should
    be held out. A leak without such a trace, as through the weights of a network that was trained
    on everything, is not seen.

    Args:
        model: any pytree.
        train: what the model was to be made from.
        test: what was held out.

    Raises:
        ValueError: naming the statistic.
    """
    proper = dict(_statistics(train))
    spread = {what: proper[what, "standard deviation"] for what, _ in proper}
    everything = Episodes.concatenate([train, test])
    for whose, seen in (("all episodes", everything), ("the held-out episodes", test)):
        for (what, which), value in _statistics(seen):
            apart = np.abs(value - proper[what, which]) > APART * (spread[what] + np.abs(value))
            for constant in _constants(model, len(value)):
                found = apart & (np.abs(constant - value) <= ROUNDING * np.abs(value))
                if found.any():
                    raise ValueError(
                        f"the model knows what was held out: a constant of it holds the {which} of "
                        f"the {what} of {whose}, {value[found.any(axis=0)]}, which is not that of "
                        "the training episodes. Fit normalisers inside make, on what it is given."
                    )


def _statistics(episodes: Episodes) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    rows = episodes.transitions()
    state, after = (np.asarray(x, np.float64) for x in (rows.state, rows.next_state))
    tables = {
        "states": state,
        "observations": np.asarray(episodes.observation, np.float64),
        "actions": np.asarray(rows.action, np.float64),
        "changes of state": after - state,
    }
    for what, table in tables.items():
        yield (what, "mean"), table.mean(axis=0)
        yield (what, "standard deviation"), table.std(axis=0)
        yield (what, "minimum"), table.min(axis=0)
        yield (what, "maximum"), table.max(axis=0)


def _constants(model: Any, size: int) -> Iterator[np.ndarray]:
    """Arrays of constants whose last axis has that size, `[rows, size]`."""
    is_constant = lambda node: isinstance(node, AbstractConstant)  # noqa: E731
    for node in jax.tree.leaves(model, is_leaf=is_constant):
        for leaf in jax.tree.leaves(eqx.filter(node, eqx.is_inexact_array)):
            if is_constant(node) and leaf.shape[-1:] == (size,):
                yield np.asarray(leaf, np.float64).reshape(-1, size)
