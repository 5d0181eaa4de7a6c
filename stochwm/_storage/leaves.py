"""Between a tree and named plain arrays."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .errors import StorageError

_NATIVE = {"float64", "float32", "float16", "bool"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_SCALARS = {"bool": lambda text: text == "True", "int": int, "float": float}


def _named_leaves(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(where): leaf for where, leaf in leaves}
    if len(named) != len(leaves):
        raise StorageError("two leaves of the tree have the same name; rename one of its dict keys")
    return named


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _is_scalar(leaf: Any) -> bool:
    return type(leaf) in (bool, int, float)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def size_of(tree: Any) -> int:
    """How many bytes the array leaves of a tree take, one array of numpy or JAX after another."""
    arrays = (leaf for leaf in jax.tree.leaves(tree) if _is_array(leaf))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)


def pack(tree: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Named arrays that safetensors can hold, and the notes that turn them back into leaves."""
    arrays, views, keys, scalars = {}, {}, {}, {}
    for name, leaf in _named_leaves(tree).items():
        if _is_scalar(leaf):
            scalars[name] = [type(leaf).__name__, repr(leaf)]
        if not _is_array(leaf):
            continue
        if _is_key(leaf):
            keys[name] = str(jax.random.key_impl(leaf))
            leaf = jax.random.key_data(leaf)
        arrays[name], view = _plain(name, leaf)
        if view is not None:
            views[name] = view
    return arrays, {"views": views, "keys": keys, "scalars": scalars}


def _plain(name: str, leaf: Any) -> tuple[np.ndarray, str | None]:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise StorageError(f"leaf {name} is a shape without values; build the tree first")
    # safetensors writes the raw buffer: it must be contiguous and in native byte order.
    array = np.asarray(leaf, order="C")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name in _NATIVE:
        return array, None
    if array.dtype.kind in "OSUMm" or array.dtype.itemsize not in (1, 2, 4, 8):
        raise StorageError(f"leaf {name} has dtype {array.dtype}, which cannot be stored")
    return array.view(f"uint{8 * array.dtype.itemsize}"), array.dtype.name


def unpack(folder: Path, body: dict, arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The tree of `like` with the leaves that `pack` stored; `folder` is for messages."""
    wanted = {
        name: leaf
        for name, leaf in _named_leaves(like).items()
        if _is_array(leaf) or _is_scalar(leaf)
    }
    _check_names(folder, set(wanted), set(arrays) | set(body["scalars"]))
    try:
        loaded = {name: _load_leaf(folder, body, arrays, name, wanted[name]) for name in wanted}
    except StorageError:
        raise
    except (TypeError, ValueError, KeyError) as error:  # only a forged manifest gets here
        raise StorageError(f"the manifest of {folder} contradicts itself: {error!r}") from error
    return jax.tree_util.tree_map_with_path(
        lambda where, leaf: loaded.get(jax.tree_util.keystr(where), leaf), like
    )


def _check_names(folder: Path, wanted: set[str], present: set[str]) -> None:
    missing, extra = sorted(wanted - present), sorted(present - wanted)
    if missing or extra:
        raise StorageError(
            f"{folder} was saved from another tree: missing leaves {_some(missing)}, "
            f"leaves that were not expected {_some(extra)}. Build `like` with the settings that "
            "the tree was saved with (the same sizes, names and optimiser)."
        )


def _load_leaf(folder: Path, body: dict, arrays: dict, name: str, like: Any) -> Any:
    if not _is_array(like) or name in body["scalars"]:
        kind, text = body["scalars"].get(name, ("array", ""))
        expected = "array" if _is_array(like) else type(like).__name__
        if kind != expected:
            raise StorageError(f"leaf {name} in {folder} is {kind}, expected {expected}")
        return _SCALARS[kind](text)
    array = arrays[name]
    if name in body["views"]:
        array = array.view(jnp.dtype(body["views"][name]))
    if _is_key(like) != (name in body["keys"]):
        came, expected = ("an array", "a PRNG key")[:: 1 if _is_key(like) else -1]
        raise StorageError(f"leaf {name} in {folder} is {came}, expected {expected}")
    if _is_key(like):
        return _load_key(folder, body, name, array, like)
    if array.shape != like.shape or array.dtype != np.dtype(like.dtype).newbyteorder("="):
        raise StorageError(
            f"leaf {name} in {folder} has shape {array.shape} and dtype {array.dtype}, expected "
            f"{like.shape} and {like.dtype}. Build `like` with the settings it was saved with."
        )
    # Copies: the loaded buffer is read-only, and jax may otherwise alias it.
    if isinstance(like, np.generic):
        return array[()]
    return np.array(array) if isinstance(like, np.ndarray) else jnp.array(array)


def _load_key(folder: Path, body: dict, name: str, array: np.ndarray, like: Any) -> jax.Array:
    try:
        key = jax.random.wrap_key_data(jnp.array(array), impl=body["keys"][name])
    except (TypeError, ValueError) as error:
        raise StorageError(f"leaf {name} in {folder} is not a valid PRNG key: {error}") from error
    if key.dtype != like.dtype or key.shape != like.shape:
        raise StorageError(
            f"leaf {name} in {folder} is a PRNG key {key.dtype}{list(key.shape)}, expected "
            f"{like.dtype}{list(like.shape)}"
        )
    return key


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"[{shown}]"
