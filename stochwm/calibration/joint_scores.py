"""Scores of the joint distribution, which see how dimensions depend on each other."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import energy_score as _energy_of_samples
from ..distributions.checks import as_float, check_finite, check_positive
from ..distributions.cloud import average, distinct, pair_average
from ..distributions.normal import LOG_2PI
from .marginals import as_normal_mixture, exact_crps
from .score_inputs import NUM_SAMPLES, Prediction, as_cloud, as_value, density_of


def energy_score(
    prediction: Prediction,
    value: Any,
    *,
    fair: bool = True,
    weights: Any = None,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, ""]:
    """Energy score of the joint distribution, in the value's units; lower is better.

    `E|X - y| - E|X - X'| / 2`, strictly proper (Gneiting & Raftery 2007, "Strictly proper scoring
    rules", equation 22); in one dimension it is the `crps`. Give dimensions of different units one
    scale first: the largest dominates. Exact without a key: one-dimensional families that `crps`
    knows, certain predictions and single categoricals. Others are drawn.

    Args:
        prediction: a distribution, or samples `[samples, dim]`.
        value: what happened, `[dim]`.
        fair: of samples: unbiased in their number (Ferro 2014), which takes 2 of them; else the
            score of the samples themselves.
        weights: of the samples, `[samples]`, summing to one. Default: equal.
        key: for draws of a distribution without a closed form.
        num_samples: how many draws; work and memory grow with its square.

    Raises:
        ValueError: bad shapes, too few samples, entries known to be not finite, weights known not
            to sum to one, or draws needed without a `key`.
    """
    value = as_value(value)
    density = density_of(prediction, value, weights)
    exact = exact_crps(density, value) if value.shape == (1,) else None
    if exact is not None:
        return exact[0]
    options: Any = {"fair": fair, "weights": weights, "key": key, "num_samples": num_samples}
    cloud = as_cloud("energy_score", prediction, value, **options)
    return _energy_of_samples(cloud.samples, value, fair=cloud.fair, weights=cloud.weights)


def variogram_score(
    prediction: Prediction,
    value: Any,
    *,
    p: float = 0.5,
    weights: Any = None,
    fair: bool = True,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, ""]:
    """Variogram score: are differences between dimensions as expected? Lower is better.

    `sum_ij w_ij (|y_i - y_j|^p - E|X_i - X_j|^p)^2` (Scheuerer & Hamill 2015, "Variogram-based
    proper scoring rules for probabilistic forecasts of multivariate quantities"), in units of the
    value to the power 2p. Proper, not strictly: it is blind to a common shift of all dimensions.
    Its gradient where dimensions coincide is zero, not infinite. Exact without a key: certain
    predictions and single categoricals. Others are drawn.

    Args:
        prediction: a distribution, or samples `[samples, dim]`.
        value: what happened, `[dim]`.
        p: power of the differences, positive; 0.5 sees dependence best.
        weights: of the *pairs of dimensions*, `[dim, dim]`, not negative. Default: ones.
        fair: of samples: unbiased in their number, which takes 2 of them: the variance of the mean
            difference is taken off.
        key: for draws of a distribution without a closed form.
        num_samples: how many draws.

    Raises:
        ValueError: bad shapes, a power or weights that are not positive, too few samples, entries
            known to be not finite, or draws needed without a `key`.
    """
    value = as_value(value)
    power = as_float("p", p)
    check_positive("p", power)
    pairs = _pair_weights(weights, value)
    density_of(prediction, value)  # refuses what is not one distribution over such values
    samples, probs, fair = as_cloud(
        "variogram_score", prediction, value, fair=fair, key=key, num_samples=num_samples
    )
    expected_each = _variogram(samples, power)
    expected = average(expected_each, probs)
    score = (_variogram(value, power) - expected) ** 2
    if fair:  # a support with probabilities is never fair: here the weights are equal
        number = samples.shape[0]
        scatter = jnp.mean((expected_each - expected) ** 2, axis=0)
        score = score - scatter / (number * distinct(number, None))
    return jnp.sum(pairs * score)


def kernel_score(
    prediction: Prediction,
    value: Any,
    *,
    bandwidth: Any = 1.0,
    fair: bool = True,
    weights: Any = None,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, ""]:
    """Kernel score with the Gaussian kernel, without units; lower is better.

    `E k(X, X') / 2 - E k(X, y) + 1 / 2` with `k(x, y) = exp(-sum_d ((x_d - y_d) / h_d)^2 / 2)`
    (Gneiting & Raftery 2007, "Strictly proper scoring rules", section 5.1): half the squared
    maximum mean discrepancy between the prediction and the value, strictly proper and bounded.
    Exact without a key: normals, their mixtures, ensembles of these, certain predictions and single
    categoricals. Others are drawn.

    Args:
        prediction: a distribution, or samples `[samples, dim]`.
        value: what happened, `[dim]`.
        bandwidth: the kernel's standard deviation h, positive, a scalar or `[dim]`, in units of the
            value: what is much nearer than it is not told apart, what is much farther is as far.
        fair, weights, key, num_samples: as for `energy_score`.

    Raises:
        ValueError: as `energy_score`, or a bandwidth that is not positive or of another shape.
    """
    value = as_value(value)
    bandwidth = as_float("bandwidth", bandwidth)
    if bandwidth.shape not in ((), value.shape):
        raise ValueError(
            f"bandwidth must be one number or [{value.shape[0]}], but has shape {bandwidth.shape}."
        )
    check_positive("bandwidth", bandwidth)
    bandwidth = jnp.broadcast_to(bandwidth, value.shape)
    mixture = as_normal_mixture(density_of(prediction, value, weights))
    if mixture is not None:
        return _kernel_of_normals(mixture, value, bandwidth)
    options: Any = {"fair": fair, "weights": weights, "key": key, "num_samples": num_samples}
    samples, weights, fair = as_cloud("kernel_score", prediction, value, **options)

    def kernel(difference):
        return jnp.exp(-0.5 * jnp.sum((difference / bandwidth) ** 2, axis=-1))

    apart = pair_average(kernel(samples[:, None] - samples[None]), weights, fair=fair)
    return 0.5 * apart - average(kernel(samples - value), weights) + 0.5


def _variogram(x: Float[Array, "*batch dim"], power: Array) -> Float[Array, "*batch dim dim"]:
    difference = jnp.abs(x[..., :, None] - x[..., None, :])
    same = difference == 0  # not `difference > 0`, which would pass NaN for no difference at all
    return jnp.where(same, 0.0, jnp.where(same, 1.0, difference) ** power)


def _pair_weights(weights: Any, value: Array) -> Array:
    expected = (value.shape[0],) * 2
    weights = jnp.ones(expected) if weights is None else as_float("weights", weights)
    if weights.shape != expected:
        raise ValueError(
            f"weights must be one number a pair of dimensions, {list(expected)}, but has shape "
            f"{weights.shape}."
        )
    check_finite("weights", weights)
    if not isinstance(weights, Tracer) and bool((weights < 0).any()):
        raise ValueError(f"weights must not be negative, but the smallest is {weights.min()}.")
    return weights


def _kernel_of_normals(mixture: Any, value: Array, bandwidth: Array) -> Float[Array, ""]:
    """The kernel is a normal density without its normaliser, so that its means are densities."""
    log_normaliser = jnp.sum(jnp.log(bandwidth)) + 0.5 * value.shape[0] * LOG_2PI
    each = eqx.filter_vmap

    def overlap(one, other):
        return jnp.exp(one.smoothed(bandwidth).log_overlap(other) + log_normaliser)

    parts, weights = mixture.components(), mixture.weights()
    pairs = each(lambda one: each(lambda other: overlap(one, other))(parts))(parts)
    near = jnp.exp(mixture.smoothed(bandwidth).log_prob(value) + log_normaliser)
    return 0.5 * jnp.sum(weights[:, None] * weights[None] * pairs) - near + 0.5
