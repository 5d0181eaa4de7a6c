"""Normalisation as a wrapper: the kernel inside sees and predicts numbers of unit scale."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import AbstractSampler
from ..distributions.checks import as_float, check_finite, check_positive
from .base import AbstractConstant, AbstractTransition, check_shape


class Standardiser(AbstractConstant):
    """`(value - mean) / scale` with fixed statistics."""

    mean: Float[Array, "*batch dim"]
    scale: Float[Array, "*batch dim"]

    def __init__(self, mean: Any, scale: Any):
        """Make a standardiser of vectors `[dim]`.

        Args:
            mean, scale: statistics of the training data, `[dim]`; scales are positive.

        Raises:
            ValueError: other shapes, or values known to be impossible.
        """
        self.mean = as_float("mean", mean)
        self.scale = as_float("scale", scale)
        if self.scale.shape != self.mean.shape:
            raise ValueError(
                f"scale must have the shape {self.mean.shape} of mean, but has {self.scale.shape}."
            )
        check_finite("mean", self.mean)
        check_positive("scale", self.scale)

    def __call__(self, value: Float[Array, " dim"]) -> Float[Array, " dim"]:
        if jnp.shape(value) != self.mean.shape:
            raise ValueError(
                f"value must have shape {self.mean.shape} like the statistics, but has shape "
                f"{jnp.shape(value)}; vmap over batch axes."
            )
        # The statistics hold no gradient: a loss may differentiate the whole model.
        mean, scale = jax.lax.stop_gradient((self.mean, self.scale))
        return (value - mean) / scale


class Standardised(AbstractTransition):
    """A kernel between standardised states that predicts the standardised change of state.

    The statistics are `AbstractConstant`, so training leaves them alone. Whatever location-scale
    family the kernel predicts, `affine` carries it back to the units of the environment.
    """

    kernel: AbstractTransition
    state: Standardiser
    action: Standardiser
    delta: Standardiser

    def __check_init__(self):
        if self.delta.mean.shape != self.state.mean.shape:
            raise ValueError(
                f"delta has statistics of shape {self.delta.mean.shape}, but state of shape "
                f"{self.state.mean.shape}; both are those of the state."
            )

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AbstractSampler:
        check_shape("state", state, self.state.mean.shape)
        check_shape("action", action, self.action.mean.shape)
        prediction: Any = self.kernel(self.state(state), self.action(action))
        mean, scale = jax.lax.stop_gradient((self.delta.mean, self.delta.scale))
        return prediction.affine(state + mean, scale)
