"""What the latent of a world model is: one-hot categories, or normals."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import AbstractDistribution, DiagNormal, OneHotCategoricals, unimix


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
