import itertools

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from stochwm import imagine, observe
from stochwm._learn import LearnConfig
from stochwm._learn.score import _about_hidden
from stochwm._learn.worlds import world_of
from stochwm.data import collect
from stochwm.distributions import LatentState
from stochwm.envs import HiddenSwitch, SwitchFilter
from tests.precision import x64

WORLD = HiddenSwitch(winds=(-0.3, 0.1, 0.25), flip=0.2, noise=0.2)
X = np.array([0.1, 0.4, 0.3, -0.2, 0.5, 0.6])
ACTIONS = np.array([0.3, -0.5, 0.0, 1.0, 0.2, 0.0])


def by_enumeration():
    """log p(x_t | past) for each t, and P(regime_t | x_0 .. x_t), over all 3^6 regime paths."""
    winds, number = np.array([-0.3, 0.1, 0.25]), 3
    paths = np.array(list(itertools.product(range(number), repeat=len(X))))
    log_path = np.full(len(paths), -np.log(number))
    for t in range(1, len(X)):
        stays = paths[:, t] == paths[:, t - 1]
        log_path += np.log(np.where(stays, 0.8, 0.2 / 2))
    joint = log_path + stats.norm.logpdf(X[0], 0, 0.3)
    so_far, densities, beliefs = 0.0, [], []
    for t in range(len(X)):
        if t:
            loc = 0.9 * X[t - 1] + 0.3 * ACTIONS[t - 1] + winds[paths[:, t - 1]]
            joint = joint + stats.norm.logpdf(X[t], loc, 0.2)
        densities.append(logsumexp(joint) - so_far)
        so_far = logsumexp(joint)
        beliefs.append([np.exp(logsumexp(joint[paths[:, t] == k]) - so_far) for k in range(number)])
    return np.array(densities), np.array(beliefs)


@pytest.fixture(scope="module")
def filtered():
    """Densities, beliefs and entropies along the sequence, by `observe`; twice, as two episodes."""
    exact = SwitchFilter(WORLD)

    def record(prior, posterior, state):
        density = prior.log_prob(state)
        return density, jnp.exp(exact.belief(state)), exact.entropy(state, jnp.zeros(1)), prior

    x = jnp.asarray(np.tile(X, 2)[:, None], "float32")
    actions = jnp.asarray(np.tile(ACTIONS, 2)[:, None], "float32")
    first = jnp.arange(12) % 6 == 0
    run = eqx.filter_jit(
        lambda: observe(exact, x, actions, first, key=jax.random.key(0), record=record)[1]
    )
    return run()


def test_filter_is_the_sum_over_all_regime_paths(filtered):
    densities, beliefs = by_enumeration()
    np.testing.assert_allclose(filtered.aux[0], np.tile(densities, 2), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(filtered.aux[1], np.tile(beliefs, (2, 1)), rtol=2e-4, atol=1e-6)
    assert np.ptp(beliefs[-1]) > 0.2  # the sequence does tell something
    np.testing.assert_array_equal(filtered.state.stoch[:, 0], np.tile(X, 2).astype("float32"))


def test_update_and_predictive_are_the_filter(filtered):
    densities, beliefs = by_enumeration()
    x, a = jnp.asarray(X, "float32")[:, None], jnp.asarray(ACTIONS, "float32")[:, None]
    belief = WORLD.initial_belief()
    for t in range(1, 4):
        law = WORLD.predictive(belief, x[t - 1], a[t - 1])
        np.testing.assert_allclose(law.log_prob(x[t]), densities[t], rtol=1e-4)
        belief = WORLD.update(belief, x[t - 1], a[t - 1], x[t])
        np.testing.assert_allclose(jnp.exp(belief), beliefs[t], rtol=2e-4)
    entropy = WORLD.predictive_entropy(belief, x[3], jnp.zeros(1))
    np.testing.assert_allclose(entropy, filtered.aux[2][3], rtol=1e-5)
    lower, upper = WORLD.predictive(belief, x[3], jnp.zeros(1)).entropy_bounds()
    assert lower < entropy < upper


def test_decode_and_posterior_are_the_observation(filtered):
    exact = SwitchFilter(WORLD)
    state = jax.tree.map(lambda leaf: leaf[2], filtered.state)
    assert isinstance(state, LatentState)
    np.testing.assert_array_equal(exact.decode(state).mean(), state.stoch)
    after = jax.tree.map(lambda leaf: leaf[3], filtered.state)
    reward = exact.reward(state, jnp.array([1.0]), after)
    np.testing.assert_allclose(reward, np.exp(-0.5 * (-0.2 / 0.5) ** 2) - 0.1, rtol=1e-5)
    assert exact.discount(state, jnp.zeros(1), state) == 1.0


def test_observations_of_single_precision_are_filtered_in_double():
    x, first = jnp.array([[0.1], [0.4]], "float32"), jnp.array([True, False])
    with x64():
        exact = SwitchFilter(HiddenSwitch())
        (last, _), seen = observe(exact, x, x, first, key=jax.random.key(0))
    np.testing.assert_allclose(seen.state.stoch, x, rtol=1e-6)
    np.testing.assert_allclose(last.stoch, x[1], rtol=1e-6)


@pytest.fixture(scope="module")
def played():
    """500 episodes of the world itself, and futures that its filter imagines from nothing."""
    world = HiddenSwitch()
    still = lambda state, *, key: jnp.zeros(1)  # noqa: E731

    @jax.jit
    def real(key):
        key_start, key_steps = jax.random.split(key)
        start = world.initial().sample(seed=key_start)
        steps = imagine(world, still, start, key=key_steps, length=29)[1].state
        return jnp.concatenate([start[None], steps])

    def imagined(key):
        exact = SwitchFilter(world)
        keep = lambda state: state.stoch[0]  # noqa: E731
        return imagine(exact, still, exact.initial(), key=key, length=30, save=keep)[1].state

    keys = jax.random.split(jax.random.key(3), 2000)
    return world, np.asarray(jax.vmap(real)(keys)), np.asarray(jax.jit(jax.vmap(imagined))(keys))


def test_imagined_observations_have_the_law_of_real_ones(played):
    _, real, imagined = played
    assert stats.ks_2samp(real[:1000, 29, 0], imagined[1000:, 29]).pvalue > 1e-4
    moves = [np.diff(x, axis=1)[:, -8:].sum(1) for x in (real[:1000, :, 0], imagined[1000:])]
    assert stats.ks_2samp(*moves).pvalue > 1e-4  # the modes stick as long


def test_regimes_flip_as_often_as_said(played):
    _, real, _ = played
    regime = real[..., 1:].argmax(-1)
    flips = (regime[:, 1:] != regime[:, :-1]).mean()
    assert abs(flips - 0.05) < 4 * np.sqrt(0.05 * 0.95 / regime[:, 1:].size)
    np.testing.assert_array_equal(real[..., 1:].sum(-1), 1.0)


def test_the_filter_pays(played):
    """Nats a step: knowing the regime < the filter < forgetting the past."""
    world, real, _ = played
    exact = SwitchFilter(world)

    @jax.jit
    @jax.vmap
    def score(path):
        x = path[:, :1]
        first = jnp.arange(len(x)) == 0
        record = lambda prior, posterior, state: (  # noqa: E731
            prior.log_prob(state),
            exact.entropy(state, jnp.zeros(1)),
        )
        of_filter, entropy = observe(
            exact, x, jnp.zeros_like(x), first, key=jax.random.key(0), record=record
        )[1].aux
        blind = jax.vmap(lambda a, b: world.predictive(jnp.zeros(2), a, jnp.zeros(1)).log_prob(b))
        return of_filter[1:], entropy[:-1], blind(x[:-1], x[1:])

    of_filter, entropy, blind = (np.asarray(v) for v in score(jnp.asarray(real[:500])))
    informed = 0.5 * np.log(2 * np.pi * np.e * 0.2**2)
    assert informed + 0.05 < -of_filter.mean() < -blind.mean() - 0.03
    # The predictive knows its own cost.
    surplus = (of_filter + entropy).mean(1)
    assert abs(surplus.mean()) < 4 * surplus.std() / np.sqrt(len(surplus))


def test_only_the_position_is_seen():
    env = gym.make("stochwm/HiddenSwitch-v0").unwrapped
    start = {"position": np.array([0.5], np.float32), "regime": np.int64(1)}
    observation, info = env.reset(seed=0, options={"state": start})
    np.testing.assert_array_equal(observation, [0.5])
    np.testing.assert_array_equal(env.state, [0.5, 0.0, 1.0])
    assert info == {}
    episodes = collect("stochwm/HiddenSwitch-v0", steps=5, seed=0, progress=False)
    assert episodes.observation.shape[1] == 1


def test_a_hidden_world_has_no_law_of_observations_to_compare():
    names = ("stochwm/HiddenSwitch-v0", "stochwm/Fork-v0", "CartPole-v1")
    hidden, fork, cart_pole = map(LearnConfig, names)
    assert world_of(hidden) is None
    assert world_of(fork) is not None
    assert not HiddenSwitch().fully_observed
    assert "hides a part" in _about_hidden(hidden)[0]
    assert _about_hidden(fork) == _about_hidden(cart_pole) == []


def test_an_observation_is_not_a_state():
    with pytest.raises(ValueError, match=r"expected \[3\].*SwitchFilter"):
        HiddenSwitch().law(jnp.zeros(1), jnp.zeros(1))


def test_one_step():
    law = HiddenSwitch().law(jnp.array([0.5, 0.0, 1.0]), jnp.array([-1.0]))
    np.testing.assert_allclose(law.mean(), [0.45 - 0.3 + 0.2, 0.05, 0.95], rtol=1e-5)
    entropy = 0.5 * np.log(2 * np.pi * np.e * 0.04) - 0.05 * np.log(0.05) - 0.95 * np.log(0.95)
    np.testing.assert_allclose(law.entropy(), entropy, rtol=1e-5)
    modes = law.modes()
    np.testing.assert_allclose(modes.loc, [[0.35, 1, 0], [0.35, 0, 1]], rtol=1e-5)
    np.testing.assert_allclose(modes.weight, [0.05, 0.95], rtol=1e-5)
