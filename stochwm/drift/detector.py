"""What watches a running system: it says, step by step, whether the world has changed."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, PyTree

from ..distributions.checks import as_float


class Watched(NamedTuple):
    """What a detector said along a series of surprises."""

    statistic: Float[Array, " time"]
    flagged: Bool[Array, " time"]
    """Whether the statistic is above the threshold; the first true is the alarm."""


class AbstractDetector(eqx.Module):
    """A sequential test of "the world is still what it was", one surprise a step.

    Begin with `initial()` where an episode begins, and anew after an alarm. Nothing here has a
    batch axis; everything works inside `jit`, `vmap` and `scan`. A surprise that is NaN or plus
    infinity is evidence of a change.
    """

    threshold: eqx.AbstractVar[Float[Array, ""]]
    """The largest value of the statistic that is no alarm."""

    @abc.abstractmethod
    def initial(self) -> PyTree[Array]:
        """What the detector remembers before the first surprise."""

    @abc.abstractmethod
    def update(self, state: PyTree[Array], surprise: Float[Array, ""]) -> PyTree[Array]:
        """What it remembers after one more surprise."""

    @abc.abstractmethod
    def statistic(self, state: PyTree[Array]) -> Float[Array, ""]:
        """How much speaks for a change; what is compared to the threshold."""

    def step(self, state: PyTree[Array], surprise: Any) -> tuple[PyTree[Array], Bool[Array, ""]]:
        """Take one more surprise, in nats: an array under `eqx.filter_jit`, to compile once.

        Returns:
            what the detector now remembers, and whether it flags this step.

        Raises:
            TypeError: a surprise that is not a number, `ValueError` for more than one.
        """
        value = as_float("surprise", surprise).astype(self.threshold.dtype)
        if value.ndim:
            raise ValueError(f"surprise must be one number, but has shape {value.shape}: watch it.")
        state = self.update(state, value)
        return state, ~(self.statistic(state) <= self.threshold)  # NaN is an alarm

    def watch(self, surprise: Any) -> Watched:
        """Take a whole series from the beginning, `[time]`; `vmap` over many.

        Raises:
            TypeError: what is not numbers, `ValueError` for another shape.
        """
        values = as_float("surprise", surprise)
        if values.ndim != 1:
            raise ValueError(
                f"surprise must be [time], but has shape {values.shape}; vmap over it."
            )

        def step(state, value):
            state, flagged = self.step(state, value)
            return state, Watched(self.statistic(state), flagged)

        return jax.lax.scan(step, self.initial(), values)[1]
