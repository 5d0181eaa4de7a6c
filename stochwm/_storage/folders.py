"""Folders that appear whole or not at all."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StorageError

ARRAYS, MANIFEST = "arrays.safetensors", "manifest.json"


def find(path: str | os.PathLike) -> Path:
    """The folder that holds the tree saved at `path`; `StorageError` when there is none."""
    path = Path(path).absolute()
    for folder in (path, old_of(path)):
        if folder.is_dir():
            return folder
    if path.exists():
        raise StorageError(
            f"{path} is a file, expected a folder with {MANIFEST} and {ARRAYS}. "
            "Pickles and single-file checkpoints are not read."
        )
    raise StorageError(f"there is nothing at {path}; expected a saved folder")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder; on a clean exit it takes the place of `path`, else it is deleted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _recover(path)
    remove_stale(path.parent, path.name)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        _flush_folder(temporary)
        if path.exists():
            os.rename(path, old_of(path))
        os.rename(temporary, path)
        _flush_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        _recover(path)
        raise
    discard(old_of(path))


def _recover(path: Path) -> None:
    """Put the old tree back where a crash (or a failed rename) left only that, or clear it away."""
    if old_of(path).exists():
        if path.exists():
            discard(old_of(path))
        else:
            os.rename(old_of(path), path)


def remove_stale(parent: Path, name: str | None = None) -> None:
    """Delete what interrupted saves of `name` (by default: of anything) left in `parent`."""
    stale = re.compile(rf"\.tmp-{'.*' if name is None else re.escape(name)}-[0-9a-f]{{32}}")
    for entry in list(parent.iterdir()):
        if stale.fullmatch(entry.name):
            shutil.rmtree(entry, ignore_errors=True)


def discard(folder: Path) -> None:
    """Delete a saved folder in such a way that a crash cannot leave half of it under its name."""
    if folder.exists():
        doomed = _temporary(folder)
        os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def refuse_foreign(path: Path) -> None:
    """Raise `StorageError` where saving at `path` would delete something else."""
    if not path.exists():
        return
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else None
    if names is None or not names <= {ARRAYS, MANIFEST}:
        raise StorageError(
            f"{path} already exists and is not a saved tree alone; it is left as it is. "
            "Choose another path or move it away."
        )


def write_file(file: Path, content: bytes) -> None:
    """Write a new file and flush it to disk."""
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # a folder cannot be opened, hence not flushed, elsewhere
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def old_of(path: Path) -> Path:
    """Where the former tree waits while the new one is renamed to `path`."""
    return path.parent / f".old-{path.name}"


def _temporary(path: Path) -> Path:
    # Under the name of the tree, also for its old version: its next save clears leftovers away.
    return path.parent / f".tmp-{path.name.removeprefix('.old-')}-{uuid.uuid4().hex}"
