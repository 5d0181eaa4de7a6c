"""What the latent of a world model is: one-hot categories, apart or in a chain, or normals."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import (
    AbstractDistribution,
    ChainedCategoricals,
    DiagNormal,
    OneHotCategoricals,
    unimix,
)
from .linear import initial_weights
from .perceptron import Perceptron


class AbstractLatent(eqx.Module):
    """Turns the raw outputs of a network into the distribution of a latent."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Entries of a latent."""

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """Raw numbers that the network has to give."""

    @abc.abstractmethod
    def __call__(self, raw: Float[Array, " outputs"]) -> AbstractDistribution:
        """The distribution of the latent."""

    def prior_head(self, inputs: int, width: int, depth: int, *, key: PRNGKeyArray) -> eqx.Module:
        """The network that predicts the latent, for `prior`."""
        return Perceptron(inputs, self.outputs, width, depth, key=key)

    def prior(self, head: Any, deter: Float[Array, " deter"]) -> AbstractDistribution:
        """What a head predicts."""
        return self(head(deter))


class CategoricalLatent(AbstractLatent):
    """Groups of one-hot categories, of DreamerV2 and V3, with straight-through gradients.

    A part `mix` of each probability is uniform, so that no class becomes impossible and the
    divergence between prior and posterior stays finite (arXiv 2301.04104, "World model learning").
    """

    groups: int = eqx.field(static=True)
    classes: int = eqx.field(static=True)
    mix: float = eqx.field(static=True, default=0.01)

    @property
    def size(self) -> int:
        return self.groups * self.classes

    @property
    def outputs(self) -> int:
        return self.size

    def __call__(self, raw: Float[Array, " outputs"]) -> OneHotCategoricals:
        return unimix(OneHotCategoricals(raw, (self.classes,) * self.groups), self.mix)


class ChainedLatent(AbstractLatent):
    """Categories that the prior draws one after the other, each in the light of those before.

    What is seen may be told by several groups at once. A prior that draws each group by itself then
    dreams of combinations that do not exist; this one does not, see `ChainedCategoricals`. The
    posterior stays independent, for it has seen what happened. For the same idea with tokens see
    IRIS (Micheli et al. 2023, arXiv 2209.00588).
    """

    factors: CategoricalLatent

    @property
    def size(self) -> int:
        return self.factors.size

    @property
    def outputs(self) -> int:
        return self.factors.outputs

    def __call__(self, raw: Float[Array, " outputs"]) -> OneHotCategoricals:
        return self.factors(raw)

    def prior_head(self, inputs: int, width: int, depth: int, *, key: PRNGKeyArray) -> "ChainHead":
        return ChainHead(inputs, self.factors, width, depth, key=key)

    def prior(self, head: "ChainHead", deter: Float[Array, " deter"]) -> ChainedCategoricals:
        return head(deter)


class ChainHead(eqx.Module):
    """From a recurrent state to the chain: as deep as the perceptron in its place."""

    context: Perceptron
    seen: Float[Array, "others classes width"]
    weight: Float[Array, "groups classes width"]
    bias: Float[Array, "groups classes"]
    mix: float = eqx.field(static=True)

    def __init__(
        self, inputs: int, latent: CategoricalLatent, width: int, depth: int, *, key: PRNGKeyArray
    ):
        """Make a head of `depth` hidden layers, at least 1; the last one sees what was drawn."""
        if depth < 1:
            raise ValueError(f"A chain needs a hidden layer, but depth is {depth}.")
        keys = jax.random.split(key, 3)
        shape = (latent.groups, latent.classes, width)
        self.context = Perceptron(inputs, width, width, depth - 1, key=keys[0])
        # One class of each group is on: together they then weigh as much as the context.
        self.seen = math.sqrt(width / latent.groups) * initial_weights(shape, keys[1])[1:]
        self.weight = initial_weights(shape, keys[2])
        self.bias = jnp.zeros(shape[:2])
        self.mix = latent.mix

    def __call__(self, deter: Float[Array, " deter"]) -> ChainedCategoricals:
        return ChainedCategoricals(
            self.context(deter), self.seen, self.weight, self.bias, mix=self.mix
        )


class NormalLatent(AbstractLatent):
    """Independent normals, of PlaNet and DreamerV1 (arXiv 1811.04551, 1912.01603)."""

    dim: int = eqx.field(static=True)
    min_scale: float = eqx.field(static=True, default=0.1)

    @property
    def size(self) -> int:
        return self.dim

    @property
    def outputs(self) -> int:
        return 2 * self.dim

    def __call__(self, raw: Float[Array, " outputs"]) -> DiagNormal:
        loc, raw_scale = jnp.split(raw, 2)
        return DiagNormal(loc, jax.nn.softplus(raw_scale) + self.min_scale)
