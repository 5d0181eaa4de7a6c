"""Checkpoints of an agent that learns, which know the choices that they belong to."""

import os
from typing import Any, TypeVar

import equinox as eqx
import numpy as np
from jaxtyping import PyTree

from .._storage import StorageError, latest_step, load_step, load_step_metadata, save_step
from .choices import Choice, choices_of, differences
from .source import AbstractSource

Row = dict[str, float | int | None]
"""One row of a history."""
State = TypeVar("State")


class Checkpoints:
    """Where a run keeps what it needs to go on: numbered folders, or nothing at all.

    A state has a field `place`, of its environments, which is kept if those can be saved.
    """

    def __init__(
        self, folder: str | os.PathLike | None, source: AbstractSource, choices: dict[str, Any]
    ):
        """Open a folder, which need not be there yet.

        Args:
            folder: where to keep checkpoints; None keeps none.
            source: of the experience.
            choices: of the run; see `choices_of`.

        Raises:
            ValueError: the folder holds a run of other choices; the message names them.
            StorageError: it holds a run of an older version.
        """
        self.folder, self.source = folder, source
        self.choices: dict[str, Choice] = choices_of(choices)
        self.kept: dict[str, Any] | None = None
        if folder is None or latest_step(folder) is None:
            return
        self.kept = load_step_metadata(folder)
        if "choices" not in self.kept:
            raise StorageError(
                f"the run in {os.fspath(folder)!r} is of an older version, which did not keep its "
                "choices, and cannot go on: use another folder."
            )
        told = differences(self.kept["choices"], self.choices)
        if told:
            raise ValueError(
                f"the run in {os.fspath(folder)!r} has {told}. Go on with its own choices, or use "
                "another folder."
            )

    def last(self, fresh: State) -> tuple[State, list[Row]]:
        """The last checkpoint and its history; a fresh state and no rows if there is none.

        Where environments cannot be saved, their place is that of the fresh state.

        Raises:
            StorageError: the checkpoint is damaged, or of another version.
        """
        if self.folder is None or self.kept is None:
            return fresh, []
        history = self.kept["history"]
        if self.source.can_be_saved:
            return load_step(self.folder, fresh), history
        loaded = load_step(self.folder, eqx.tree_at(_place, fresh, None))
        is_none = lambda x: x is None  # noqa: E731
        return eqx.tree_at(_place, loaded, _place(fresh), is_leaf=is_none), history

    def save(self, number: int, state: Any, history: list[Row]) -> None:
        """Keep a state as checkpoint `number`."""
        if self.folder is None:
            return
        kept = state if self.source.can_be_saved else eqx.tree_at(_place, state, None)
        save_step(self.folder, number, kept, {"history": history, "choices": self.choices})


def seconds_of(history: list[Row]) -> float:
    """How long a run has taken so far."""
    return float(history[-1]["seconds"] or 0.0) if history else 0.0


def seed_of(seed: int, number: int) -> int:
    """The seed of environments that cannot be saved and start anew after a checkpoint."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _place(state: Any) -> PyTree:
    return state.place
