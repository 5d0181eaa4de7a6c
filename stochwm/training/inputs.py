"""What `fit` refuses before it compiles anything."""

import zlib
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


def check_data(name: str, data: PyTree[Any]) -> int:
    """Check training examples and return how many there are.

    Raises:
        ValueError: no array, leading axes that differ, no example, or NaN or infinity; the message
            names the leaf, and for data that knows its episodes the episode and step.
    """
    leaves = [
        (name + jax.tree_util.keystr(path), np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(data, eqx.is_array))
    ]
    lengths = {leaf.shape[:1] for _, leaf in leaves}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise ValueError(
            f"{name} must hold arrays that share one leading axis of at least 1 example, but has "
            f"{ {path: leaf.shape for path, leaf in leaves} }."
        )
    for path, leaf in leaves:
        if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all():
            row = int(np.argwhere(~np.isfinite(leaf))[0, 0])
            raise ValueError(f"{path} must be finite, but is not {_where(data, row)}.")
    return lengths.pop()[0]


def checksum(tree: PyTree[Any]) -> int:
    """A number that tells data sets apart: the CRC-32 of their arrays."""
    total = 0
    for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array)):
        total = zlib.crc32(np.asarray(leaf).tobytes(), total)
    return total


def check_numbers(
    *, steps: int, batch_size: int, evaluate_every: int, patience: int | None
) -> None:
    """Raise `ValueError` unless every number is an int of at least 1."""
    numbers = {"steps": steps, "batch_size": batch_size, "evaluate_every": evaluate_every}
    if patience is not None:
        numbers["patience"] = patience
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be an int of at least 1, but is {number!r}.")


def _where(data: Any, row: int) -> str:
    episode = getattr(data, "episode", None)
    if episode is None:
        return f"in example {row}"
    episode = np.asarray(episode)
    step = row - int(np.argmax(episode == episode[row]))
    return f"in example {row}: episode {int(episode[row])}, step {step}"
