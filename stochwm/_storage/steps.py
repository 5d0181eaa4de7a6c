"""Numbered checkpoints: folders `step_<12 digits>` in a folder of their own."""

import operator
import os
import re
from pathlib import Path
from typing import Any, TypeVar

from .errors import StorageError
from .folders import discard, old_of, remove_stale
from .trees import load_metadata, load_tree, save_tree

_Tree = TypeVar("_Tree")
_STEP = re.compile(r"(?:\.old-)?step_(\d{12})")


def save_step(
    folder: str | os.PathLike,
    step: int,
    tree: Any,
    metadata: dict[str, Any] | None = None,
    keep: int = 3,
) -> None:
    """Save checkpoint number `step` in `folder` and delete all but the `keep` highest numbers.

    Leftovers of interrupted saves in `folder` are removed. The step just saved is never deleted.

    Raises:
        ValueError: `step` is not in [0, 10**12) or `keep` is below 1.
        StorageError: as `save_tree`.
    """
    if isinstance(step, bool) or not 0 <= operator.index(step) < 10**12:
        raise ValueError(f"step must be an integer in [0, 10**12), got {step!r}")
    if keep < 1:
        raise ValueError(f"keep must be at least 1 checkpoint, got {keep!r}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    save_tree(_step_path(folder, step), tree, metadata)
    for old in _steps(folder)[:-keep]:
        if old != step:
            discard(old_of(_step_path(folder, old)))
            discard(_step_path(folder, old))


def latest_step(folder: str | os.PathLike) -> int | None:
    """The highest checkpoint number in `folder`, or None when it holds none (or does not exist)."""
    steps = _steps(Path(folder))
    return steps[-1] if steps else None


def load_step(folder: str | os.PathLike, like: _Tree, step: int | None = None) -> _Tree:
    """Load checkpoint number `step` of `folder`, by default the latest.

    Raises:
        StorageError: no such checkpoint, or as `load_tree`; the message lists the steps there are.
    """
    where = _choose(Path(folder), step)
    try:
        return load_tree(where, like)
    except StorageError as error:
        steps = _steps(Path(folder))
        raise StorageError(f"{error} (Steps in {folder}: {steps}.)") from error


def load_step_metadata(folder: str | os.PathLike, step: int | None = None) -> dict[str, Any]:
    """Read the metadata of checkpoint number `step`, by default the latest.

    Raises:
        StorageError: no such checkpoint, or as `load_metadata`.
    """
    return load_metadata(_choose(Path(folder), step))


def _choose(folder: Path, step: int | None) -> Path:
    steps = _steps(folder)
    if not steps or (step is not None and step not in steps):
        what = "checkpoint" if step is None else f"checkpoint {step}"
        raise StorageError(f"{folder} holds no {what}; the steps there are: {steps}")
    return _step_path(folder, steps[-1] if step is None else step)


def _step_path(folder: Path, step: int) -> Path:
    return folder / f"step_{int(step):012d}"


def _steps(folder: Path) -> list[int]:
    entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted({int(match[1]) for match in map(_STEP.fullmatch, entries) if match})
