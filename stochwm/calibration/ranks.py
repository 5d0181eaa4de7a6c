"""Where a value stands among draws, with ties broken at random."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ..distributions import AbstractSampler
from ..distributions.choice import nan_unless
from ..distributions.cloud import check_cloud


def randomised_rank(
    draws: Shaped[Array, "samples *shape"], value: Shaped[Array, "*shape"], *, key: PRNGKeyArray
) -> Float[Array, "*shape"]:
    """The rank of `value` among `draws` on the scale from 0 to 1, entry by entry.

    `(draws below + u (ties + 1)) / (samples + 1)` with u uniform: exactly uniform if the value and
    the draws are exchangeable, whatever their number and however many are equal. NaN if any is NaN.

    Args:
        draws: at least one, `[samples, ...]`.
        value: of the shape of one draw.
        key: breaks ties.
    """
    below, ties = jnp.sum(draws < value, axis=0), jnp.sum(draws == value, axis=0)
    uniform = jax.random.uniform(key, value.shape)
    valid = ~(jnp.isnan(value) | jnp.any(jnp.isnan(draws), axis=0))
    return nan_unless(valid, (below + uniform * (ties + 1)) / (draws.shape[0] + 1))


def as_draws(
    prediction: Any, value: Float[Array, " dim"], *, key: PRNGKeyArray, num_samples: int
) -> Float[Array, "samples dim"]:
    """The prediction as samples `[samples, dim]`: itself if it is an array, else draws of it.

    Raises:
        ValueError: no sample, or dimensions that differ from those of `value`.
    """
    if isinstance(prediction, AbstractSampler):
        keys = jax.random.split(key, num_samples)
        samples = jax.vmap(lambda seed: prediction.sample(seed=seed))(keys)
    else:
        samples = jnp.asarray(prediction)
    check_cloud(samples, value, fair=False)
    return samples
