"""Atoms: components that are held at the values that walls, resets and clipping make."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import BoxMixture
from ..distributions.checks import as_float
from .base import AbstractConstant, AbstractTransition


class Pins(AbstractConstant):
    """Where each component is held, `[components, dim]`, in units of the state; NaN: free."""

    values: Float[Array, "*batch components dim"]

    def __init__(self, values: Any):
        """Make pins; `stochwm.data.find_pins` finds them in data.

        Raises:
            ValueError: another shape.
        """
        self.values = as_float("values", values)
        if self.values.ndim != 2:
            raise ValueError(
                f"values must have shape [components, dim], but have {list(self.values.shape)}."
            )


class Pinned(AbstractTransition):
    """A kernel of boxes, some sides of which are points at known values.

    A wall, a reset or a clipped dimension takes one value exactly, again and again: a point mass,
    which no narrow spike beside it can replace. The kernel says how probable it is and what the
    free dimensions do meanwhile (a hurdle model: Cragg 1971, "Some statistical models for limited
    dependent variables").
    """

    kernel: AbstractTransition
    pins: Pins

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> BoxMixture:
        """The prediction of the kernel with its sides pinned.

        Raises:
            TypeError: the kernel predicts something else than a `BoxMixture`
            ValueError: its components are not those of the pins.
        """
        boxes = self.kernel(state, action)
        if not isinstance(boxes, BoxMixture):
            raise TypeError(
                f"kernel must predict a BoxMixture, but predicts a {type(boxes).__name__}; in an "
                "Ensemble, pin each member."
            )
        pins = self.pins.values
        if boxes.low.shape != pins.shape:
            raise ValueError(
                f"pins must have the shape {list(boxes.low.shape)} of the kernel's boxes "
                f"[components, dim], but have {list(pins.shape)}."
            )
        free = jnp.isnan(pins)
        low, high = (jnp.where(free, side, pins) for side in (boxes.low, boxes.high))
        return BoxMixture(boxes.logits, low, high, boxes.blur)
