"""The exact Bayes filter of HiddenSwitch: what a learned filter can be at best."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import (
    Deterministic,
    DiagNormalMixture,
    LatentState,
    LatentStateDistribution,
)
from ..models import AbstractFilter
from ._probability import normal_mixture_entropy
from .hidden_switch import HiddenSwitch


class SwitchMemory(eqx.Module):
    """What the past says with certainty: the mixture that the newest observation was drawn from.

    Component k is regime k, so the mixture's own responsibilities are the Bayes rule.
    """

    prediction: DiagNormalMixture
    started: Float[Array, ""]
    """1 once an episode has begun, 0 before its first observation."""


class SwitchFilter(AbstractFilter):
    """`HiddenSwitch` as its observer has to model it: exact, and never told the regime.

    A state is `LatentState(deter=SwitchMemory, stoch=x)`: the newest observation and the exact
    prediction it came from. `transition` turns them into the belief and that into the next
    prediction, so its density is that of the next observation given the whole past. `observe`
    filters along real sequences, and `imagine` draws futures of the observations.
    """

    world: HiddenSwitch

    def initial(self) -> LatentState:
        return LatentState(SwitchMemory(self._first(), jnp.zeros(())), jnp.zeros(1))

    def transition(self, state: LatentState, action: Float[Array, " 1"]) -> LatentStateDistribution:
        memory = state.deter
        ahead = self.world.predictive(self.belief(state), state.stoch, action)
        chosen = jax.tree.map(
            lambda a, b: jnp.where(memory.started > 0, a, b), ahead, self._first()
        )
        return LatentStateDistribution(SwitchMemory(chosen, jnp.ones(())), chosen)

    def belief(self, state: LatentState) -> Float[Array, " regimes"]:
        """Normalised log probabilities of the regime now, given all observations, in nats."""
        # The first observation is equally likely under all regimes, and a turn leaves the uniform
        # distribution what it is: no step needs to be told apart here.
        return self.world.turn(state.deter.prediction.responsibilities(state.stoch))

    def entropy(self, state: LatentState, action: Float[Array, " 1"]) -> Float[Array, ""]:
        """Entropy of the next observation given the past, in nats, by quadrature."""
        law: Any = self.transition(state, action).stoch
        return normal_mixture_entropy(law.logits, law.loc[:, 0], law.scale[:, 0])

    def posterior(
        self, prior: LatentStateDistribution, observation: Float[Array, " 1"]
    ) -> LatentStateDistribution:
        return LatentStateDistribution(prior.deter, Deterministic(observation))

    def decode(self, state: LatentState) -> Deterministic:
        return Deterministic(state.stoch)

    def reward(self, state: Any, action: Array, next_state: Any) -> Float[Array, ""]:
        return self.world.reward(state.stoch, action, next_state.stoch)

    def discount(self, state: Any, action: Array, next_state: Any) -> Float[Array, ""]:
        return self.world.discount(state.stoch, action, next_state.stoch)

    def _first(self) -> DiagNormalMixture:
        """The prediction of the first observation, the same under every regime."""
        belief, start = self.world.initial_belief(), self.world.initial_position()
        shape = (*belief.shape, 1)
        loc, scale = (jnp.broadcast_to(x, shape) for x in (start.loc, start.scale))
        return DiagNormalMixture(belief, loc, scale)
