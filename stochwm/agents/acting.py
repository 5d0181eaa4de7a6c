"""How a trained agent acts."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from . import dreamer, ppo
from .source import AbstractSource, Act


def acting(agent: Any, source: AbstractSource) -> tuple[Act, PyTree]:
    """How an agent acts in the environments of a source, and what it remembers before it begins.

    For `evaluate_policy` and `record_episode`:

        act, memory = acting(agent, source)
        evaluate_policy(source, act, agent, memory=memory, episodes=10, key=key)

    Args:
        agent: a `Dreamer` or an `ActorCritic`; both draw their actions.
        source: where it is to act.

    Raises:
        TypeError: another agent.
    """
    if isinstance(agent, ppo.ActorCritic):
        return ppo.act, None
    if not isinstance(agent, dreamer.Dreamer):
        raise TypeError(f"agent must be a Dreamer or an ActorCritic, but is a {type(agent)}.")
    memory = dreamer.remember_nothing(agent, source.action_space.size)
    return dreamer.act, jax.tree.map(
        lambda x: jnp.broadcast_to(x, (source.num_envs, *x.shape)), memory
    )
