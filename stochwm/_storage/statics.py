"""What of a tree is no array and no number, so that a tree of other settings is noticed."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .errors import StorageError

_LONGEST = 200  # characters of a setting in the manifest


def statics_of(tree: Any) -> dict[str, str]:
    """The static fields of modules and the leaves that are not stored, by name, in words."""
    return {name: _short(_describe(value)) for name, value in _walk(tree, "")}


def check_statics(folder: Path, saved: dict[str, str], like: Any) -> None:
    """Raise `StorageError` where a setting differs; one that only one side knows is passed.

    A file of before settings were saved has none, and a later version may know more of them.
    """
    wanted = statics_of(like)
    for name in sorted(wanted.keys() & saved.keys()):
        if wanted[name] != saved[name]:
            raise StorageError(
                f"{folder} was saved with {name} = {saved[name]}, but `like` has {wanted[name]}: "
                "the stored numbers would mean something else. Build `like` with the settings that "
                "the tree was saved with."
            )


def _walk(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, eqx.Module):
        for field in dataclasses.fields(node):
            value, where = getattr(node, field.name, None), f"{name}.{field.name}"
            if field.metadata.get("static", False):
                yield where, value
            else:
                yield from _walk(value, where)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(value, f"{name}[{key!r}]")
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _walk(value, f"{name}[{i}]")
    elif node is not None and not _is_stored(node):
        yield name, node


def _is_stored(leaf: Any) -> bool:
    arrays = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)
    return isinstance(leaf, (*arrays, bool, int, float))


def _describe(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1 and 1.0 are one setting
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_describe, value))})"
    named = getattr(value, "__qualname__", None)
    if isinstance(named, str):
        # Without its module, and without the function that it was made in: where something is
        # defined changes more often than what it does.
        return named.rpartition("<locals>.")[2]
    return f"a {type(value).__qualname__}"


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... (sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]})"
