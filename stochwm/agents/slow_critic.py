"""A critic that follows another slowly, and what it is good for."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .numbers import check_numbers, check_shares

_Critic = TypeVar("_Critic")


class SlowCritic(eqx.Module):
    """How the slow critic follows, and what its values are used for.

    DreamerV3 draws the critic towards a moving average of itself: `SlowCritic(0.02, pull=1.0)`.
    DreamerV2 takes returns from a copy made now and then: `SlowCritic(every=100,
    bootstraps=True)`. DreamerV1 has none: `SlowCritic()` is the critic itself.
    """

    rate: float = eqx.field(static=True, default=1.0)
    """How far it goes towards the critic."""
    every: int = eqx.field(static=True, default=1)
    """After how many updates it does."""
    pull: float = eqx.field(static=True, default=0.0)
    """Weight of the loss that draws the critic towards it."""
    bootstraps: bool = eqx.field(static=True, default=False)
    """Whether returns are made of its values."""

    def __check_init__(self):
        """Refuse numbers with which it would not follow."""
        check_numbers(self, every=1, pull=0)
        check_shares(self, "rate")

    def follow(self, slow: _Critic, critic: _Critic, updates: Int[Array, ""]) -> _Critic:
        """The slow critic after update number `updates`, counted from 0."""
        rate = jnp.where((updates + 1) % self.every == 0, self.rate, 0.0)
        return jax.tree.map(lambda s, c: s + rate * (c - s), slow, critic)
