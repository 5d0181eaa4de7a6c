"""The continuous ranked probability score of each dimension, whole or between thresholds."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions.checks import as_float, check_order
from ..distributions.cloud import average, distinct
from .marginals import exact_crps, exact_threshold_crps
from .score_inputs import NUM_SAMPLES, Cloud, Prediction, as_cloud, as_value, density_of


def crps(
    prediction: Prediction,
    value: Any,
    *,
    fair: bool = True,
    weights: Any = None,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, " dim"]:
    """Continuous ranked probability score of each dimension, `[dim]`; lower is better.

    `int (F(x) - 1{x >= y})^2 dx = E|X - y| - E|X - X'| / 2` of each marginal, in its units
    (Gneiting & Raftery 2007, "Strictly proper scoring rules", equation 21). It does not see how
    dimensions depend on each other: use `energy_score` or `variogram_score` for that.

    Exact without a key: normals and their mixtures (Grimit et al. 2006), boxes and their mixtures,
    atoms included (blurred ones, and normals that are clipped, to 1e-7 by quadrature), one-hot
    categoricals (`(p - y)^2` for each entry), certain predictions, joints of these,
    ensembles of these. Others are drawn.

    Args:
        prediction: a distribution, or samples `[samples, dim]`.
        value: what happened, `[dim]`.
        fair: of samples: unbiased in their number (Ferro 2014), which takes 2 of them; else the
            score of the samples themselves.
        weights: of the samples, `[samples]`, summing to one. Default: equal.
        key: for draws of a distribution without a closed form.
        num_samples: how many draws.

    Raises:
        ValueError: bad shapes, too few samples, entries known to be not finite, weights known not
            to sum to one, or draws needed without a `key`.
    """
    value = as_value(value)
    exact = exact_crps(density_of(prediction, value, weights), value)
    if exact is not None:
        return exact
    options: Any = {"fair": fair, "weights": weights, "key": key, "num_samples": num_samples}
    return _of_cloud(as_cloud("crps", prediction, value, **options), value)


def threshold_weighted_crps(
    prediction: Prediction,
    value: Any,
    *,
    lower: Any = -np.inf,
    upper: Any = np.inf,
    fair: bool = True,
    weights: Any = None,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, " dim"]:
    """The part of the `crps` between two thresholds, for each dimension, `[dim]`; lower is better.

    `int (F(x) - 1{x >= y})^2 dx` from `lower` to `upper`, which is the CRPS after clipping (the
    chaining function of Allen, Ginsbourger & Ziegel 2023, "Evaluating forecasts for high-impact
    events using transformed kernel scores"). With `lower` at a high threshold it scores the upper
    tail, and stays proper, which scoring only the extreme outcomes would not. Exact for the same
    families as `crps` (normals to 1e-7).

    Args:
        prediction: a distribution, or samples `[samples, dim]`.
        value: what happened, `[dim]`.
        lower, upper: thresholds in units of the value, a scalar or `[dim]`, `lower < upper`.
        fair, weights, key, num_samples: as for `crps`.

    Raises:
        ValueError: as `crps`, or thresholds known not to be in order.
    """
    value = as_value(value)
    lower, upper = (_threshold(name, x, value) for name, x in (("lower", lower), ("upper", upper)))
    check_order("lower", lower, "upper", upper)
    exact = exact_threshold_crps(density_of(prediction, value, weights), value, lower, upper)
    if exact is not None:
        return exact
    options: Any = {"fair": fair, "weights": weights, "key": key, "num_samples": num_samples}
    cloud = as_cloud("threshold_weighted_crps", prediction, value, **options)
    clipped = cloud._replace(samples=jnp.clip(cloud.samples, lower, upper))
    return _of_cloud(clipped, jnp.clip(value, lower, upper))


def _of_cloud(cloud: Cloud, value: Array) -> Float[Array, " dim"]:
    samples, weights, fair = cloud
    number = samples.shape[0]
    if weights is None:
        ordered = jnp.sort(samples, axis=0)
        below = (jnp.arange(1, number) / number)[:, None]
    else:
        order = jnp.argsort(samples, axis=0)
        ordered = jnp.take_along_axis(samples, order, axis=0)
        below = jnp.cumsum(weights[order], axis=0)[:-1]
    # E|X - X'| / 2 = int F (1 - F): a sum over gaps, in which nothing cancels far from zero.
    spread = jnp.sum(jnp.diff(ordered, axis=0) * below * (1 - below), axis=0)
    near = average(jnp.abs(samples - value), weights)
    return near - (spread / distinct(number, weights) if fair else spread)


def _threshold(name: str, threshold: Any, value: Array) -> Array:
    threshold = as_float(name, threshold)
    if threshold.shape not in ((), value.shape):
        raise ValueError(
            f"{name} must be one number or [{value.shape[0]}], but has shape {threshold.shape}."
        )
    return jnp.broadcast_to(threshold, value.shape)
