"""Bad parameters are refused while shapes are known; bad values wherever they are concrete."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array


def as_float(name: str, value: object) -> Array:
    """`value` as a floating-point array (float64 is cast to JAX's default precision).

    Raises:
        TypeError: what is not an array of real numbers, naming the argument.
    """
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:  # ragged lists and None are ValueErrors of JAX
        raise TypeError(f"{name} must be an array of numbers, but is {value!r}.") from error
    real = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in real):
        raise TypeError(f"{name} must be an array of real numbers, but has dtype {array.dtype}.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    return array


def as_level(level: object) -> Array:
    """A probability as a floating-point array.

    Raises:
        ValueError: it is known not to lie strictly between 0 and 1: no value has that quantile.
    """
    array = as_float("level", level)
    _check("level", array, lambda x: (x > 0) & (x < 1), "strictly between 0 and 1")
    return array


def as_dims(dims: object, size: int) -> np.ndarray:
    """Numbers of dimensions, counted from 0.

    Raises:
        ValueError: what does not name some of `size` dimensions, each at most once: JAX would take
            the last one instead, and two copies of one would be drawn apart.
    """
    array = np.asarray(dims)
    whole = array.ndim == 1 and array.size > 0 and np.issubdtype(array.dtype, np.integer)
    if whole and ((array >= -size) & (array < size)).all():
        found = array % size
        if len(np.unique(found)) == len(found):
            return found
    raise ValueError(
        f"dims must be different whole numbers from 0 to {size - 1}, such as (0,), but are {dims}."
    )


def check_trailing(name: str, array: Array, expected: tuple[int | None, ...], form: str) -> None:
    """Raise `ValueError` unless the last axes of `array` match `expected` (None: any size >= 1)."""
    trailing = array.shape[array.ndim - len(expected) :] if array.ndim >= len(expected) else None
    if trailing is None or any(
        size == 0 if want is None else size != want
        for size, want in zip(trailing, expected, strict=True)
    ):
        raise ValueError(f"{name} must have shape {form}, but has shape {array.shape}.")


def check_like(name: str, array: Array, other_name: str, other: Array) -> None:
    """Raise `ValueError` unless `array` has exactly the shape of `other`."""
    if array.shape != other.shape:
        raise ValueError(
            f"{name} must have shape {list(other.shape)} like {other_name}, "
            f"but has shape {list(array.shape)}."
        )


def as_event(value: object, event_shape: tuple[int, ...], name: str = "value") -> Array:
    """`value` as a floating-point array, checked to be one event."""
    array = as_float(name, value)
    check_event(array, event_shape, name)
    return array


def check_same_events(one: Any, other: Any) -> None:
    """Raise `ValueError` unless two distributions are over events of the same shape.

    Numbers of one would be taken for each of those of the other.
    """
    if one.event_shape != other.event_shape:
        raise ValueError(
            f"other must be over events of shape {one.event_shape}, as this distribution, but is "
            f"over events of shape {other.event_shape}."
        )


def check_event(value: Any, event_shape: tuple[int, ...], name: str = "value") -> None:
    """Raise `ValueError` unless `value` is one event: a batch would be summed away silently."""
    shape = jnp.shape(value)
    if shape != event_shape:
        raise ValueError(
            f"{name} must be one event of shape {event_shape}, but has shape {shape}; "
            "vmap over batch axes."
        )


def check_positive(name: str, array: Array) -> None:
    """Raise `ValueError` if a concrete `array` holds an entry that is not positive and finite.

    Under a trace the values are unknown and nothing is checked: heads make scales positive by
    construction, and the rollout loops catch what is not finite.
    """
    _check(name, array, lambda x: np.isfinite(x) & (x > 0), "positive and finite")


def check_finite(name: str, array: Array) -> None:
    """Raise `ValueError` if a concrete `array` holds NaN or infinity."""
    _check(name, array, np.isfinite, "finite")


def check_order(name: str, low: Array, other_name: str, high: Array) -> None:
    """Raise `ValueError` unless `low < high`, where both are known."""
    if isinstance(low, Tracer) or isinstance(high, Tracer):
        return
    if not np.all(np.asarray(low) < np.asarray(high)):
        raise ValueError(f"{name} must be below {other_name}, but they are {low} and {high}.")


def check_logits(name: str, array: Array) -> None:
    """Raise `ValueError` for concrete logits with NaN, plus infinity, or no finite entry in a row.

    JAX would draw index 0 from such logits without a word.
    """

    def valid(x):
        usable = np.any(np.isfinite(x), axis=-1, keepdims=True)
        return ~np.isnan(x) & (x < np.inf) & usable

    _check(name, array, valid, "free of NaN and +inf, with at least one finite entry")


def _check(name: str, array: Array, valid, expected: str) -> None:
    if isinstance(array, Tracer):
        return
    values = np.asarray(array)
    bad = ~np.broadcast_to(valid(values), values.shape)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} must be {expected}, but {name}{list(index)} is {values[index]}.")
