"""What a world model is: a transition, a reward, and whether the episode goes on."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

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

    def start(self, observation: PyTree[Array]) -> PyTree[Array]:
        """The state in which a rollout starts where `observation` is seen.

        By default the observation; a model whose state holds more, such as a clock, adds it.
        """
        return observation

    def observed(self, state: PyTree[Array]) -> PyTree[Array]:
        """What of a state is the observation: `observed(start(x))` is x. By default all of it."""
        return state

    def emission(self, state: PyTree[Array], *, key: PRNGKeyArray) -> PyTree[Array]:
        """One observation in a state: `observed(state)`, or the draw of a model that hides it."""
        return self.observed(state)


def on_observations(
    model: AbstractWorldModel, policy: Callable[..., Array]
) -> Callable[..., Array]:
    """A policy on observations as one on the states of `model`, which rollouts call.

    Args:
        model: what the rollout imagines with.
        policy: `policy(observation, *, key) -> action`.
    """
    return lambda state, *, key: policy(model.observed(state), key=key)


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

    def start(self, observation: PyTree[Array]) -> PyTree[Array]:
        """Refused: one observation does not tell the latent state; `observe` a sequence."""
        raise NotImplementedError(f"{type(self).__name__} is a filter: use observe for its state.")

    def observed(self, state: PyTree[Array]) -> PyTree[Array]:
        """Refused: a latent state has a distribution of observations; `decode` it."""
        raise NotImplementedError(f"{type(self).__name__} is a filter: use decode(state).")

    def emission(self, state: PyTree[Array], *, key: PRNGKeyArray) -> PyTree[Array]:
        """A draw of `decode(state)`."""
        return self.decode(state).sample(seed=key)
