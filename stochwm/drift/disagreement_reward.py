"""Disagreement as a reward: seek what the ensemble does not know, or keep away from it."""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..distributions import AbstractSampler
from ..distributions.checks import as_float, check_finite
from ..models import AbstractWorldModel
from .measured import measured
from .members import Measure


class DisagreementReward(AbstractWorldModel):
    """A world model whose reward is `reward + weight * measure(prediction)`.

    A weight above 0 is exploration by disagreement (Plan2Explore: Sekar et al. 2020, arXiv
    2005.05960): what the members disagree about can be learned, noise that they agree about cannot,
    so that `total_variance` is no measure for it. A weight below 0 is pessimism (MOPO: Yu et al.
    2020, arXiv 2005.13239): a plan pays for relying on what nobody knows. Nothing else changes:
    futures are those of `model`, draw by draw.

    The reward makes the prediction again; compiled, XLA does both at once.
    """

    model: AbstractWorldModel
    """What imagines; its predictions are those of an ensemble. For exploration alone, give it no
    reward."""
    measure: Measure
    """`measure(prediction)`; `InUnits` where dimensions have units of their own."""
    weight: Float[Array, ""]
    """Rewards per unit of the measure."""

    def __init__(self, model: AbstractWorldModel, measure: Measure, weight: Any):
        """Wrap a model.

        Args:
            model: a world model whose kernel is an `Ensemble`.
            measure: any measure of disagreement.
            weight: one finite number; an array, so that it may be scheduled or traced.

        Raises:
            ValueError: a weight that is not one number, or known to be not finite.
        """
        self.model, self.measure = model, measure
        weight = as_float("weight", weight)
        self.weight = weight.astype(weight.dtype)  # not weak, so that any number compiles alike
        if self.weight.ndim:
            raise ValueError(f"weight must be one number, but has shape {self.weight.shape}.")
        check_finite("weight", self.weight)

    def transition(self, state: PyTree[Array], action: Array) -> AbstractSampler:
        return self.model.transition(state, action)

    def reward(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        """The reward of the model, and the weighted disagreement about what it came from.

        Raises:
            TypeError: `measure` does not take what the model predicts.
            ValueError: it returns no scalar, or is a disagreement, and there is only one member.
        """
        bonus = self.weight * measured(self.measure, self.model.transition(state, action))
        return self.model.reward(state, action, next_state) + bonus

    def discount(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        return self.model.discount(state, action, next_state)

    def start(self, observation: PyTree[Array]) -> PyTree[Array]:
        return self.model.start(observation)

    def observed(self, state: PyTree[Array]) -> PyTree[Array]:
        return self.model.observed(state)

    def emission(self, state: PyTree[Array], *, key: PRNGKeyArray) -> PyTree[Array]:
        return self.model.emission(state, key=key)
