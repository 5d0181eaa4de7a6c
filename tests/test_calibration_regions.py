"""Is the joint distribution right? Density regions and ranks of clouds, with planted mistakes."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stochwm.calibration import (
    average_rank,
    band_depth,
    copula_pit,
    hpd_level,
    joint_cdf,
    kernel_density,
    pit,
    rank_of,
)
from stochwm.distributions import FullNormal, FullNormalMixture, UniformBox
from stochwm.envs import WetChicken
from tests.cases import instance

PRE_RANKS = (average_rank, band_depth, kernel_density, joint_cdf)
POOL = np.random.default_rng(0).normal(size=(9, 2)).round(1).astype(np.float32)
POOL[3], POOL[5, 0] = POOL[0], POOL[1, 0]  # ties, of a vector and of a dimension
KEY = jax.random.key(0)


# --- pre-ranks against their definitions ------------------------------------------------------
def slow_average(pool):
    return [np.mean([sum(other[d] <= x[d] for other in pool) for d in range(2)]) for x in pool]


def slow_band_depth(pool):
    """Thorarinsdottir, Scheuerer & Heinz (2016), section 2.2: bands of all pairs."""
    pairs = list(itertools.combinations(pool, 2))
    inside = lambda x, a, b: (np.minimum(a, b) <= x) & (x <= np.maximum(a, b))  # noqa: E731
    return [
        np.mean([sum(inside(x[d], a[d], b[d]) for a, b in pairs) for d in (0, 1)]) for x in pool
    ]


def slow_joint_cdf(pool):
    return [np.mean([(other <= x).all() for other in pool]) for x in pool]


def slow_kernel_density(pool):
    width = pool.astype(float).std(axis=0) * len(pool) ** (-1 / 6)
    return [np.log(sum(np.exp(-0.5 * np.sum(((x - y) / width) ** 2)) for y in pool)) for x in pool]


SLOW = (slow_average, slow_band_depth, slow_kernel_density, slow_joint_cdf)


@pytest.mark.parametrize(("fast", "slow"), list(zip(PRE_RANKS, SLOW, strict=True)))
def test_pre_ranks_are_their_definitions(fast, slow):
    np.testing.assert_allclose(fast(jnp.asarray(POOL)), slow(POOL), rtol=1e-5)


def test_band_depth_without_ties_is_the_published_formula():
    pool = jax.random.normal(KEY, (8, 3))
    rank = np.argsort(np.argsort(pool, axis=0), axis=0) + 1
    expected = np.mean((8 - rank) * (rank - 1) + 7, axis=1)
    np.testing.assert_allclose(band_depth(pool), expected, rtol=1e-6)


def test_rank_by_hand():
    """The value is below two of four in every pre-rank that follows its size."""
    cloud, value = jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([1.5])
    for pre_rank in (average_rank, joint_cdf):
        assert 0.4 <= rank_of(pre_rank, cloud, value, key=KEY) <= 0.6
    assert rank_of(kernel_density, cloud, jnp.array([9.0]), key=KEY) < 0.2
    assert rank_of(band_depth, cloud, value, key=KEY) > 0.8


def test_copula_pit_is_the_rank_of_the_joint_cdf():
    _, key = jax.random.split(KEY)
    expected = rank_of(joint_cdf, jnp.asarray(POOL[1:]), jnp.asarray(POOL[0]), key=key)
    assert copula_pit(POOL[1:], POOL[0], key=KEY) == expected
    law = UniformBox([0.0, 0.0], [1.0, 1.0])
    found = copula_pit(law, np.array([0.5, 0.5]), key=KEY, num_samples=1000)
    # P(U V <= 1/4) = (1 + log 4) / 4
    assert found == pytest.approx((1 + np.log(4)) / 4, abs=0.06)


# --- density regions --------------------------------------------------------------------------
def test_level_of_a_normal_is_the_chi_square_cdf():
    law, noise = instance("full_normal"), jnp.array([[0.1, 0.2], [1.0, -0.5], [-2.0, 1.5]])
    level = jax.jit(lambda x: hpd_level(law, law.push(x), key=KEY, num_samples=4000))
    for x in noise:
        exact = stats.chi2(2).cdf(float(jnp.sum(x**2)))
        assert level(x) == pytest.approx(exact, abs=0.03)


def test_level_of_a_plateau_is_random():
    law = UniformBox([0.0], [1.0])
    levels = [float(hpd_level(law, np.array([x]), key=KEY, num_samples=50)) for x in (0.2, 0.9)]
    assert levels[0] == levels[1]
    assert hpd_level(law, np.array([1.5]), key=KEY, num_samples=50) > 0.98


def test_level_is_uniform_where_atoms_and_densities_meet():
    law = WetChicken().law(
        jnp.array([4.0, 3.0]), jnp.array([0.0, 0.0])
    )  # falls, stays, or is clipped

    def level(key):
        key_value, key = jax.random.split(key)
        value = law.sample(seed=key_value)
        return hpd_level(law, value, key=key, num_samples=30), pit(law, value, key=key)

    levels, values = jax.jit(jax.vmap(level))(jax.random.split(KEY, 2000))
    assert stats.kstest(levels, "uniform").pvalue > 0.002
    assert (stats.kstest(np.asarray(values), "uniform", axis=0).pvalue > 0.002).all()


# --- the truth and planted mistakes -----------------------------------------------------------
MODES = jnp.array([[-2.0, 0.0], [2.0, 0.0]])


def two_modes(shift=0.0, spread=1.0, weights=(0.5, 0.5), correlation=0.9):
    """Two modes, whose dimensions depend on each other; margins do not change with correlation."""
    tril = 0.5 * jnp.array([[1.0, 0.0], [correlation, jnp.sqrt(1 - correlation**2)]])
    trils = jnp.broadcast_to(spread * tril, (2, 2, 2))
    return FullNormalMixture(jnp.log(jnp.array(weights)), MODES + shift, trils)


@eqx.filter_jit
def diagnostics(model, truth):
    """Each diagnostic for 600 values of the truth, on clouds of 30 draws of the model."""

    def once(key):
        key_value, key_cloud, key = jax.random.split(key, 3)
        value = truth.sample(seed=key_value)
        cloud = jax.vmap(lambda k: model.sample(seed=k))(jax.random.split(key_cloud, 30))
        found = {f.__name__: rank_of(f, cloud, value, key=key) for f in PRE_RANKS}
        found["hpd_level"] = hpd_level(model, value, key=key, num_samples=100)
        exact = pit(model, value, key=key)
        return found | {"x": exact[0], "y": exact[1]}

    return jax.vmap(once)(jax.random.split(KEY, 600))


def p_values(**wrong):
    """Of the chi-square test of each histogram of ten bins; values are independent."""
    values = diagnostics(two_modes(**wrong), two_modes())
    return {k: stats.chisquare(np.histogram(v, 10, (0, 1))[0]).pvalue for k, v in values.items()}


def test_the_truth_is_flat():
    assert min(p_values().values()) > 0.005


@pytest.mark.parametrize(
    ("wrong", "blind"),
    [
        ({"shift": 0.5}, set()),
        ({"spread": 0.5}, set()),
        ({"weights": (1e-6, 1.0)}, {"y"}),
        ({"correlation": -0.9}, {"x", "y", "band_depth"}),
    ],
    ids=["shift", "halved spread", "dropped mode", "broken copula"],
)
def test_planted_mistakes_are_found(wrong, blind):
    """A broken copula leaves the margins flat, and what looks at margins alone."""
    found = p_values(**wrong)
    assert max(p for name, p in found.items() if name not in blind) < 1e-3
    assert min((found[name] for name in blind), default=1) > 0.005


@pytest.mark.parametrize("function", [hpd_level, copula_pit])
def test_refuses_values_of_another_size(function):
    with pytest.raises(ValueError, match="shape"):
        function(FullNormal([0.0, 0.0], np.eye(2)), np.zeros(3), key=KEY)


def test_refuses_samples_for_a_density():
    with pytest.raises(TypeError, match="must have a log_prob, but is a ndarray"):
        hpd_level(POOL, POOL[0], key=KEY)


def test_refuses_an_empty_cloud():
    with pytest.raises(ValueError, match="at least 1 sample"):
        rank_of(average_rank, jnp.zeros((0, 2)), jnp.zeros(2), key=KEY)
