"""Parameters of worlds are refused at construction."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float


def positive(name: str, value: Any) -> Float[Array, ""]:
    """`value` as a float32 scalar.

    Raises:
        ValueError: not a positive, finite number.
    """
    return _scalar(name, value, lambda x: x > 0, "a positive, finite number")


def probability(name: str, value: Any) -> Float[Array, ""]:
    """`value` as a float32 scalar.

    Raises:
        ValueError: not a number in [0, 1].
    """
    return _scalar(name, value, lambda x: (x >= 0) & (x <= 1), "a number in [0, 1]")


def number(name: str, value: Any) -> Float[Array, ""]:
    """`value` as a float32 scalar.

    Raises:
        ValueError: not a finite number.
    """
    return _scalar(name, value, lambda x: True, "a finite number")


def count(name: str, value: Any, least: int) -> int:
    """`value` as an integer.

    Raises:
        ValueError: not an integer of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is {value!r}, expected an integer of at least {least}")
    return int(value)


def numbers(name: str, value: Any) -> Float[Array, " entries"]:
    """`value` as a float32 vector.

    Raises:
        ValueError: not a list of at least one finite number.
    """
    return _array(name, value, 1, lambda x: True, "a list of finite numbers")


def positives(name: str, value: Any) -> Float[Array, " entries"]:
    """`value` as a float32 vector.

    Raises:
        ValueError: not a list of at least one positive, finite number.
    """
    return _array(name, value, 1, lambda x: x > 0, "a list of positive, finite numbers")


def _scalar(name: str, value: Any, valid, expected: str) -> Float[Array, ""]:
    return _array(name, value, 0, valid, expected)


def _array(name: str, value: Any, ndim: int, valid, expected: str) -> Float[Array, "*shape"]:
    if isinstance(value, Tracer):  # checked before the transform
        return jnp.asarray(value, "float32")
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        array = np.asarray(np.nan, np.float32)
    fits = array.ndim == ndim and array.size > 0 and np.isfinite(array).all()
    if not fits or not np.all(valid(array)):
        raise ValueError(f"{name} is {value!r}, expected {expected}")
    return jnp.asarray(array)
