"""Measures made of measures: in other units, or on draws."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions.checks import as_float, check_positive
from .members import Measure, as_clouds, as_mixture, draw_clouds, is_clouds


class InUnits(eqx.Module):
    """A measure of the prediction in units of `scale`, so that dimensions can be added up."""

    measure: Measure
    scale: Float[Array, " dim"]

    def __init__(self, measure: Measure, scale: Any):
        """Wrap a measure.

        Args:
            measure: any `measure(prediction)`.
            scale: what counts as one in each dimension, `[dim]`, positive: for instance the
                standard deviations of the training data.

        Raises:
            ValueError: another shape, or a scale known to be not positive.
        """
        self.measure, self.scale = measure, as_float("scale", scale)
        if self.scale.ndim != 1:
            raise ValueError(
                f"scale must be one number a dimension, [dim], but has shape {self.scale.shape}."
            )
        check_positive("scale", self.scale)

    def __call__(self, prediction: Any) -> Float[Array, ""]:
        """The measure of the prediction divided by the scale.

        Raises:
            ValueError: a prediction of another size than the scale.
            NotImplementedError: members that have no `affine`, such as categoricals.
        """
        if is_clouds(prediction):
            clouds = as_clouds(prediction)
            self._check_size(clouds.shape[2:])
            return self.measure(clouds / self.scale)
        mixture = as_mixture(prediction)
        draw = eqx.filter_eval_shape(lambda m: m.sample(seed=jax.random.key(0)), mixture)
        self._check_size(getattr(draw, "shape", None))
        return self.measure(mixture.affine(jnp.zeros_like(self.scale), 1 / self.scale))

    def _check_size(self, size: tuple[int, ...] | None) -> None:
        """Refuse what broadcasting would make a prediction of another size of."""
        if self.scale.shape != size:
            raise ValueError(
                f"scale must be one number a dimension of the prediction, {size}, but has shape "
                f"{self.scale.shape}."
            )


class OnDraws(eqx.Module):
    """A measure of clouds that are drawn from an ensemble's prediction.

    The key is part of the measure: it is a fixed function, so that what it says of two situations
    differs by the situations only, and a threshold fitted to it stays valid.
    """

    measure: Measure
    key: PRNGKeyArray
    particles: int = eqx.field(static=True)

    def __init__(self, measure: Measure, *, key: PRNGKeyArray, particles: int = 64):
        """Wrap a measure.

        Args:
            measure: `measure(clouds)`, such as `energy_distance`.
            key: for the draws.
            particles: draws of each member, at least 2.

        Raises:
            ValueError: fewer than two particles.
        """
        if particles < 2:
            raise ValueError(f"particles must be at least 2, but is {particles}.")
        self.measure, self.key, self.particles = measure, key, particles

    def __call__(self, prediction: Any) -> Float[Array, ""]:
        """The measure of draws.

        Raises:
            TypeError: not an ensemble's prediction.
        """
        return self.measure(draw_clouds(prediction, key=self.key, particles=self.particles))
