"""What a world model is: a transition, a reward, and whether the episode goes on."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from ..distributions import AbstractDistribution, AbstractSampler


class AbstractWorldModel(eqx.Module):
    """A learned or known simulator. A state is any pytree; nothing here has a batch axis."""

    @abc.abstractmethod
    def transition(self, state: PyTree[Array], action: Array) -> AbstractSampler:
        """The distribution of the next state."""

    @abc.abstractmethod
    def reward(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        """The reward received on arrival at `next_state`."""

    @abc.abstractmethod
    def discount(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        """P(the episode goes on after `next_state`), in [0, 1]; the agent's gamma stays outside."""


class AbstractFilter(AbstractWorldModel):
    """A latent world model: it also infers its state from observations."""

    @abc.abstractmethod
    def initial(self) -> PyTree[Array]:
        """The state before anything was seen.

        The first observation is one transition away from it, under an action of zeros.
        """

    @abc.abstractmethod
    def posterior(self, prior: AbstractSampler, observation: Any) -> AbstractSampler:
        """The distribution of the state once `observation` is seen, of the type of the prior."""

    @abc.abstractmethod
    def decode(self, state: PyTree[Array]) -> AbstractDistribution:
        """p(observation | state)."""
