import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stochwm.envs import MixtureWalk
from stochwm.envs.mixture_walk import _log_ways, _shares

# Worked out independently of this library: entropy, what a normal loses, expected CRPS, by steps.
KINDS = {
    "fork": ((0.5, 0.5), (-1.0, 1.0), (0.1, 0.1)),
    "leaning": ((0.25, 0.75), (-1.0, 1.0), (0.2, 0.2)),
    "uneven": ((0.3, 0.7), (-1.0, 2.0), (0.5, 1.0)),
}
TABLE = {
    ("fork", 1): (-0.190499, 1.614413, 0.528209),
    ("fork", 2): (0.502648, 1.267839, 0.779921),
    ("fork", 5): (1.444723, 0.783910, 1.261515),
    ("fork", 10): (2.139341, 0.435865, 1.793406),
    ("fork", 20): (2.770718, 0.151062, 2.539079),
    ("leaning", 1): (0.371835, 0.929242, 0.445524),
    ("leaning", 5): (1.900212, 0.205584, 1.118299),
    ("leaning", 20): (2.792719, 0.006225, 2.243936),
    ("uneven", 1): (1.759103, 0.149938, 0.932367),
    ("uneven", 5): (2.711677, 0.002082, 2.068672),
    ("uneven", 20): (3.406673, 0.000234, 4.123504),
}


@eqx.filter_jit
def describe(world, actions):
    law = world.law_after(jnp.array([0.7]), actions)
    return law, world.entropy_after(jnp.array([0.7]), actions), law.variance()[0], law.mean()[0]


def expected_crps(law):
    """Half of E|x - x'| over two draws, whose difference is again a mixture of normals."""
    weights, loc = np.asarray(law.weights(), float), np.asarray(law.loc, float)[:, 0]
    variance = np.asarray(law.scale, float)[:, 0] ** 2
    m = loc[:, None] - loc
    s = np.sqrt(variance[:, None] + variance)
    distance = 2 * s * stats.norm.pdf(m / s) + m * (2 * stats.norm.cdf(m / s) - 1)
    return 0.5 * weights @ distance @ weights


@pytest.mark.parametrize(("kind", "steps"), TABLE)
def test_law_at_a_horizon(kind, steps):
    entropy, gap, crps = TABLE[kind, steps]
    law, ours, variance, _ = describe(MixtureWalk(*KINDS[kind]), jnp.zeros((steps, 1)))
    assert law.logits.shape == (steps + 1,)
    np.testing.assert_allclose(ours, entropy, atol=2e-5)
    np.testing.assert_allclose(0.5 * np.log(2 * np.pi * np.e * variance) - entropy, gap, atol=2e-5)
    np.testing.assert_allclose(expected_crps(law), crps, rtol=2e-5)


def test_rollouts_follow_the_law_at_a_horizon():
    world = MixtureWalk((0.2, 0.3, 0.5), (-1.0, 0.5, 2.0), (0.1, 0.3, 0.2), push=0.4)
    plan = jnp.array([[0.5], [-1.0], [1.0], [1.0]])

    @jax.jit
    def run(key):
        def one(key):
            step = lambda x, inputs: (world.law(x, inputs[0]).sample(seed=inputs[1]), None)  # noqa: E731
            return jax.lax.scan(step, jnp.array([0.7]), (plan, jax.random.split(key, 4)))[0]

        x = jax.vmap(one)(jax.random.split(key, 20_000))
        law = world.law_after(jnp.array([0.7]), plan)
        return jax.vmap(law.cdf)(x), law.log_prob(x[0]), law.mean(), law.logits

    levels, _, mean, logits = run(jax.random.key(0))
    assert stats.kstest(np.asarray(levels)[:, 0], "uniform").pvalue > 1e-4
    np.testing.assert_allclose(mean, 0.7 + 0.4 * 1.5 + 4 * 0.95, rtol=1e-5)
    assert logits.shape == (15,)  # 4 steps among 3 kinds


def test_shares_are_all_ways_to_share():
    np.testing.assert_array_equal(_shares(2, 3).sum(1), 2)
    assert len({tuple(row) for row in _shares(2, 3)}) == len(_shares(2, 3)) == 6
    np.testing.assert_allclose(_log_ways(np.array([2.0, 1.0, 1.0])), np.log(12))
    np.testing.assert_array_equal(_shares(3, 1), [[3]])
    with pytest.raises(ValueError, match="at least one step"):
        MixtureWalk().law_after(jnp.zeros(1), jnp.zeros((0, 1)))


def test_reward_and_push():
    world = MixtureWalk(weights=(1.0, 3.0))
    np.testing.assert_allclose(world.law(jnp.zeros(1), jnp.zeros(1)).weights(), [0.25, 0.75])
    law = world.law(jnp.ones(1), jnp.full(1, -1.0))
    np.testing.assert_allclose(law.loc[:, 0], [-0.5, 1.5])
    np.testing.assert_allclose(
        world.reward(None, jnp.array([0.5]), jnp.array([2.0])), np.exp(-2) - 0.025, rtol=1e-5
    )
