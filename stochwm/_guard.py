"""What watches a rollout: it says, step by step, whether the future may still be trusted."""

import abc

import equinox as eqx
from jaxtyping import Array, Bool, PyTree

from .distributions import AbstractSampler


class AbstractGuard(eqx.Module):
    """Watches the predictions of one rollout. Nothing here has a batch axis.

    `imagine(..., guard=guard)` calls it inside the scan, and distrusts a future for good from the
    first step that the guard distrusts. See `stochwm.drift.DriftGuard`.
    """

    @abc.abstractmethod
    def initial(self) -> PyTree[Array]:
        """What the guard remembers before the first step."""

    @abc.abstractmethod
    def step(
        self, memory: PyTree[Array], prediction: AbstractSampler
    ) -> tuple[PyTree[Array], Bool[Array, ""]]:
        """What it remembers after a step, and whether it trusts the prediction of that step."""
