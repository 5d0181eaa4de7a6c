"""Expectations over a discrete posterior that are drawn, with two gradients to choose from."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import OneHotCategoricals

Expectation = Callable[..., Float[Array, ""]]
"""`expectation(posterior, function, *, key, num_samples)`: the mean of `function(code)` over draws,
with a gradient for the posterior and for what the function closes over."""

OfCode = Callable[[Float[Array, " codes"]], Float[Array, ""]]


def straight_through(
    posterior: OneHotCategoricals, function: OfCode, *, key: PRNGKeyArray, num_samples: int
) -> Float[Array, ""]:
    """The posterior's gradient is that of its probabilities in the place of the code.

    Of low variance, and biased unless the function is linear in the code (Bengio et al. 2013,
    arXiv 1308.3432): right for the smooth decoders of Dreamer, poor for narrow densities.

    Raises:
        ValueError: `num_samples` is below 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but is {num_samples}.")
    codes = _draws(posterior, key, num_samples)
    return jnp.mean(jax.vmap(function)(codes))


def leave_one_out(
    posterior: OneHotCategoricals, function: OfCode, *, key: PRNGKeyArray, num_samples: int
) -> Float[Array, ""]:
    """The posterior's gradient is the score function's, where draws are baselines of each other.

    Unbiased for any function (Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for
    free!"): draw k adds `(f(z_k) - mean of the other f) / K` times the gradient of log q(z_k).

    Raises:
        ValueError: `num_samples` is below 2.
    """
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2 to leave one out, but is {num_samples}.")
    codes = jax.lax.stop_gradient(_draws(posterior, key, num_samples))
    values = jax.vmap(function)(codes)
    # f_k - (sum - f_k) / (K - 1) = (f_k - mean) K / (K - 1)
    centred = jax.lax.stop_gradient(values - jnp.mean(values)) / (num_samples - 1)
    score = jnp.sum(centred * jax.vmap(posterior.log_prob)(codes))
    return jnp.mean(values) + (score - jax.lax.stop_gradient(score))


def _draws(posterior: OneHotCategoricals, key: PRNGKeyArray, num_samples: int) -> Array:
    keys = jax.random.split(key, num_samples)
    return jax.vmap(lambda seed: posterior.sample(seed=seed))(keys)
