import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.distributions import DiagNormalMixture
from stochwm.envs import Fork


@pytest.fixture(scope="module")
def played():
    """2,000 steps under random actions: states, actions, next states."""
    world = Fork()

    def step(state, key):
        key_action, key_state = jax.random.split(key)
        action = jax.random.uniform(key_action, (1,), minval=-1.0, maxval=1.0)
        after = world.law(state, action).sample(seed=key_state)
        return after, (state, action, after)

    def episode(key):
        key_start, key_steps = jax.random.split(key)
        start = world.initial().sample(seed=key_start)
        return jax.lax.scan(step, start, jax.random.split(key_steps, 50))[1]

    rows = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 40))
    return [x.reshape(-1, x.shape[-1]) for x in rows]


@pytest.fixture(scope="module")
def known(played):
    """Of each step: entropy, moment-matched normal's cross-entropy, weights, log density."""
    world = Fork()

    @jax.jit
    @jax.vmap
    def describe(state, action, after):
        law = world.law(state, action)
        _, log_volume = jnp.linalg.slogdet(law.covariance())
        of_normal = 0.5 * (2 * (1 + jnp.log(2 * jnp.pi)) + log_volume)
        entropy = world.entropy(state, action)
        return entropy, of_normal, law.weights(), law.log_prob(after)

    return describe(*played)


def test_a_single_normal_loses_more_than_half_a_nat(known):
    entropy, of_normal, _, _ = known
    assert 0.7 < np.mean(of_normal - entropy) < 0.9
    assert np.min(of_normal - entropy) > 0.5


def test_average_entropy_is_the_cost_of_real_steps(known):
    entropy, _, _, log_prob = known
    assert abs(entropy.mean() + log_prob.mean()) < 4 * np.std(log_prob) / np.sqrt(len(log_prob))
    np.testing.assert_allclose(entropy.mean(), -1.51, atol=0.03)


def test_two_to_four_roads_are_open(known):
    weights = np.asarray(known[2])
    open_roads = (weights > 0.05).sum(-1)
    assert open_roads.min() == 2
    assert open_roads.max() == 4
    share = np.bincount(open_roads, minlength=5) / len(weights)
    assert share[2] > 0.1
    assert share[3] > 0.5
    assert share[4] > 0.05


def test_the_state_decides_the_number_of_modes():
    world = Fork()
    count = eqx.filter_jit(lambda s: jnp.sum(world.law(s, jnp.zeros(1)).modes().weight > 0.05))
    assert count(jnp.array([0.0, 1.1])) == 2  # fast, between two roads
    assert count(jnp.array([0.5, 1.1])) == 3  # fast, on an inner road
    assert count(jnp.array([0.0, 0.4])) == 4  # slow


def test_equations():
    world = Fork(spacing=2.0, noise=0.5)
    y, v, a = 0.7, 0.9, -0.4
    law = world.law(jnp.array([y, v]), jnp.array([a]))
    assert isinstance(law, DiagNormalMixture)
    roads = 2 * np.array([-1.5, -0.5, 0.5, 1.5])
    aim = 3.2 * np.tanh((y + 1.0 * a) / 3.2)
    tau = 2 * (0.45 + 0.6 / (1 + np.exp(-8 * (0.75 - v))))
    weights = np.exp(-((roads - aim) ** 2) / (2 * tau**2))
    np.testing.assert_allclose(law.weights(), weights / weights.sum(), rtol=1e-4)
    np.testing.assert_allclose(law.loc[:, 0], 0.85 * roads + 0.15 * y, rtol=1e-5)
    wanted = 1.1 - 0.6 * a**2 - 0.4 * np.tanh(y / 2) ** 2
    np.testing.assert_allclose(law.loc[:, 1], v + 0.6 * (wanted - v), rtol=1e-5)
    scale = 0.5 * (0.06 + 0.06 / (1 + np.exp(-4 * (v - 0.6))))
    np.testing.assert_allclose(law.scale[:, 0], scale, rtol=1e-5)
    np.testing.assert_allclose(law.scale[:, 1], 0.025, rtol=1e-5)
    reward = world.reward(None, jnp.array([a]), jnp.array([3.5, 0.0]))
    np.testing.assert_allclose(reward, np.exp(-0.5 * 0.5**2) - 0.1 * a**2, rtol=1e-5)


def test_states_stay_well_inside_the_space(played):
    space = Fork().observation_space
    states = np.asarray(played[2])
    assert (states > 0.7 * space.low).all()
    assert (states < 0.7 * space.high).all()


def test_gradients_reach_state_and_action():
    world = Fork()

    def expected(action):
        keys = jax.random.split(jax.random.key(1), 20_000)
        law = world.law(jnp.array([0.1, 0.7]), action)
        return jnp.mean(jax.vmap(lambda k: law.sample(seed=k)[0])(keys))

    by_samples = jax.jit(jax.grad(expected))(jnp.array([0.2]))
    exact = jax.grad(lambda a: world.law(jnp.array([0.1, 0.7]), a).mean()[0])(jnp.array([0.2]))
    np.testing.assert_allclose(by_samples, exact, rtol=0.15)
