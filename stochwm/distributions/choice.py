"""Choosing one of several, as a structural equation: the Gumbel-max trick and its inverse."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

SEPARATION = 1e-5  # by which losers stay below, in nats: rounding must not make one of them win


def choose(
    log_weights: Float[Array, "*options"], gumbel: Float[Array, "*options"], axis: int = -1
) -> Int[Array, "*batch"]:
    """The index along `axis` that the Gumbel noise makes: `argmax(log_weights + gumbel)`."""
    return jnp.argmax(log_weights + gumbel, axis=axis)


def abduct_choice(
    log_weights: Float[Array, " options"], index: Int[Array, ""], *, key: PRNGKeyArray
) -> Float[Array, " options"]:
    """Gumbel noise given that `index` was chosen, for normalised `log_weights` `[options]`.

    The maximum is Gumbel distributed around the log normaliser, here 0, whichever index wins; the
    losers are Gumbels truncated at the maximum (Maddison et al. 2014, arXiv 1411.0030; Oberst &
    Sontag 2019, arXiv 1905.05824, appendix D).
    """
    key_max, key_rest, key_free = jax.random.split(key, 3)
    top = jax.random.gumbel(key_max, (), log_weights.dtype)
    possible = log_weights != -jnp.inf
    above = top - jnp.where(possible, log_weights, 0.0)
    exponential = jax.random.exponential(key_rest, log_weights.shape, log_weights.dtype)
    below = jnp.minimum(-jnp.log(jnp.exp(-above) + exponential), above - SEPARATION)
    winner = jnp.arange(log_weights.shape[-1]) == index
    gumbel = jnp.where(winner, above, below)
    # An impossible option never wins, so its noise is free.
    free = jax.random.gumbel(key_free, log_weights.shape, log_weights.dtype)
    return jnp.where(possible, gumbel, free)


def nan_unless(valid: Array, value: Array) -> Array:
    """`value`, or NaN where a choice had no valid weights: JAX alone would pick index 0."""
    return jnp.where(valid, value, jnp.nan)


@jax.custom_jvp
def with_gradient_of(value: Array, source: Array) -> Array:
    """`value` with the gradient of `source`: straight through what was rounded or drawn.

    Where nobody asks for a gradient, `source` is not computed.
    """
    del source
    return value


@with_gradient_of.defjvp
def _gradient_of_source(primals, tangents):
    return with_gradient_of(*primals), tangents[1]
