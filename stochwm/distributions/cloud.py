"""Clouds of samples, with or without weights: what is asked of them, and averages over them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .checks import as_float, check_finite

WEIGHT_TOLERANCE = 1e-4  # by which a sum of weights may miss one: float32 and many samples


def check_cloud(samples: Array, value: Array, *, fair: bool) -> None:
    """Refuse what is not a cloud of samples of `value`.

    Raises:
        ValueError: no sample (a fair score needs two), dimensions that differ from those of the
            value, or entries known to be not finite.
    """
    least = 2 if fair else 1
    if samples.ndim != 2 or samples.shape[0] < least or samples.shape[1:] != value.shape:
        number = "2 samples" if fair else "1 sample"
        raise ValueError(
            f"samples must be [samples, dim] with at least {number} and the dimensions of value, "
            f"but samples has shape {samples.shape} and value {value.shape}."
        )
    check_finite("samples", samples)
    check_finite("value", value)


def as_weights(weights: Any, number: int, *, fair: bool) -> Array | None:
    """Weights of `number` samples, `[samples]`, or None for equal ones.

    Raises:
        ValueError: another shape; or, where the values are known, a negative or not finite weight,
            a sum other than one, or (for a fair score) fewer than two positive weights.
    """
    if weights is None:
        return None
    weights = as_float("weights", weights)
    if weights.shape != (number,):
        raise ValueError(
            f"weights must be one number a sample, [{number}], but has shape {weights.shape}."
        )
    if isinstance(weights, Tracer):
        return weights
    known = np.asarray(weights, np.float64)
    if not (known >= 0).all() or not abs(known.sum() - 1) <= WEIGHT_TOLERANCE:
        raise ValueError(
            "weights must not be negative and must sum to one (divide them by their sum), but "
            f"their smallest is {known.min()} and their sum {known.sum()}."
        )
    if fair and (known > 0).sum() < 2:
        raise ValueError(
            "weights must have at least two positive entries for a fair score, but have "
            f"{(known > 0).sum()}: pass fair=False."
        )
    return weights


def average(values: Float[Array, "samples *rest"], weights: Array | None) -> Float[Array, "*rest"]:
    """The mean over samples, `[*rest]`."""
    if weights is None:
        return jnp.mean(values, axis=0)
    # Not a matrix product, which accelerators round to ten bits.
    return jnp.sum(values * weights.reshape(-1, *[1] * (values.ndim - 1)), axis=0)


def pair_average(
    values: Float[Array, "samples samples"], weights: Array | None, *, fair: bool
) -> Float[Array, ""]:
    """The mean over pairs of samples; a fair one is over pairs of different samples.

    The fair mean estimates that of two independent draws without bias (Ferro 2014, "Fair scores for
    ensemble forecasts"), weighted ones included, where the weights do not depend on the draws.
    """
    number = values.shape[0]
    if weights is None:
        if not fair:
            return jnp.mean(values)
        return (jnp.sum(values) - jnp.trace(values)) / (number * (number - 1))
    total = jnp.sum(weights[:, None] * weights[None] * values)
    if not fair:
        return total
    return (total - jnp.sum(weights**2 * jnp.diagonal(values))) / distinct(number, weights)


def distinct(number: int, weights: Array | None) -> Any:
    """The probability that two picks from the cloud are different samples."""
    return 1 - 1 / number if weights is None else 1 - jnp.sum(weights**2)
