"""Predictions with finitely many outcomes: all of them, with their probabilities."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import OneHotCategoricals, UniformMixture

MAX_OUTCOMES = 4096  # joint outcomes of several categoricals that are worth listing


def exact_information(
    mixture: UniformMixture,
) -> tuple[Float[Array, ""], Float[Array, ""]] | None:
    """Mean entropy of the members and mutual information between member and outcome, in nats.

    None where the outcomes cannot be listed.
    """
    log_probs = _outcome_log_probs(mixture)
    if log_probs is None:
        return None
    probs = jnp.exp(log_probs)
    own = jnp.where(probs > 0, log_probs, 0.0)  # what cannot come adds nothing, not NaN
    mean = jnp.mean(probs, axis=0)
    log_mean = jnp.log(jnp.where(mean > 0, mean, 1.0))
    told = jnp.mean(jnp.sum(probs * (own - log_mean), axis=-1))
    return -jnp.mean(jnp.sum(probs * own, axis=-1)), jnp.maximum(told, 0.0)


def _outcome_log_probs(mixture: UniformMixture) -> Float[Array, "members outcomes"] | None:
    """Log probability that each member gives each combination of the groups' classes."""
    members = mixture.members
    if not isinstance(members, OneHotCategoricals) or math.prod(members.sizes) > MAX_OUTCOMES:
        return None
    flat, start = members.log_probs(), 0
    joint = jnp.zeros_like(flat[:, :1])
    for size in members.sizes:
        group = flat[:, start : start + size]
        joint = (joint[:, :, None] + group[:, None]).reshape(len(flat), -1)
        start += size
    return joint
