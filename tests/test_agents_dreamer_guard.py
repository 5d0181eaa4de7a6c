"""A guard truncates the dreams of a Dreamer: it does not end them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm.agents.dreamer import dream_from, range_of
from stochwm.drift import DriftGuard, epistemic_variance
from tests.test_agents_dreamer import KEY, V3, learner


def test_a_guard_cuts_dreams_where_prior_heads_disagree():
    """A cut is no end: it is worth what the critic expects where the trust ended."""
    config = dataclasses.replace(V3, prior_heads=3)
    start = learner(config)
    agent, state = start.agent, start.agent.model.initial()

    @eqx.filter_jit
    def watched(guard):
        return dream_from(agent, start.slow_critic, state, config, guard, key=KEY)

    never, always = (watched(DriftGuard(epistemic_variance, at)) for at in (-1.0, 9.0))
    np.testing.assert_array_equal(always.trusted, np.ones(3))
    np.testing.assert_array_equal(never.trusted, np.zeros(3))
    np.testing.assert_array_equal(never.weight, np.zeros(3))
    np.testing.assert_array_equal(never.returns, never.value)
    np.testing.assert_array_equal(never.value, np.full(3, always.value[0]))
    assert np.all(always.weight > 0)
    first = epistemic_variance(agent.model.transition(state, always.action[0]))
    some = watched(DriftGuard(epistemic_variance, 1.001 * first, cumulative=True))
    np.testing.assert_array_equal(some.trusted, [1, 0, 0])
    np.testing.assert_array_equal(some.weight, [some.weight[0], 0, 0])
    np.testing.assert_array_equal(some.returns[1:], some.value[1:])
    # One real step of the dream, then the critic: lambda does not matter.
    reached = jax.tree.map(lambda x: x[1], some.features)
    reward = agent.scalar.mean(agent.model.reward_head(reached))
    goes_on = jax.nn.sigmoid(agent.model.discount_head(reached)[0]) / agent.model.longest
    expected = reward + config.gamma * min(goes_on, 1.0) * always.value[1]
    np.testing.assert_allclose(some.returns[0], expected, rtol=1e-5)


def test_what_is_distrusted_is_not_in_the_range_of_returns():
    start = eqx.tree_at(
        lambda m: (m.low, m.high), learner(V3), (jnp.asarray(2.0), jnp.asarray(8.0))
    )
    returns = jnp.stack([jnp.arange(101.0), jnp.full(101, 1e6)])
    trusted = jnp.stack([jnp.ones(101, bool), jnp.zeros(101, bool)])
    found = range_of(returns, start, trusted)
    np.testing.assert_allclose(found, range_of(returns[:1], start), rtol=1e-6)
    np.testing.assert_array_equal(range_of(returns, start, ~trusted & trusted), [2.0, 8.0])
