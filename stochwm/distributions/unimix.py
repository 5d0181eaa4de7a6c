"""Unimix: categoricals that never rule a class out."""

import jax.numpy as jnp
import numpy as np

from .categorical import OneHotCategoricals


def unimix(prediction: OneHotCategoricals, rate: float = 0.01) -> OneHotCategoricals:
    """Each group mixed with the uniform one: `(1 - rate) p + rate / C` for C classes.

    So no log probability falls below `log(rate / C)`: a KL divergence against the result is finite
    and its gradient does not blow up (Hafner et al. 2023, arXiv 2301.04104, with a rate of 1 %).

    Args:
        prediction: one-hot categoricals over `[dim]`.
        rate: weight of the uniform part, in [0, 1].

    Raises:
        ValueError: a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], but is {rate}.")
    if rate == 0:
        return prediction
    uniform = 1 / np.repeat(prediction.sizes, prediction.sizes)
    mixed = jnp.log((1 - rate) * prediction.mean() + rate * uniform)
    return OneHotCategoricals(mixed, prediction.sizes)
