"""How a latent world model takes in an observation, and predicts one."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import (
    AbstractDistribution,
    DiagNormal,
    Joint,
    OneHotCategoricals,
    SymlogNormal,
    symlog,
)
from ..transitions import AbstractConstant
from .perceptron import Perceptron

UNIT_SQUARES = 0.5**0.5
"""The scale at which a normal's negative log density is the squared error and a constant."""


class SymlogEncoder(eqx.Module):
    """Numbers of any size, and one-hot categories, through `symlog` into a perceptron."""

    network: Perceptron

    def __call__(self, observation: Float[Array, " observation"]) -> Float[Array, " embedding"]:
        return self.network(symlog(observation))


class PatchEncoder(eqx.Module):
    """A flat image, in patches that share a network, whose outputs a second one joins.

    Patches and matrix products instead of strided convolutions: on a CPU the gradient of a
    convolution inside a compiled loop takes some fifty times as long.
    """

    patches: Perceptron
    whole: Perceptron
    shape: tuple[int, int, int] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    white: float = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: int,
        features: int,
        width: int,
        *,
        white: float = 255.0,
        key: PRNGKeyArray,
    ):
        """Make an encoder of images `[height, width, channels]`, flat.

        Args:
            shape: of an image; height and width are multiples of `patch`.
            patch: side of a patch, in pixels.
            features: that the first network says about each patch.
            width: size of the hidden layers, and of the embedding.
            white: the largest value of a pixel; the smallest is 0.
            key: for the initial weights.

        Raises:
            ValueError: a side that is not a multiple of `patch`.
        """
        height, columns, channels = shape
        if patch < 1 or height % patch or columns % patch:
            raise ValueError(f"patch must divide the sides of {shape}, but is {patch}.")
        number = (height // patch) * (columns // patch)
        keys = jax.random.split(key)
        self.patches = Perceptron(patch * patch * channels, features, width, 1, key=keys[0])
        self.whole = Perceptron(number * features, None, width, 1, key=keys[1])
        self.shape, self.patch, self.white = shape, patch, white

    def __call__(self, observation: Float[Array, " pixels"]) -> Float[Array, " embedding"]:
        pixels = observation / self.white - 0.5
        return self.whole(
            jax.vmap(self.patches)(to_patches(pixels, self.shape, self.patch)).ravel()
        )


class FixedScale(AbstractConstant):
    """Standard deviations that no optimiser moves."""

    value: Float[Array, " observation"]


class AbstractDecoder(eqx.Module):
    """p(observation | features of the latent state)."""

    @abc.abstractmethod
    def __call__(self, features: Float[Array, " features"]) -> AbstractDistribution:
        """The distribution of the observation."""


class SymlogDecoder(AbstractDecoder):
    """Numbers of any size: normal after `symlog`.

    With a scale of `UNIT_SQUARES` the loss is the squared error in symlog space, as in DreamerV3.
    That says how errors are weighted, and nothing about how large they are.
    """

    network: Callable[[Array], Array]
    scale: FixedScale

    def __call__(self, features: Float[Array, " features"]) -> SymlogNormal:
        return SymlogNormal(self.network(features), self.scale.value)


class OneHotDecoder(AbstractDecoder):
    """Categories: independent one-hot groups."""

    network: Callable[[Array], Array]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, features: Float[Array, " features"]) -> OneHotCategoricals:
        return OneHotCategoricals(self.network(features), self.sizes)


class JointDecoder(AbstractDecoder):
    """Numbers and categories side by side, as in a Gymnasium `Dict` space: a decoder for each."""

    parts: tuple[AbstractDecoder, ...]

    def __call__(self, features: Float[Array, " features"]) -> Joint:
        return Joint([part(features) for part in self.parts])


class PatchDecoder(AbstractDecoder):
    """A flat image whose patches one network draws, each from its own part of a wide layer."""

    whole: Perceptron
    patches: Perceptron
    scale: FixedScale
    shape: tuple[int, int, int] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    white: float = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        shape: tuple[int, int, int],
        patch: int,
        patch_features: int,
        width: int,
        *,
        white: float = 255.0,
        key: PRNGKeyArray,
    ):
        """Make a decoder to images `[height, width, channels]`, flat; see `PatchEncoder`."""
        height, columns, channels = shape
        number = (height // patch) * (columns // patch)
        keys = jax.random.split(key)
        self.whole = Perceptron(features, number * patch_features, width, 1, key=keys[0])
        self.patches = Perceptron(patch_features, patch * patch * channels, width, 1, key=keys[1])
        # The loss is the squared error of pixels in [0, 1], summed, up to a constant.
        pixels = height * columns * channels
        self.scale = FixedScale(jnp.full(pixels, white * UNIT_SQUARES))
        self.shape, self.patch, self.white = shape, patch, white

    def __call__(self, features: Float[Array, " features"]) -> DiagNormal:
        height, columns, _ = self.shape
        number = (height // self.patch) * (columns // self.patch)
        rows = jax.vmap(self.patches)(self.whole(features).reshape(number, -1))
        pixels = self.white * jax.nn.sigmoid(from_patches(rows, self.shape, self.patch))
        return DiagNormal(pixels, self.scale.value)


def to_patches(
    image: Float[Array, " pixels"], shape: tuple[int, int, int], patch: int
) -> Float[Array, "patches patch_pixels"]:
    """A flat image as rows of square patches."""
    height, columns, channels = shape
    grid = image.reshape(height // patch, patch, columns // patch, patch, channels)
    return grid.transpose(0, 2, 1, 3, 4).reshape(-1, patch * patch * channels)


def from_patches(
    rows: Float[Array, "patches patch_pixels"], shape: tuple[int, int, int], patch: int
) -> Float[Array, " pixels"]:
    """The inverse of `to_patches`."""
    height, columns, channels = shape
    grid = rows.reshape(height // patch, columns // patch, patch, patch, channels)
    return grid.transpose(0, 2, 1, 3, 4).reshape(-1)
