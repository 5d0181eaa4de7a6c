"""What one update of a Dreamer adds up: which rows, which draws, which weights."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm import replay
from stochwm._rollout import step_keys
from stochwm.agents import SlowCritic, WorldSource, acting, lambda_returns, make_learner
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
from stochwm.drift import DriftGuard, epistemic_variance
from stochwm.models import MeanSquared
from stochwm.training import partition_trainable, rssm_loss
from tests.test_agents_dreamer import KEY, SPACES, V1, V3, batch, dreamt, learner
from tests.test_agents_parts import Clock

adding_up = eqx.filter_jit(partial(losses, key=KEY))
dreaming = eqx.filter_jit(partial(dream_from, guard=None))
acting_on, judging, replaying = map(
    eqx.filter_jit, (loss_of_actor, loss_of_critic, replayed_returns)
)


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
    total, (metrics, low, high) = adding_up(start.agent, start, rows, config, None)

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
    of_actor = [acting_on(agent, config, high - low, dream)[0] for dream in dreams]
    on_critic = partial(judging, agent, start.slow_critic, config)
    of_critic = [on_critic(dream.features[:-1], dream.returns, dream.weight) for dream in dreams]
    replayed = []
    for i in range(2):
        here = [x[i, 2:] for x in (rows.reward, rows.is_last, rows.is_terminal)]
        known, weight = replaying(*here, jnp.asarray(returns[2 * i :][:2, 0]), config)
        replayed.append(on_critic(dreams[2 * i].features[:1], known, weight))
    expected = np.mean(jax.jit(jax.vmap(lambda one: one.total()))(world))
    expected += np.mean(of_actor) + np.mean(of_critic) + 0.5 * np.mean(replayed)
    np.testing.assert_allclose(metrics.actor_loss, np.mean(of_actor), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def between(low, high, start):
    """A learner whose returns lay between two numbers so far."""
    return eqx.tree_at(lambda m: (m.low, m.high), start, (jnp.asarray(low), jnp.asarray(high)))


def test_a_range_of_returns_below_1_counts_as_1():
    config = dataclasses.replace(V3, entropy=0.0, scalar=MeanSquared())
    loss, width = {}, {}
    for high in (0.0, 3.0):
        start = between(0.0, high, learner(config))
        _, (metrics, *_) = adding_up(start.agent, start, batch(), config, None)
        loss[high], width[high] = metrics.actor_loss, metrics.return_range
    assert width[0.0] < 1 < width[3.0]
    np.testing.assert_allclose(loss[0.0], loss[3.0] * width[3.0], rtol=1e-4)


def test_ranges_that_no_dream_is_trusted_for_stay_and_need_not_count():
    config = dataclasses.replace(V1, prior_heads=2)
    start = between(-2.0, 3.0, learner(config))
    never, always = (DriftGuard(epistemic_variance, at) for at in (-1.0, 1e9))
    summed = lambda guard, start: adding_up(start.agent, start, batch(), config, guard)[1]  # noqa: E731
    metrics, low, high = summed(never, start)
    np.testing.assert_allclose([low, high, metrics.trusted], [-2.0, 3.0, 0.0], rtol=1e-6)
    metrics, low, high = summed(always, start)
    assert metrics.trusted == 1.0
    assert low != -2.0
    same, *_ = summed(always, between(-200.0, 300.0, start))
    np.testing.assert_array_equal(same.actor_loss, metrics.actor_loss)


def test_an_actor_learns_by_what_its_actions_lead_to_and_not_by_what_it_sees_there():
    """DreamerV1: the same draws and actions, told as a plan, which looks at nothing."""
    start = learner(V1)
    agent, state = start.agent, start.agent.model.initial()

    @eqx.filter_jit
    def gradients(actor):
        def in_dream(actor):
            acts = eqx.tree_at(lambda a: a.actor, agent, actor)
            dream = dream_from(acts, start.slow_critic, state, V1, None, key=KEY)
            return jnp.sum(dream.returns), dream.features

        def in_plan(actor, seen):
            draw = lambda x, t: agent.actor_head(actor(x)).sample(seed=step_keys(KEY, t)[0])  # noqa: E731
            plan = jax.vmap(draw)(seen[:-1], jnp.arange(len(seen) - 1))
            _, future = replay(agent.model, state, plan, key=KEY)
            value, discount = jax.vmap(agent.value)(future.state), V1.gamma * future.discount
            return jnp.sum(lambda_returns(future.reward, discount, value, V1.lambda_))

        dreamt, features = eqx.filter_grad(in_dream, has_aux=True)(actor)
        return dreamt, eqx.filter_grad(in_plan)(actor, features)

    dreamt, planned = gradients(agent.actor)
    assert np.any(dreamt.output.weight != 0)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), dreamt, planned)


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
    keys = []

    def choose(belief, *, key):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return most_probable(belief, key=key)

    for first, before in ((False, (state, memory.action)), (True, (agent.model.initial(), [0, 0]))):
        after, action, _ = act(agent, memory, seen, jnp.asarray(first), key=KEY, choose=choose)
        prior = agent.model.transition(before[0], jnp.asarray(before[1], float))
        expected = agent.model.posterior(prior, seen).mode()
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), after.state, expected)
        np.testing.assert_array_equal(action, agent.policy(expected).mode())
        np.testing.assert_array_equal(after.action, action)
    assert len(set(keys)) == 2  # a state and an action are drawn apart


class Late(Clock):
    """From time 2 on, another world looks different."""

    shift: jax.Array

    def emit(self, state):
        return state + jnp.where(state < 2, 0.0, self.shift)


def test_actions_do_not_know_what_will_be_seen():
    """An episode of five rows in many copies, the same draws: only rows from 2 on differ."""
    source = WorldSource(Late(jnp.zeros(())), 20)
    agent = make_learner(source.observation_space, source.action_space, V3, key=KEY).agent
    found = []
    for shift in (0.0, -50.0):
        source.world = Late(jnp.asarray(shift))
        how, memory = acting(agent, source)
        place = source.start(0)
        found.append(source.collect(how, agent, memory, place, key=KEY, length=4)[2].action)
    one, two = found
    np.testing.assert_array_equal(one[:2], two[:2])
    assert np.any(one[2] != two[2])


def test_a_fresh_agent_expects_nothing_and_prefers_nothing():
    agent = make_learner(*SPACES, V3, key=KEY).agent
    state = jax.tree.map(jnp.ones_like, agent.model.initial())
    assert agent.value(state) == 0.0
    np.testing.assert_allclose(agent.policy(state).mean(), [0.5, 0.5], atol=0.01)
