"""What `fit` refuses before it compiles anything."""

import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..transitions import Ensemble

MAX_COUNT = 2**31 - 1  # counters on the device are int32, and would wrap around


def check_data(name: str, data: PyTree[Any]) -> int:
    """Check training examples and return how many there are.

    Raises:
        ValueError: no array, leading axes that differ, no example, NaN or infinity, or a number
            that JAX's own precision cannot hold; the message names the leaf, and for data that
            knows its episodes the episode and step.
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
        bad = _unusable(leaf)
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            kept = _kept_dtype(leaf)
            raise ValueError(
                f"{path} must be finite, but is not {_where(data, row)}."
                if np.issubdtype(leaf.dtype, np.floating)
                else f"{path} must fit into {kept}, but does not {_where(data, row)}."
            )
    return lengths.pop()[0]


def _unusable(leaf: np.ndarray) -> np.ndarray:
    """Where numbers are not finite, or will not be what they are once they are JAX arrays."""
    if not np.issubdtype(leaf.dtype, np.number):
        return np.zeros(leaf.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        kept = leaf.astype(_kept_dtype(leaf), copy=False)
    if np.issubdtype(leaf.dtype, np.integer):
        return kept.astype(leaf.dtype) != leaf  # JAX would wrap them around silently
    return ~np.isfinite(kept)


def _kept_dtype(leaf: np.ndarray) -> np.dtype:
    """What JAX makes of a dtype: float64 becomes float32 unless jax_enable_x64 is on."""
    return jnp.asarray(np.zeros(0, leaf.dtype)).dtype


def check_alike(data: PyTree[Any], validation: PyTree[Any]) -> None:
    """Raise `ValueError` unless both hold the same arrays, their leading axes aside."""
    one, other = (
        {
            jax.tree_util.keystr(path): np.shape(leaf)[1:]
            for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
        }
        for tree in (data, validation)
    )
    if one != other:
        raise ValueError(
            "validation must hold the same arrays as data, but for one example it has "
            f"{_unlike(other, one)}, where data has {_unlike(one, other)}."
        )


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: shape for name, shape in one.items() if other.get(name) != shape}


def check_model(model: Any) -> None:
    """Raise `TypeError` for an `Ensemble` that `fit` would not see as one."""
    top = model.members if isinstance(model, Ensemble) else model
    nodes = jax.tree.leaves(top, is_leaf=lambda node: isinstance(node, Ensemble))
    if any(isinstance(node, Ensemble) for node in nodes):
        raise TypeError(
            f"model must not hold an Ensemble inside another module, but is a "
            f"{type(model).__name__} around one: its members would share one loss, one batch and "
            "one optimiser state. Pass an Ensemble of the wrapped kernel, such as "
            "Ensemble(lambda key: Standardised(kernel(key), ...), 5, key=key)."
        )


def checksum(tree: PyTree[Any]) -> int:
    """A number that tells data sets apart: the CRC-32 of their arrays."""
    total = 0
    for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array)):
        total = zlib.crc32(np.asarray(leaf).tobytes(), total)
    return total


def check_numbers(*, patience: int | None, **numbers: int) -> None:
    """Raise `ValueError` unless every number is an int of at least 1 that a counter can reach."""
    if patience is not None:
        numbers["patience"] = patience
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be an int of at least 1, but is {number!r}.")
        if number > MAX_COUNT:
            raise ValueError(f"{name} must be at most {MAX_COUNT} (int32), but is {number}.")


def _where(data: Any, row: int) -> str:
    episode = getattr(data, "episode", None)
    if episode is None:
        return f"in example {row}"
    episode = np.asarray(episode)
    step = row - int(np.argmax(episode == episode[row]))
    return f"in example {row}: episode {int(episode[row])}, step {step}"
