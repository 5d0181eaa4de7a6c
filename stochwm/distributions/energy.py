"""The energy score: how far draws are from what happened, and from each other."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .cloud import as_weights, average, check_cloud, pair_average


def energy_score(
    samples: Float[Array, "samples dim"],
    value: Float[Array, " dim"],
    *,
    fair: bool = True,
    weights: Any = None,
) -> Float[Array, ""]:
    """Energy score of a sample cloud against the value that came, in its units; lower is better.

    `E|X - y| - E|X - X'| / 2`, a strictly proper score of the joint distribution (Gneiting &
    Raftery 2007, "Strictly proper scoring rules", equation 22). Its gradient at coincident points
    is zero, not NaN.

    Args:
        samples: draws of the prediction, `[samples, dim]`, at least 2 if fair.
        value: what happened, `[dim]`.
        fair: take the second mean over different samples, which makes the score unbiased in their
            number (Ferro 2014); else over all pairs, which is the score of the cloud itself.
        weights: of the samples, `[samples]`, summing to one. Default: equal.

    Raises:
        ValueError: too few samples, dimensions that differ, or values known to be not finite or
            weights known not to sum to one.
    """
    check_cloud(samples, value, fair=fair)
    weights = as_weights(weights, samples.shape[0], fair=fair)
    apart = pair_average(_length(samples[:, None] - samples[None]), weights, fair=fair)
    return average(_length(samples - value), weights) - 0.5 * apart


def _length(difference: Array) -> Array:
    squared = jnp.sum(difference**2, axis=-1)
    same = squared == 0  # not `squared > 0`, which would pass NaN for no distance at all
    return jnp.where(same, 0.0, jnp.sqrt(jnp.where(same, 1.0, squared)))
