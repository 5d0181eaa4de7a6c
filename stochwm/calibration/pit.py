"""The probability integral transform: uniform if, and only if, each marginal is right."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions.choice import nan_unless
from .ranks import as_draws, randomised_rank
from .score_inputs import Prediction, as_value, density_of

NUM_SAMPLES = 1000  # of a prediction without a cdf


def pit(
    prediction: Prediction, value: Any, *, key: PRNGKeyArray, num_samples: int = NUM_SAMPLES
) -> Float[Array, " dim"]:
    """The probability integral transform of each marginal at what happened, `[dim]`.

    The cdf at the value, and uniform between its limits from the left and from the right where the
    value is an atom (randomised PIT: Smith 1985; Czado, Gneiting & Held 2009, "Predictive model
    assessment for count data"). Of samples, or of a distribution without a cdf, it is the rank on
    the scale from 0 to 1 with ties broken at random. Both are uniform if the prediction is right.

    Args:
        prediction: a distribution, or samples `[samples, dim]`.
        value: what happened, `[dim]`.
        key: for atoms, ties and draws.
        num_samples: how many draws stand for a distribution without a cdf.

    Raises:
        ValueError: a value that is not one vector of the prediction's size, or no sample.
    """
    value = as_value(value)
    limits = _cdf_limits(prediction, value)
    key_draws, key_ties = jax.random.split(key)
    if limits is None:
        draws = as_draws(prediction, value, key=key_draws, num_samples=num_samples)
        return randomised_rank(draws, value, key=key_ties)
    left, right = limits
    level = left + jax.random.uniform(key_ties, value.shape) * (right - left)
    return nan_unless(~jnp.isnan(value), jnp.clip(level, 0.0, 1.0))


def _cdf_limits(prediction: Any, value: Array) -> tuple[Array, Array] | None:
    """None where the prediction has no cdf in closed form."""
    if density_of(prediction, value) is None:
        return None
    try:
        return prediction.cdf_limits(value)
    except NotImplementedError:
        return None
