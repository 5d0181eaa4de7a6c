"""Is the joint distribution right? Ranks of a vector in a cloud, by what a pre-rank looks at.

A pre-rank gives one number to each member of a pool and does not mind their order. Put what
happened among the samples, and the rank of its number is uniform if the prediction is right
(Gneiting et al. 2008, "Assessing probabilistic forecasts of multivariate quantities";
Thorarinsdottir, Scheuerer & Heinz 2016, "Assessing the calibration of high-dimensional ensemble
forecasts using rank histograms"). Each pre-rank sees other mistakes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions.cloud import check_cloud
from .pit import NUM_SAMPLES
from .ranks import as_draws, randomised_rank
from .score_inputs import Prediction, as_value


def rank_of(
    pre_rank: Callable[[Float[Array, "pool dim"]], Float[Array, " pool"]],
    cloud: Float[Array, "samples dim"],
    value: Float[Array, " dim"],
    *,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """The rank of what happened among samples, in (0, 1); ties are broken at random.

    Args:
        pre_rank: `average_rank`, `band_depth`, `kernel_density`, `joint_cdf`, or any function from
            a pool `[pool, dim]` to numbers `[pool]` that treats its rows alike, such as the density
            of a law: `jax.vmap(law.log_prob)`.
        cloud: samples of the prediction, `[samples, dim]`.
        value: what happened, `[dim]`.
        key: breaks ties.

    Raises:
        ValueError: no sample, or dimensions that differ.
    """
    check_cloud(cloud, value, fair=False)
    numbers = pre_rank(jnp.concatenate([value[None], cloud]))
    return randomised_rank(numbers[1:], numbers[0], key=key)


def average_rank(pool: Float[Array, "pool dim"]) -> Float[Array, " pool"]:
    """How high a member is: its rank, averaged over dimensions.

    The rank of the value is low or high too often (a U) where the sum of the dimensions spreads
    more than predicted, as it does where positive dependence was missed.
    """
    not_above = jnp.sum(pool[None] <= pool[:, None], axis=1)
    return jnp.mean(not_above.astype(pool.dtype), axis=-1)


def band_depth(pool: Float[Array, "pool dim"]) -> Float[Array, " pool"]:
    """How central a member is: the share of pairs whose band contains it, averaged over dimensions.

    Low ranks of the value too often: the prediction is too narrow, or its dimensions depend on each
    other too little.
    """
    number = pool.shape[0]
    pairs = lambda n: n * (n - 1) / 2  # noqa: E731
    below = jnp.sum(pool[None] < pool[:, None], axis=1).astype(pool.dtype)
    above = jnp.sum(pool[None] > pool[:, None], axis=1).astype(pool.dtype)
    # A pair misses a member only if both of it are on the same side.
    return jnp.mean(pairs(number) - pairs(below) - pairs(above), axis=-1)


def kernel_density(pool: Float[Array, "pool dim"]) -> Float[Array, " pool"]:
    """How dense the pool is around a member: the log of a kernel estimate, without its constant.

    The pre-rank of highest-density regions: low ranks of the value mean that it came where samples
    are few. Normal kernels with Scott's bandwidth in each dimension (Scott 1992, "Multivariate
    density estimation", equation 6.42).
    """
    number, dim = pool.shape
    bandwidth = jnp.std(pool, axis=0) * number ** (-1 / (dim + 4))
    scaled = pool / jnp.where(bandwidth > 0, bandwidth, 1.0)
    apart = jnp.sum((scaled[:, None] - scaled[None]) ** 2, axis=-1)
    return logsumexp(-0.5 * apart, axis=-1)


def joint_cdf(pool: Float[Array, "pool dim"]) -> Float[Array, " pool"]:
    """How much of the pool lies below a member in every dimension: the empirical joint cdf."""
    below = jnp.all(pool[None] <= pool[:, None], axis=-1)
    return jnp.mean(below.astype(pool.dtype), axis=1)


def copula_pit(
    prediction: Prediction, value: Any, *, key: PRNGKeyArray, num_samples: int = NUM_SAMPLES
) -> Float[Array, ""]:
    """`P(F(X) <= F(y))` for the joint cdf F of the prediction X, in (0, 1).

    The PIT under the Kendall distribution, which sees a wrong copula where all marginals are right
    (Ziegel & Gneiting 2014, "Copula calibration", definition 2.3). F is the empirical cdf of the
    samples and the value, so that it is uniform for any number of samples if the prediction is
    right: the rank of `joint_cdf`.

    Args:
        prediction: a distribution, or samples `[samples, dim]`.
        value: what happened, `[dim]`.
        key: for draws and ties.
        num_samples: how many draws stand for a distribution; the cost grows with their square.

    Raises:
        ValueError: no sample, or dimensions that differ.
    """
    value = as_value(value)
    key_draws, key_ties = jax.random.split(key)
    cloud = as_draws(prediction, value, key=key_draws, num_samples=num_samples)
    return rank_of(joint_cdf, cloud, value, key=key_ties)
