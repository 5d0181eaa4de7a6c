"""Highest-density regions: the smallest sets that hold a given probability."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .pit import NUM_SAMPLES
from .ranks import as_draws, randomised_rank
from .score_inputs import Prediction, as_value, density_of

ROUNDING = 8.0  # in units in the last place: densities this close are equal


def hpd_level(
    prediction: Prediction, value: Any, *, key: PRNGKeyArray, num_samples: int = NUM_SAMPLES
) -> Float[Array, ""]:
    """Mass of the smallest region of highest density that reaches the value, in (0, 1).

    `P(p(X) >= p(y))` for the density p of the prediction X (Hyndman 1996, "Computing and graphing
    highest density regions"): the value lies in the region of mass a if the level is at most a, so
    `reliability` of levels is the coverage of regions. Measured as a rank among draws with ties
    broken at random, it is uniform for any number of draws if the prediction is right; also for
    atoms and plateaus, since only the order of densities counts.

    Args:
        prediction: a distribution with `log_prob`.
        value: what happened, `[dim]`.
        key: for draws and ties.
        num_samples: draws; the level is exact to about `0.5 / sqrt(num_samples)`.

    Raises:
        TypeError: a prediction without a density.
        ValueError: a value that is not one vector of the prediction's size.
    """
    value = as_value(value)
    law = density_of(prediction, value)
    if law is None:
        raise TypeError(
            f"prediction must have a log_prob, but is a {type(prediction).__name__}; for samples, "
            "1 - rank_of(kernel_density, samples, value, key=key) estimates the level."
        )
    key_draws, key_ties = jax.random.split(key)
    draws = as_draws(law, value, key=key_draws, num_samples=num_samples)
    # One batch for all: compiled in another way, the same density may differ in its last digit.
    log_prob = jax.vmap(law.log_prob)(jnp.concatenate([value[None], draws]))
    return randomised_rank(-_equalised(log_prob[1:], log_prob[0]), -log_prob[0], key=key_ties)


def _equalised(numbers: Float[Array, " draws"], number: Float[Array, ""]) -> Array:
    """`numbers`, those equal to `number` up to rounding made equal to it."""
    size = jnp.maximum(jnp.where(jnp.isfinite(number), jnp.abs(number), 1.0), 1.0)
    slack = ROUNDING * jnp.finfo(numbers.dtype).eps * size
    return jnp.where(jnp.abs(numbers - number) <= slack, number, numbers)
