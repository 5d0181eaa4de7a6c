"""The baseline that knows where states are, but not where this one goes."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import Deterministic, UniformMixture
from ..transitions import AbstractTransition


class Climatology(AbstractTransition):
    """Predicts that the next state is like any state that was seen: their empirical distribution.

    Draws of training states, whatever the state and however far ahead: what a forecast must beat to
    be worth anything. Its probabilities are masses of points, so it has no log score.
    """

    states: Float[Array, "states dim"]

    def __init__(self, states: Any):
        """Make the baseline.

        Args:
            states: such as `train.observation`, `[states, dim]`, at least one.

        Raises:
            ValueError: another shape.
        """
        self.states = jnp.asarray(states)
        if self.states.ndim != 2 or len(self.states) == 0:
            raise ValueError(
                f"states must be [states, dim], at least one, but have shape {self.states.shape}."
            )

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> UniformMixture:
        return UniformMixture(Deterministic(self.states))
