"""The recurrent cell of latent world models."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .linear import BlockLinear
from .perceptron import Perceptron

UPDATE_BIAS = -1.0  # a fresh cell keeps most of what it has (arXiv 2010.02193, appendix)


class BlockGRU(eqx.Module):
    """A gated recurrent unit whose recurrent weights are block-diagonal.

    `h' = u * tanh(r * c) + (1 - u) * h`, where the reset r, the candidate c and the update u come
    from the block's part of h and from all of the input: the block GRU of DreamerV3 (arXiv
    2301.04104, table 3 and its code), with one block the GRU of DreamerV2.
    """

    embed: tuple[Perceptron, ...]
    mix: BlockLinear
    norm: eqx.nn.RMSNorm
    gates: BlockLinear
    size: int = eqx.field(static=True)
    blocks: int = eqx.field(static=True)

    def __init__(
        self, size: int, inputs: tuple[int, ...], width: int, blocks: int = 1, *, key: PRNGKeyArray
    ):
        """Make a cell.

        Args:
            size: of the recurrent state, a multiple of `blocks`.
            inputs: sizes of the vectors that drive the cell, for instance latent and action.
            width: of the layer that takes in the state and each input.
            blocks: number of diagonal blocks.
            key: for the initial weights.

        Raises:
            ValueError: `size` is not a multiple of `blocks`.
        """
        if blocks < 1 or size % blocks:
            raise ValueError(f"size must be a multiple of blocks={blocks}, but is {size}.")
        self.size, self.blocks = size, blocks
        keys = jax.random.split(key, 3)
        sources = (size, *inputs)
        self.embed = tuple(
            Perceptron(source, None, width, 1, key=k)
            for source, k in zip(sources, jax.random.split(keys[0], len(sources)), strict=True)
        )
        block = size // blocks
        self.mix = BlockLinear(block + width * len(sources), block, blocks, key=keys[1])
        self.norm = eqx.nn.RMSNorm(size, use_bias=False)
        self.gates = BlockLinear(block, 3 * block, blocks, key=keys[2])

    def __call__(
        self, state: Float[Array, " size"], *inputs: Float[Array, " _"]
    ) -> Float[Array, " size"]:
        embedded = [embed(x) for embed, x in zip(self.embed, (state, *inputs), strict=True)]
        rows = jnp.split(state, self.blocks)
        mixed = jnp.concatenate(self.mix(rows, jnp.concatenate(embedded)))
        gates = self.gates(jnp.split(jax.nn.silu(self.norm(mixed)), self.blocks))
        return jnp.concatenate([_gated(row, gate) for row, gate in zip(rows, gates, strict=True)])


def _gated(state: Float[Array, " block"], gates: Float[Array, " 3*block"]) -> Array:
    """The next state of one block."""
    reset, candidate, update = jnp.split(gates, 3)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    update = jax.nn.sigmoid(update + UPDATE_BIAS)
    return update * candidate + (1 - update) * state
