"""Gradients that are held to a share of what they change."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def clip_by_unit_norm(share: float = 0.3, smallest: float = 1e-3) -> optax.GradientTransformation:
    """The gradient of a unit's weights is at most `share` times as long as the weights themselves.

    Adaptive clipping of Brock et al. 2021 (arXiv 2102.06171). A unit is a row: our linear maps have
    their inputs last, `[outputs, inputs]`, in blocks and stacked heads too, so that none of these
    decides how far another may go. (`optax.adaptive_grad_clip` counts on inputs that come first.
    DreamerV3's code takes the norm of whole tensors; `benchmarks/README.md` has runs of both.)

    Args:
        share: of the norm of a unit's weights, which the norm of their gradient may have.
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


def _norm(weights: Float[Array, "*shape"]) -> Float[Array, "*units 1"]:
    """Of each row; of a vector, such as a bias, the whole."""
    return jnp.sqrt(jnp.sum(weights**2, axis=-1, keepdims=True))
