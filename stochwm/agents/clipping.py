"""Gradients that are held to a share of what they change."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..models import RSSM


def clip_by_tensor_norm(share: float = 0.3, smallest: float = 1e-3) -> optax.GradientTransformation:
    """The gradient of a tensor is at most `share` times as long as the tensor itself.

    The adaptive clipping of DreamerV3's code: that of Brock et al. 2021 (arXiv 2102.06171) with the
    norm of a whole tensor in place of one for each unit, so that it does not matter which axis is
    the inputs. Prior heads that are stacked in an `RSSM` count as the tensors that they are: one
    head does not decide how far another may go.

    Args:
        share: of the norm of a tensor, which the norm of its gradient may have.
        smallest: the norm that a tensor counts with at least, so that one of zeros can begin.
    """

    def update(updates: Any, params: Any) -> Any:
        if params is None:
            raise ValueError(
                "params must be given to the update: gradients are held to their size."
            )
        return jax.tree.map(of_part, updates, params, is_leaf=lambda x: isinstance(x, RSSM))

    def of_part(update: Any, param: Any) -> Any:
        if not isinstance(update, RSSM):
            return clipped(update, param)
        found = jax.tree.map(clipped, update, param)
        if update.prior_heads == 1:
            return found
        each = jax.tree.map(jax.vmap(clipped), update.prior_head, param.prior_head)
        return eqx.tree_at(lambda model: model.prior_head, found, each)

    def clipped(update: Float[Array, "*shape"], param: Float[Array, "*shape"]) -> Array:
        longest = share * jnp.maximum(_norm(param), smallest)
        return update * (longest / jnp.maximum(_norm(update), longest))

    return optax.stateless(update)


def _norm(tensor: Float[Array, "*shape"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(tensor**2))
