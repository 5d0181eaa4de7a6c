"""The multilayer perceptron of latent world models: normalised, and quiet at its output."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from .linear import Linear


class Perceptron(eqx.Module):
    """Layers of linear map, RMS norm and SiLU, then a linear output (arXiv 2301.04104, table 4).

    The scale of the first output can be set: 0 makes a head begin at exactly 0, which keeps a
    reward or a critic from making up values before it has seen any.
    """

    hidden: tuple[Linear, ...]
    norms: tuple[eqx.nn.RMSNorm, ...]
    output: Linear | None
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int | None,
        width: int,
        depth: int,
        *,
        output_scale: float = 1.0,
        activation: Callable[[Array], Array] = jax.nn.silu,
        key: PRNGKeyArray,
    ):
        """Make a network `[inputs] -> [outputs]`.

        Args:
            inputs: size of the input.
            outputs: size of the output; None: the last hidden layer is the output.
            width, depth: size and number of hidden layers.
            output_scale: factor of the initial weights of the output.
            activation: elementwise.
            key: for the initial weights.
        """
        keys = jax.random.split(key, depth + 1)
        sizes = [inputs, *[width] * depth]
        self.hidden = tuple(
            Linear(a, b, key=k) for a, b, k in zip(sizes, sizes[1:], keys[1:], strict=False)
        )
        self.norms = tuple(eqx.nn.RMSNorm(width, use_bias=False) for _ in range(depth))
        self.output = (
            None if outputs is None else Linear(sizes[-1], outputs, output_scale, key=keys[0])
        )
        self.activation = activation

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            x = self.activation(norm(linear(x)))
        return x if self.output is None else self.output(x)
