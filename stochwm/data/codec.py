"""Elements of Gymnasium spaces to flat float32 vectors and back, batched or not.

The entries are those of `gymnasium.spaces.utils.flatten`. That function and its inverse take one
element at a time; these take whole batches, and decode any real vector.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces as gs
from jaxtyping import Float, Float32

from .leaves import blocks, categories, leaves, size_of


def flatten_value(space: gym.Space, value: Any) -> Float32[np.ndarray, "*batch size"]:
    """Encode an element of a space, or a batch of them in Gymnasium's vector layout.

    Args:
        space: the space of one element.
        value: an element; or, with the same leading axes on every array in it, a batch.

    Returns:
        float32 of shape `[size]`, or `[*batch, size]`. Integers beyond 2**24 and float64 values
        are rounded to float32.

    Raises:
        TypeError: unsupported space.
        ValueError: wrong shape, or a category that does not exist.
    """
    return np.concatenate(_map(_encode, space, value), axis=-1)


def unflatten_value(space: gym.Space, flat: Float[np.ndarray, "*batch size"]) -> Any:
    """Decode flat vectors: the inverse of `flatten_value`.

    One-hot blocks are decoded by their largest entry, integers by rounding, to the nearest that
    their dtype has. Box bounds are not enforced, but a value that equals a bound in float32 comes
    back as that bound.

    Args:
        space: the space of one element.
        flat: `[size]`, or `[*batch, size]` for a batch in Gymnasium's vector layout.

    Raises:
        TypeError: unsupported space.
        ValueError: the last axis does not have the size of the space.
    """
    flat = np.asarray(flat, np.float32)
    sizes = [size_of(leaf) for _, leaf in leaves(space, "value")]
    if flat.ndim == 0 or flat.shape[-1] != sum(sizes):
        raise ValueError(f"flat value has shape {flat.shape}, expected [..., {sum(sizes)}]")
    ends = itertools.accumulate(sizes)
    parts = (flat[..., end - size : end] for size, end in zip(sizes, ends, strict=True))
    return _build(space, parts)


def _map(function: Callable, space: gym.Space, value: Any, label: str = "value") -> list:
    if isinstance(space, gs.Dict):
        parts = [(key, part, value[key]) for key, part in space.spaces.items()]
    elif isinstance(space, gs.Tuple):
        parts = [(i, part, value[i]) for i, part in enumerate(space.spaces)]
    else:
        next(leaves(space, label))  # raises TypeError for unsupported spaces
        return [function(space, value, label)]
    mapped = (_map(function, part, x, f"{label}.{key}") for key, part, x in parts)
    return list(itertools.chain.from_iterable(mapped))


def _build(space: gym.Space, parts: Iterator[np.ndarray]) -> Any:
    if isinstance(space, gs.Dict):
        return {key: _build(part, parts) for key, part in space.spaces.items()}
    if isinstance(space, gs.Tuple):
        return tuple(_build(part, parts) for part in space.spaces)
    return _decode(space, next(parts))


def _encode(leaf: gym.Space, value: Any, label: str) -> np.ndarray:
    value, shape = np.asarray(value), leaf.shape or ()
    batch = value.shape[: value.ndim - len(shape)]
    flat_shape = (*batch, math.prod(shape))  # not -1, which an empty batch cannot tell
    if value.shape != (*batch, *shape):
        raise ValueError(f"{label} has shape {value.shape}, expected [..., *{shape}] of {leaf}")
    if isinstance(leaf, (gs.Box, gs.MultiBinary)):
        with np.errstate(over="ignore"):  # beyond float32 becomes inf, which callers report
            return value.reshape(flat_shape).astype(np.float32)
    sizes, starts = categories(leaf)
    index = value.reshape(flat_shape) - starts
    if not np.issubdtype(value.dtype, np.integer) or np.any((index < 0) | (index >= sizes)):
        raise ValueError(f"{label} = {value} is not an integer element of {leaf}")
    flat = np.zeros((*batch, int(sizes.sum())), np.float32)
    offsets = np.cumsum(sizes) - sizes
    np.put_along_axis(flat, index + offsets, 1.0, axis=-1)
    return flat


def _decode(leaf: gym.Space, flat: np.ndarray) -> Any:
    shape = (*flat.shape[:-1], *(leaf.shape or ()))
    if isinstance(leaf, gs.Box):
        value = flat.reshape(shape)
        return _to_box(leaf, value)
    if isinstance(leaf, gs.MultiBinary):
        return (flat.reshape(shape) > 0.5).astype(leaf.dtype)
    starts = categories(leaf)[1]
    best = [flat[..., start : start + size].argmax(-1) for start, size in blocks(leaf)]
    value = np.stack(best, axis=-1) + starts
    return value.reshape(shape).astype(leaf.dtype)[()]


def _to_box(leaf: gs.Box, value: np.ndarray) -> np.ndarray:
    if leaf.dtype == np.float32:
        return value.copy()
    cast = value
    if np.issubdtype(leaf.dtype, np.integer):
        kind = np.iinfo(leaf.dtype.name)
        # Beyond, a cast would begin again at the other end. The largest int64 is no float.
        top = np.nextafter(float(kind.max) + 1, 0)
        cast = np.clip(np.rint(value.astype(np.float64)), kind.min, top)
    with np.errstate(invalid="ignore"):  # NaN
        cast = cast.astype(leaf.dtype)
    # float32(-0.1) lies below float64(-0.1): without this, the bounds would not be in the space.
    cast = np.where(value == leaf.low.astype(np.float32), leaf.low, cast)
    return np.where(value == leaf.high.astype(np.float32), leaf.high, cast)
