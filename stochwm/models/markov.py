"""World models whose state is the observation."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..distributions import AbstractSampler
from ..transitions import AbstractTransition
from .base import AbstractWorldModel


def no_reward(state: PyTree[Array], action: Array, next_state: PyTree[Array]) -> Float[Array, ""]:
    """Reward 0, for predictions without a task."""
    return jnp.zeros(())


def never_ends(state: PyTree[Array], action: Array, next_state: PyTree[Array]) -> Float[Array, ""]:
    """Discount 1: every episode goes on."""
    return jnp.ones(())


class Markov(AbstractWorldModel):
    """A transition kernel with a reward and a discount, which default to 0 and 1.

    `reward` and `discount` are functions (or modules) of `(state, action, next_state)` that return
    a scalar.
    """

    kernel: AbstractTransition
    reward_head: Callable[..., Float[Array, ""]] = no_reward
    discount_head: Callable[..., Float[Array, ""]] = never_ends

    def transition(self, state: PyTree[Array], action: Array) -> AbstractSampler:
        return self.kernel(state, action)

    def reward(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        return self.reward_head(state, action, next_state)

    def discount(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        return self.discount_head(state, action, next_state)
