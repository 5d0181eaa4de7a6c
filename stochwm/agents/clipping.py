"""Gradients that are held to a share of what they change."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def clip_by_matrix_norm(share: float = 0.3, smallest: float = 1e-3) -> optax.GradientTransformation:
    """The gradient of a matrix is at most `share` times as long as the matrix itself.

    Adaptive clipping as DreamerV3 has it (arXiv 2301.04104): the whole gradient of a layer is
    shortened and keeps its direction. Brock et al. 2021 (arXiv 2102.06171), who clip each unit by
    itself, leave out the last layer: the logits of a softmax, clipped one by one, no longer learn
    what is rare (`benchmarks/README.md`). Matrices that are stacked, such as blocks and heads, are
    clipped each by itself.

    Args:
        share: of the norm of the weights, which the norm of their gradient may have.
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


def _norm(weights: Float[Array, "*shape"]) -> Float[Array, "*matrices"]:
    """Of each matrix, in a stack too; of a vector, such as a bias, the whole."""
    axes = tuple(range(max(weights.ndim - 2, 0), weights.ndim))
    return jnp.sqrt(jnp.sum(weights**2, axis=axes, keepdims=True))
