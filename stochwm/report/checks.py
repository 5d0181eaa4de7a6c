"""What every figure asks of its arrays, and the ranges and dimensions that it picks from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def array(name: str, value: Any, ndim: int, axes: str, *, nan: bool = False) -> np.ndarray:
    """`value` as float64 with `ndim` axes of at least 1; `nan` allows NaN (but never infinity).

    Raises:
        TypeError: it holds no numbers, `ValueError` for shape or content.
    """
    try:
        result = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers {axes}, but {error}.") from None
    if result.ndim != ndim or 0 in result.shape:
        raise ValueError(
            f"{name} must have the shape {axes} with no empty axis, but its shape is "
            f"{result.shape}."
        )
    if np.isinf(result).any() or (np.isnan(result).any() and not nan):
        kind = "infinity" if nan else "NaN or infinity"
        raise ValueError(f"{name} must not contain {kind}: drop or repair those entries first.")
    if np.isnan(result).all():
        raise ValueError(f"{name} contains nothing but NaN.")
    return result


def arrays(
    name: str, values: Any, ndim: int, axes: str, *, nan: bool = False
) -> dict[str, np.ndarray]:
    """A dict of arrays by name, checked one by one; the last axis must be the same in all.

    Raises:
        TypeError: it is no dict, `ValueError` when it is empty or one of them is bad.
    """
    check_dict(name, values)
    result = {k: array(f"{name}[{k!r}]", v, ndim, axes, nan=nan) for k, v in values.items()}
    sizes = {k: v.shape[-1] for k, v in result.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{name} must have one last axis size {axes}, but they are {sizes}.")
    return result


def check_dict(name: str, values: Any) -> None:
    """**Raises:** `TypeError` when `values` is no dict, `ValueError` when it is empty."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} must be a dict by name, but it is a {type(values).__name__}.")
    if not values:
        raise ValueError(f"{name} must hold at least one entry, but it is empty.")


def check_names(names: Sequence[str], size: int) -> None:
    """**Raises:** `ValueError` unless there is one name for each dimension."""
    if isinstance(names, str) or len(names) != size:
        raise ValueError(
            f"names must hold one name for each of the {size} dimensions, but is {names!r}."
        )


def check_dims(dims: Sequence[int], size: int) -> tuple[int, ...]:
    """Chosen dimensions as a tuple.

    Raises:
        ValueError: there is none, one is chosen twice, or one is out of range.
    """
    chosen = tuple(int(d) for d in dims)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(size)):
        raise ValueError(
            f"dims must be different numbers from 0 to {size - 1}, at least one, but is {chosen}."
        )
    return chosen


def largest(spread: np.ndarray, count: int) -> tuple[int, ...]:
    """The `count` dimensions that spread most, in their own order."""
    return tuple(sorted(int(d) for d in np.argsort(-spread, kind="stable")[:count]))


def padded(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """The range with some air on both sides; a range of no width gets one."""
    width = high - low
    air = share * width if width > 1e-12 * max(abs(low), abs(high), 1e-300) else 0.5
    return low - air, high + air
