"""How a trained agent acts."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from . import dreamer, ppo
from .actors import most_probable
from .source import AbstractSource, Act

# Made once: a function that is new at each call would be compiled at each call.
_GREEDY = {act: partial(act, choose=most_probable) for act in (dreamer.act, ppo.act)}


def acting(agent: Any, source: AbstractSource, *, greedy: bool = False) -> tuple[Act, PyTree]:
    """How an agent acts in the environments of a source, and what it remembers before it begins.

    For `evaluate_policy` and `record_episode`:

        act, memory = acting(agent, source)
        evaluate_policy(source, act, agent, memory=memory, episodes=10, key=key)

    Args:
        agent: a `Dreamer` or an `ActorCritic`.
        source: where it is to act.
        greedy: take the most probable action in the most probable latent state, instead of drawing
            both, as in training.

    Raises:
        TypeError: another agent.
    """
    act, memory = _acting(agent, source)
    return (_GREEDY[act] if greedy else act), memory


def _acting(agent: Any, source: AbstractSource) -> tuple[Act, PyTree]:
    if isinstance(agent, ppo.ActorCritic):
        return ppo.act, None
    if not isinstance(agent, dreamer.Dreamer):
        raise TypeError(f"agent must be a Dreamer or an ActorCritic, but is a {type(agent)}.")
    memory = dreamer.remember_nothing(agent, source.action_space.size)
    return dreamer.act, jax.tree.map(
        lambda x: jnp.broadcast_to(x, (source.num_envs, *x.shape)), memory
    )
