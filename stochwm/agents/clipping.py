"""Gradients that are held to a share of what they change."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def clip_by_input_norm(share: float = 0.3, smallest: float = 1e-3) -> optax.GradientTransformation:
    """The gradient of what an input weighs is at most `share` times as long as these weights.

    Adaptive clipping: DreamerV3 (arXiv 2301.04104) takes the norm of a whole matrix, Brock et al.
    2021 (arXiv 2102.06171) that of each output and leave out the last layer. Here it is that of
    each input, a column of `[outputs, inputs]`, in blocks and stacked heads too: what is clipped
    keeps its direction among the outputs. Clipped output by output, gradients of the logits of a
    softmax no longer sum to zero. `benchmarks/README.md` has runs of all three.

    Args:
        share: of the norm of an input's weights, which the norm of their gradient may have.
        smallest: the norm that weights count with at least, so that zeros can begin.
    """

    def update(updates: Any, params: Any) -> Any:
        if params is None:
            raise ValueError(
                "params must be given to the update: gradients are held to their size."
            )
        return jax.tree.map(clipped, updates, params)

    def clipped(update: Float[Array, "*shape"], param: Float[Array, "*shape"]) -> Array:
        longest = share * jnp.maximum(_norm(param), smallest)
        return update * (longest / jnp.maximum(_norm(update), longest))

    return optax.stateless(update)


def _norm(weights: Float[Array, "*shape"]) -> Float[Array, "*norms"]:
    """Of each column; of a vector, such as a bias, the whole."""
    return jnp.sqrt(jnp.sum(weights**2, axis=-min(weights.ndim, 2), keepdims=True))
