"""World models whose state is the observation."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..distributions import AbstractSampler
from ..transitions import AbstractTransition
from .base import AbstractWorldModel
from .checks import named


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

    Raises:
        TypeError: one of the three cannot be called.
    """

    kernel: AbstractTransition
    reward_head: Callable[..., Float[Array, ""]] = no_reward
    discount_head: Callable[..., Float[Array, ""]] = never_ends

    def __check_init__(self):
        if isinstance(self.kernel, type) or not callable(self.kernel):
            inside = hasattr(self.kernel, "model")
            mend = ": pass the model in it, Markov(fitted.model)" if inside else ""
            raise TypeError(f"kernel must be a transition, but is {named(self.kernel)}{mend}.")
        for name in ("reward_head", "discount_head"):
            head = getattr(self, name)
            if not callable(head):
                raise TypeError(
                    f"{name} must be a function of (state, action, next_state), but is "
                    f"{named(head)}."
                )

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
