"""Trees on disk that survive a crash and never run code.

A saved tree is a folder of two files:

* `arrays.safetensors`: every array leaf under its `jax.tree_util.keystr` name. A typed PRNG key is
  stored as its key data; a dtype that safetensors' numpy side cannot read (bfloat16, complex64)
  as unsigned integers of the same width.
* `manifest.json`: format number, library version, size and sha256 of the arrays file, Python
  scalars, key implementations, static settings in words, the caller's metadata, and a checksum of
  all this.

The folder is built beside its destination, flushed to disk, and renamed into place. A save over
an existing tree renames the old one to `.old-<name>` first, so at every moment the old or the new
tree can be loaded: `load_tree` looks at `.old-<name>` when a crash fell between the two renames.

Numbered checkpoints are such folders named `step_<12 digits>` in a folder of their own
(`save_step`, `latest_step`, `load_step`). One writer per folder at a time.
"""

import os
from pathlib import Path
from typing import Any, TypeVar

from .folders import find, new_folder, old_of, refuse_foreign
from .leaves import pack, size_of, unpack
from .manifest import read_arrays, read_manifest, write
from .statics import check_statics, statics_of

_Tree = TypeVar("_Tree")


def save_tree(path: str | os.PathLike, tree: Any, metadata: dict[str, Any] | None = None) -> None:
    """Write the arrays and Python scalars of a tree as the folder `path`, atomically.

    Of other leaves and of static fields (functions, strings, settings) only names are written:
    `load_tree` takes them from `like`, and refuses others than there were.

    Args:
        path: folder to make or to replace; only a folder that this function wrote is replaced.
        tree: any pytree. int, float and bool leaves come back exactly.
        metadata: anything that `json` can write; read it back with `load_metadata`.

    Raises:
        StorageError: something else lies at `path`, a leaf has a dtype that cannot be stored,
            or `metadata` is not JSON.
        OSError: the disk is full or not writable; what was at `path` before is intact.
    """
    path = Path(path).absolute()
    refuse_foreign(path)
    arrays, notes = pack(tree)
    notes["statics"] = statics_of(tree)
    with new_folder(path) as folder:
        write(folder, arrays, {**notes, "metadata": {} if metadata is None else metadata})


def load_tree(path: str | os.PathLike, like: _Tree) -> _Tree:
    """Read a tree that `save_tree` wrote, checked against a tree of the same structure.

    Args:
        path: the folder.
        like: a tree with the same leaf names, shapes and dtypes, for instance a freshly built
            model or `eqx.filter_eval_shape(make_model)`. Its values are not used, except for
            leaves that are neither arrays nor numbers (functions) and static fields, which are
            taken from it and have to be those that were saved: numbers, strings and tuples of them
            alike, functions and classes of one name, all else of one type.

    Returns:
        A tree with the structure of `like`; numpy leaves where `like` has numpy, else jax arrays.

    Raises:
        StorageError: missing, truncated, altered, foreign, of another format version, not
            fitting `like`, or so much larger than `like` that it is not even read.
    """
    folder = find(path)
    body = read_manifest(folder)
    tree = unpack(folder, body, read_arrays(folder, body, size_of(like)), like)
    check_statics(folder, body.get("statics", {}), like)
    return tree


def saved_at(path: str | os.PathLike) -> bool:
    """Whether there is something at `path` to load, also after a crash between two renames."""
    path = Path(path).absolute()
    return path.exists() or old_of(path).exists()


def load_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Read only the `metadata` that was given to `save_tree`.

    Raises:
        StorageError: the folder or its manifest is missing, altered or of another version.
    """
    return read_manifest(find(path))["metadata"]
