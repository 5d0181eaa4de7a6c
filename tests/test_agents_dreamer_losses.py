"""What one update of a Dreamer adds up: which rows, which draws, which weights."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm.agents import SlowCritic, make_learner
from stochwm.agents.actors import most_probable
from stochwm.agents.dreamer import (
    Memory,
    act,
    dream_from,
    loss_of_actor,
    loss_of_critic,
    losses,
    replayed_returns,
)
from stochwm.distributions.mixture import take
from stochwm.training import partition_trainable, rssm_loss
from tests.test_agents_dreamer import KEY, SPACES, V1, V3, batch, dreamt, learner

adding_up = eqx.filter_jit(partial(losses, guard=None, key=KEY))
dreaming = eqx.filter_jit(partial(dream_from, guard=None))


@eqx.filter_jit
def of_world(model, rows, config):
    one = lambda row, key: rssm_loss(model, row, divergence=config.divergence, key=key)  # noqa: E731
    return jax.vmap(one)(rows, jax.random.split(jax.random.split(KEY)[0], len(rows.reward)))


def test_the_sum_of_all_losses():
    """Sequence by sequence and start by start; an episode ends in a row that is dreamt from."""
    config = dataclasses.replace(V3, replay_critic=0.5)
    start = learner(V3)
    start = eqx.tree_at(lambda m: (m.low, m.high), start, (jnp.asarray(-2.0), jnp.asarray(3.0)))
    ends = jnp.zeros((2, 4), bool).at[1, 3].set(True)
    rows = eqx.tree_at(lambda r: (r.is_last, r.is_terminal), batch(), (ends, ends))
    total, (metrics, low, high) = adding_up(start.agent, start, rows, config)

    agent, world = start.agent, of_world(start.agent.model, rows, config)
    keys = jax.random.split(jax.random.split(KEY)[1], 4)
    dreams = [
        dreaming(
            agent, start.slow_critic, take(take(world.state, i), t), config, key=keys[2 * i + k]
        )
        for i in range(2)
        for k, t in enumerate((2, 3))
    ]
    returns = np.array([dream.returns for dream in dreams])
    np.testing.assert_allclose(low, 0.99 * -2 + 0.01 * np.percentile(returns, 5), rtol=1e-4)
    np.testing.assert_allclose(metrics.return_range, high - low, rtol=1e-4)
    np.testing.assert_allclose(metrics.imagined_return, returns[:, 0].mean(), rtol=1e-4)
    of_actor = [loss_of_actor(agent, config, high - low, dream)[0] for dream in dreams]
    on_critic = partial(loss_of_critic, agent, start.slow_critic, config)
    of_critic = [on_critic(dream.features[:-1], dream.returns, dream.weight) for dream in dreams]
    replayed = []
    for i in range(2):
        here = [x[i, 2:] for x in (rows.reward, rows.is_last, rows.is_terminal)]
        known, weight = replayed_returns(*here, jnp.asarray(returns[2 * i :][:2, 0]), config)
        replayed.append(on_critic(dreams[2 * i].features[:1], known, weight))
    expected = np.mean([x for x in jax.vmap(lambda one: one.total())(world)])
    expected += np.mean(of_actor) + np.mean(of_critic) + 0.5 * np.mean(replayed)
    np.testing.assert_allclose(metrics.actor_loss, np.mean(of_actor), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def test_the_world_model_learns_from_what_happened_only():
    """Not even where the returns have a gradient, which goes through the dream to its start."""
    start, rows = learner(V1), batch()
    trainable, rest = partition_trainable(start.agent)

    @jax.jit
    def gradients(trainable):
        whole = lambda x: losses(eqx.combine(x, rest), start, rows, V1, None, key=KEY)[0]  # noqa: E731
        alone = lambda x: jnp.mean(  # noqa: E731
            jax.vmap(lambda one: one.total())(of_world(eqx.combine(x, rest).model, rows, V1))
        )
        return jax.grad(whole)(trainable).model, jax.grad(alone)(trainable).model

    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6)
    jax.tree.map(close, *gradients(trainable))


def test_returns_may_be_made_of_the_slow_critic():
    config = dataclasses.replace(V3, slow_critic=SlowCritic(every=100, bootstraps=True))
    slow = eqx.tree_at(lambda c: c.output.weight, learner(V3).agent.critic, replace_fn=jnp.negative)
    start = eqx.tree_at(lambda m: m.slow_critic, learner(V3), slow)
    dream, value, *_ = dreamt(config, start, KEY)
    expected = [config.scalar.mean(slow(x)) for x in dream.features[:-1]]
    np.testing.assert_allclose(dream.value, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(dream.value, value[:-1], rtol=0.1)


def test_an_agent_filters_what_it_sees():
    """From its state and action before, and from nothing where an episode begins."""
    agent, random = learner(V3).agent, np.random.default_rng(0)
    state = jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=x.shape), float), agent.model.initial()
    )
    memory, seen = Memory(state, jnp.array([0.0, 1.0])), jnp.eye(SPACES[0].size)[1]
    for first, before in ((False, (state, memory.action)), (True, (agent.model.initial(), [0, 0]))):
        after, action, _ = act(
            agent, memory, seen, jnp.asarray(first), key=KEY, choose=most_probable
        )
        prior = agent.model.transition(before[0], jnp.asarray(before[1], float))
        expected = agent.model.posterior(prior, seen).mode()
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), after.state, expected)
        np.testing.assert_array_equal(action, agent.policy(expected).mode())
        np.testing.assert_array_equal(after.action, action)


def test_a_fresh_agent_expects_nothing_and_prefers_nothing():
    agent = make_learner(*SPACES, V3, key=KEY).agent
    state = jax.tree.map(jnp.ones_like, agent.model.initial())
    assert agent.value(state) == 0.0
    np.testing.assert_allclose(agent.policy(state).mean(), [0.5, 0.5], atol=0.01)
