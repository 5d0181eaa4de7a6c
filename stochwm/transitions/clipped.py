"""Bounds that the next state cannot leave: what would have passed them is at them."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ..distributions import Censored
from ..distributions.checks import as_float, check_order
from .base import AbstractConstant, AbstractTransition


class Bounds(AbstractConstant):
    """Where the next state ends, `[state]` or scalars, in its units."""

    low: Float[Array, "..."]
    high: Float[Array, "..."]

    def __init__(self, low: Any = -np.inf, high: Any = np.inf):
        """Make bounds; infinite ones are none.

        Raises:
            ValueError: bounds that are not in order.
        """
        self.low, self.high = as_float("low", low), as_float("high", high)
        check_order("low", self.low, "high", self.high)


class Clipped(AbstractTransition):
    """A kernel of normals, or of mixtures of them, whose draws are clipped.

    The mass beyond a bound becomes an atom at it, which training sees: the likelihood of a value
    at a bound is that mass (a Tobit model: Tobin 1958). Where the next state is at a wall for
    another reason than that it was on its way beyond it, `Pinned` boxes say so. In an
    `Ensemble`, clip each member.
    """

    kernel: AbstractTransition
    bounds: Bounds

    def __call__(self, state: Float[Array, " state"], action: Float[Array, " action"]) -> Censored:
        """The prediction of the kernel, clipped.

        Raises:
            TypeError: the kernel predicts no `DiagNormal` or mixture of them.
            ValueError: bounds of another shape than its state.
        """
        return Censored(self.kernel(state, action), self.bounds.low, self.bounds.high)
