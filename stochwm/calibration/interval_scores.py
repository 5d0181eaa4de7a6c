"""Scores of quantiles and of the central intervals between them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions.checks import as_level
from .score_inputs import NUM_SAMPLES, Prediction, as_cloud, as_value, density_of


def interval_score(
    prediction: Prediction,
    value: Any,
    level: Any,
    *,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, " dim"]:
    """Score of each dimension's central interval, in its units, `[dim]`; lower is better.

    The width of the interval of mass `level` plus `2 / (1 - level)` times the distance by which the
    value misses it: proper for the two quantiles (Gneiting & Raftery 2007, "Strictly proper scoring
    rules", equation 43).

    Args:
        prediction: a distribution, or samples `[samples, dim]`, at least 2.
        value: what happened, `[dim]`.
        level: mass of the interval, such as 0.9, in (0, 1).
        key: for draws of a distribution without quantiles in closed form.
        num_samples: how many draws.

    Raises:
        ValueError: a level known to be outside (0, 1), bad shapes, entries known to be not finite,
            or draws needed without a `key`.
    """
    value, level = as_value(value), as_level(level)
    if level.ndim:
        raise ValueError(f"level must be one number, but has shape {level.shape}: vmap over it.")
    outside = 1 - level
    levels = jnp.stack([0.5 * outside, 1 - 0.5 * outside])
    low, high = _quantiles("interval_score", prediction, value, levels, key, num_samples)
    missed = jnp.maximum(low - value, 0.0) + jnp.maximum(value - high, 0.0)
    return high - low + 2 / outside * missed


def quantile_score(
    prediction: Prediction,
    value: Any,
    levels: Any,
    *,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, " dim"]:
    """Twice the pinball loss of quantiles, averaged over levels, `[dim]`; lower is better.

    `2 (1{y <= q} - a) (q - y)` for the quantile q of level a (Gneiting & Raftery 2007, "Strictly
    proper scoring rules", section 6). At the median and both ends of K central intervals this mean
    is the weighted interval score (Bracher et al. 2021, "Evaluating epidemic forecasts in an
    interval format"); at many evenly spaced levels it tends to the `crps`.

    Args:
        prediction: a distribution, or samples `[samples, dim]`, at least 2, whose quantiles are
            interpolated linearly.
        value: what happened, `[dim]`.
        levels: in (0, 1), one number or `[levels]`.
        key: for draws of a distribution without quantiles in closed form.
        num_samples: how many draws.

    Raises:
        ValueError: no level or one known to be outside (0, 1), bad shapes, entries known to be not
            finite, or draws needed without a `key`.
    """
    value, levels = as_value(value), jnp.atleast_1d(as_level(levels))
    if levels.ndim != 1 or levels.shape[0] == 0:
        raise ValueError(f"levels must be one number or [levels], but has shape {levels.shape}.")
    quantiles = _quantiles("quantile_score", prediction, value, levels, key, num_samples)
    above = quantiles - value
    below = levels[:, None]
    return jnp.mean(2 * jnp.maximum((1 - below) * above, -below * above), axis=0)


def _quantiles(
    score: str,
    prediction: Prediction,
    value: Array,
    levels: Array,
    key: PRNGKeyArray | None,
    num_samples: int,
) -> Float[Array, "levels dim"]:
    density = density_of(prediction, value)
    if density is not None:
        try:
            return jax.vmap(density.quantile)(levels) * jnp.ones_like(value)
        except NotImplementedError:
            pass
    cloud = as_cloud(score, prediction, value, fair=True, key=key, num_samples=num_samples)
    return jnp.quantile(cloud.samples, levels, axis=0)
