"""Evaluation of agents: which episodes count, and what an agent that is stepped costs."""

from typing import ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.agents import AbstractSource, GymSource, WorldSource, evaluate_policy
from stochwm.distributions import OneHotCategoricals
from stochwm.envs import AbstractWorld, WorldEnv

KEY = jax.random.key(0)
SIZES = jnp.array([1.0, 12.0])  # steps of the two kinds of episodes


class ShortOrLong(AbstractWorld):
    """Episodes of 1 or 12 steps, equally likely; each step pays 1. A state is (kind, steps)."""

    max_episode_steps: ClassVar[int | None] = None

    @property
    def observation_space(self):
        return gym.spaces.Discrete(13)

    @property
    def action_space(self):
        return gym.spaces.Discrete(2)

    @property
    def state_names(self):
        return tuple(f"{n} to go" for n in range(13))

    def initial(self):
        return OneHotCategoricals(jnp.full(13, -jnp.inf).at[jnp.array([1, 12])].set(0.0))

    def law(self, state, action):
        return OneHotCategoricals(jnp.where(jnp.roll(state, -1) > 0.5, 0.0, -jnp.inf))

    def entropy(self, state, action):
        return jnp.zeros(())

    def reward(self, state, action, next_state):
        return action[1]

    def discount(self, state, action, next_state):
        return 1 - next_state[0]

    def render(self, state):
        return np.zeros((1, 1, 3), np.uint8)


def second(agent, memory, observation, is_first, *, key):
    """Always action 1."""
    return memory, jnp.array([0.0, 1.0]), None


def test_short_episodes_do_not_count_more():
    """Half of the episodes are long: those that end first are nearly all short."""
    source = WorldSource(ShortOrLong(), 200)
    found = evaluate_policy(source, second, None, episodes=300, key=KEY)
    assert len(found) == 300
    assert {(one.total, one.length) for one in found} == {(1.0, 1), (12.0, 12)}
    share = np.mean([one.length == 12 for one in found])
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(300)
    again = evaluate_policy(source, second, None, episodes=300, key=KEY)
    assert [one.length for one in again] == [one.length for one in found]


class Watched(AbstractSource):
    """Another source: memories and places before and after every call of it, and its keys."""

    can_be_saved, image = True, None

    def __init__(self, source):
        self.source, self.calls = source, []
        self.num_envs = source.num_envs
        self.observation_space, self.action_space = source.observation_space, source.action_space

    def start(self, seed):
        return self.source.start(seed)

    def collect(self, act, agent, memory, place, *, key, length):
        found = self.source.collect(act, agent, memory, place, key=key, length=length)
        key = tuple(jax.random.key_data(key).tolist())
        self.calls.append((int(memory[0]), place, int(found[0][0]), found[1], key))
        return found


def count_rows(agent, memory, observation, is_first, *, key):
    return memory + 1, jnp.array([0.0, 1.0]), None


def test_episodes_memories_and_draws_go_on_from_look_to_look():
    source = Watched(WorldSource(ShortOrLong(), 1))
    found = evaluate_policy(source, count_rows, None, episodes=40, key=KEY, memory=jnp.zeros(1))
    before, begun, after, left, keys = zip(*source.calls, strict=True)
    assert list(before) == [64 * i for i in range(len(keys))]
    assert before[1:] == after[:-1]
    assert all(one is other for one, other in zip(begun[1:], left[:-1], strict=True))
    assert len(set(keys)) == len(keys) > 2
    assert {(one.total, one.length) for one in found} == {(1.0, 1), (12.0, 12)}


def test_what_cannot_be_evaluated_is_refused():
    source = WorldSource(ShortOrLong(), 200)
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        evaluate_policy(source, second, None, episodes=0, key=KEY)
    with pytest.raises(ValueError, match="longest must be at least 1"):
        evaluate_policy(source, second, None, episodes=1, key=KEY, longest=0)
    with pytest.raises(ValueError, match="of 20000 episodes ended in 64 rows of 200 env"):
        evaluate_policy(source, second, None, episodes=20_000, key=KEY, longest=64)


def test_an_agent_is_compiled_once():
    """Neither another step, nor another call, nor an agent that has learned traces again."""
    traced = []

    def count(agent, memory, observation, is_first, *, key):
        traced.append(1)
        return memory, jax.nn.one_hot(jnp.argmax(agent["weight"]), 2), agent["weight"]

    source = GymSource(lambda: WorldEnv(ShortOrLong()), 2)
    place = source.start(0)
    for i in range(2):
        agent = {"weight": jnp.eye(2)[i], "name": "a", "limits": np.zeros(2)}
        _, place, steps, aux = source.collect(count, agent, None, place, key=KEY, length=3)
        np.testing.assert_array_equal(steps.action, np.broadcast_to(np.eye(2)[i], (3, 2, 2)))
        np.testing.assert_array_equal(aux, steps.action)
    assert len(traced) == 1
