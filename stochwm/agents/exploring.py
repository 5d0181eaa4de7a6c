"""How a Dreamer acts while it collects experience: at random first, then a share of the time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..data import RandomPolicy
from .dreamer import Dreamer, Memory, act


def act_at_random(
    policy: RandomPolicy,
    memory: Any,
    observation: Float[Array, " observation"],
    is_first: Bool[Array, ""],
    *,
    key: PRNGKeyArray,
) -> tuple[Any, Float[Array, " action"], None]:
    """An `Act` that ignores what it sees."""
    return memory, policy(observation, key=key), None


class Explorer(eqx.Module):
    """An agent that takes a share of its actions at random."""

    agent: Dreamer
    random: RandomPolicy
    share: float = eqx.field(static=True)


def explore(
    explorer: Explorer,
    memory: Memory,
    observation: Float[Array, " observation"],
    is_first: Bool[Array, ""],
    *,
    key: PRNGKeyArray,
) -> tuple[Memory, Float[Array, " action"], None]:
    """An `Act` of an `Explorer`, which remembers what it really did."""
    key_act, key_whether, key_random = jax.random.split(key, 3)
    memory, action, aux = act(explorer.agent, memory, observation, is_first, key=key_act)
    other = explorer.random(observation, key=key_random)
    action = jnp.where(jax.random.bernoulli(key_whether, explorer.share), other, action)
    return Memory(memory.state, action), action, aux
