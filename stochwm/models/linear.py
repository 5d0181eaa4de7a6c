"""Linear maps with the initial weights of DreamerV3, whole or in blocks."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Linear(eqx.Module):
    """`weight @ x + bias`; the initial weights are truncated normals of variance 1 / inputs."""

    weight: Float[Array, "outputs inputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, scale: float = 1.0, *, key: PRNGKeyArray):
        """Make a map `[inputs] -> [outputs]`; `scale` is a factor of the initial weights."""
        self.weight = scale * initial_weights((outputs, inputs), key)
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        # In this order, vmaps put their axes in front: no result has to be turned round.
        return x @ self.weight.T + self.bias


class BlockLinear(eqx.Module):
    """A linear map whose matrix is block-diagonal: block b of the output sees block b of the input.

    All blocks may see a shared input besides.

    Rows are a list and one dot a block is taken: on a CPU an einsum over a block axis, or rows that
    are stacked and laid out flat again, take about twice as long.
    """

    weight: Float[Array, "blocks block_outputs block_inputs"]
    bias: Float[Array, "blocks block_outputs"]

    def __init__(self, inputs: int, outputs: int, blocks: int, *, key: PRNGKeyArray):
        """Make a map of rows; sizes are of one block."""
        self.weight = initial_weights((blocks, outputs, inputs), key)
        self.bias = jnp.zeros((blocks, outputs))

    def __call__(
        self, rows: Sequence[Float[Array, " own"]], shared: Float[Array, " shared"] | None = None
    ) -> list[Float[Array, " outputs"]]:
        """What each block makes of its row, and of what they all share: the rest of its inputs."""
        own = rows[0].shape[-1]
        parts = zip(self.weight[..., :own], self.bias, rows, strict=True)
        results = [row @ weight.T + bias for weight, bias, row in parts]
        if shared is None:
            return results
        # One product for all blocks, instead of a copy of what is shared beside each row.
        common = shared @ self.weight[..., own:].reshape(-1, shared.shape[-1]).T
        return [a + b for a, b in zip(results, jnp.split(common, len(rows)), strict=True)]


def initial_weights(shape: tuple[int, ...], key: PRNGKeyArray) -> Array:
    """Truncated normals of variance 1 / inputs, the last axis being the inputs."""
    initialise = jax.nn.initializers.variance_scaling(
        1.0,
        "fan_in",
        "truncated_normal",
        in_axis=-1,
        out_axis=-2,
        batch_axis=tuple(range(len(shape) - 2)),
    )
    return initialise(key, shape)
