"""Scores of one prediction against what happened; vmap over predictions."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..distributions import energy_score as energy_score


def crps(samples: Float[Array, "samples dim"], value: Float[Array, " dim"]) -> Float[Array, " dim"]:
    """Fair continuous ranked probability score of each dimension, in its units, `[dim]`.

    `E|X - y| - E|X - X'| / 2` per marginal (Gneiting & Raftery 2007, equation 21; fair form: Ferro
    2014), by sorting, in O(samples log samples).

    Args:
        samples: draws of the prediction, `[samples, dim]`, at least 2.
        value: what happened, `[dim]`.

    Raises:
        ValueError: fewer than 2 samples, or dimensions that differ.
    """
    number = samples.shape[0]
    if number < 2 or samples.shape[1:] != value.shape:
        raise ValueError(
            "samples must be [samples, dim] with at least 2 samples and the dimensions of value, "
            f"but samples has shape {samples.shape} and value {value.shape}."
        )
    ordered = jnp.sort(samples, axis=0)
    rank = (2 * jnp.arange(number) - number + 1)[:, None]
    apart = 2 * jnp.sum(rank * ordered, axis=0) / (number * (number - 1))
    return jnp.mean(jnp.abs(samples - value), axis=0) - apart / 2


def covered(
    samples: Float[Array, "samples dim"], value: Float[Array, " dim"], level: float = 0.9
) -> Bool[Array, " dim"]:
    """Whether `value` lies in the central interval of mass `level`, for each dimension, `[dim]`.

    The closed interval between the k-th smallest and the k-th largest sample. Another draw of the
    same law falls outside with probability 2 k / (samples + 1), so k is the whole number that makes
    this most nearly `1 - level`; over an atom the interval covers more.
    """
    number = samples.shape[0]
    k = max(1, round((1 - level) / 2 * (number + 1)))
    # By counting, not by sorting, and in whole numbers, which no rounding moves over the edge.
    not_above = jnp.sum(samples <= value, axis=0)
    below = jnp.sum(samples < value, axis=0)
    return (not_above >= k) & (below <= number - k)
