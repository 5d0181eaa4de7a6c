"""PIT values: uniform for the truth, atoms included, and tests of that which respect episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import ndtr
from scipy import stats

from stochwm.calibration import pit, pit_histogram, pit_tests
from stochwm.distributions import (
    BoxMixture,
    Deterministic,
    DiagNormal,
    DiagNormalMixture,
    Joint,
    OneHotCategoricals,
    UniformBox,
    UniformMixture,
)
from tests.cases import instance

BOXES = BoxMixture([0.0, 0.5, -0.5], [[0, 1], [0, 0], [1, 0]], [[0, 1], [0, 2], [1, 0]])
STACKED = OneHotCategoricals(jnp.array([[0.0, 1.0, -1.0], [0.5, 0.5, 0.0]]))
WITH_ATOMS = {
    "boxes": BOXES,
    "box": UniformBox([0.0, 0.0], [0.0, 1.0]),
    "deterministic": Deterministic(jnp.array([0.3, -1.0])),
    "categoricals": OneHotCategoricals([0.0, 1.0, 2.0, 0.0, -1.0], (3, 2)),
    "joint": Joint([DiagNormal([1.0], [2.0]), BOXES]),
    "ensemble": UniformMixture(STACKED),
}
CONTINUOUS = {"mixture": instance("diag_mixture"), "no cdf": instance("autoregressive_bins")}


def own_values(law, number=1500):
    """The PIT of a law at its own draws, `[number, dim]`."""

    @jax.jit
    @jax.vmap
    def at(key):
        key_value, key = jax.random.split(key)
        return pit(law, law.sample(seed=key_value), key=key, num_samples=20)

    return np.asarray(at(jax.random.split(jax.random.key(0), number)))


def p_values(values):
    """Of the Kolmogorov-Smirnov test for independent values, each dimension by itself."""
    return np.array([stats.kstest(column, "uniform").pvalue for column in values.T])


@pytest.mark.parametrize("name", [*WITH_ATOMS, *CONTINUOUS])
def test_values_of_the_truth_are_uniform(name):
    values = own_values((WITH_ATOMS | CONTINUOUS)[name])
    assert ((values >= 0) & (values <= 1)).all()
    assert (p_values(values) > 0.002).all()


@pytest.mark.parametrize("name", WITH_ATOMS)
def test_limits_of_the_cdf_are_shares_of_draws(name):
    law = WITH_ATOMS[name]
    draw = jax.jit(jax.vmap(lambda seed: law.sample(seed=seed)))
    draws = draw(jax.random.split(jax.random.key(1), 4000))
    for value in (draws[0], draws[1], draws[2]):
        left, right = law.cdf_limits(value)
        np.testing.assert_allclose(left, jnp.mean(draws < value, axis=0), atol=0.04)
        np.testing.assert_allclose(right, jnp.mean(draws <= value, axis=0), atol=0.04)
        np.testing.assert_allclose(right, law.cdf(value), atol=1e-6)


def test_limits_agree_where_there_is_no_atom():
    law, value = CONTINUOUS["mixture"], jnp.array([0.3, 1.0])
    left, right = law.cdf_limits(value)
    assert (left == right).all()
    np.testing.assert_array_equal(pit(law, value, key=jax.random.key(0)), law.cdf(value))


def test_what_rounding_moved_off_an_atom_is_on_it():
    """As `log_prob` sees it: otherwise the value of a world would be impossible, or certain."""
    law = UniformBox([0.3], [0.3])
    moved = jnp.finfo(law.low.dtype).eps
    for value in (0.3 - moved, 0.3 + moved):
        left, right = law.cdf_limits(jnp.array([value]))
        assert (left[0], right[0]) == (0, 1)
    assert law.cdf_limits(jnp.array([0.3001])) == (1, 1)


def test_ranks_among_draws_with_ties_are_exactly_uniform():
    """Few values, few draws: every cell of width 1 / 5 is as likely."""
    draws = jax.random.randint(jax.random.key(0), (6000, 5, 2), 0, 3).astype(float)
    keys = jax.random.split(jax.random.key(1), 6000)
    values = jax.jit(jax.vmap(lambda x, key: pit(x[1:], x[0], key=key)))(draws, keys)
    assert (p_values(np.asarray(values)) > 0.002).all()
    above = pit(np.zeros((4, 1)), np.ones(1), key=jax.random.key(2))
    assert 0.8 <= above[0] <= 1


@pytest.mark.parametrize("samples", [False, True])
def test_what_is_not_a_number_is_not_ranked(samples):
    law = np.zeros((4, 1)) if samples else DiagNormal([0.0], [1.0])
    with pytest.raises(ValueError, match="value must be finite"):
        pit(law, np.array([np.nan]), key=jax.random.key(0))
    inside = jax.jit(lambda value: pit(law, value, key=jax.random.key(0)))
    assert np.isnan(inside(np.array([np.nan], np.float32)))


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros((1, 2))])
@pytest.mark.parametrize("law", [BOXES, np.zeros((4, 2))])
def test_refuses_values_of_another_shape(law, value):
    with pytest.raises(ValueError, match="shape"):
        pit(law, value, key=jax.random.key(0))


# --- tests of uniformity ----------------------------------------------------------------------
def dependent(seed, episodes=20, steps=15, decay=0.9, shift=0.0, spread=1.0):
    """Normal scores that change slowly inside an episode, as PIT values, and their episodes."""
    rng = np.random.default_rng(seed)
    score = np.zeros((episodes, steps))
    score[:, 0] = rng.normal(size=episodes)
    for t in range(1, steps):
        fresh = np.sqrt(1 - decay**2) * rng.normal(size=episodes)
        score[:, t] = decay * score[:, t - 1] + fresh
    values = np.asarray(ndtr(shift + spread * score), float)
    return values.ravel(), np.repeat(np.arange(episodes), steps)


def test_statistics_are_those_of_scipy():
    values, episode = dependent(0, shift=0.2)
    tests = pit_tests(values, episode)
    expected = stats.kstest(values, "uniform").statistic
    assert tests.kolmogorov_smirnov.statistic == pytest.approx(expected, abs=1 / 100)
    expected = stats.cramervonmises(values, "uniform").statistic
    assert tests.cramer_von_mises.statistic == pytest.approx(expected, rel=0.05)
    counts = np.histogram(values, 10, (0, 1))[0]
    assert tests.chi_square.statistic == pytest.approx(stats.chisquare(counts).statistic)
    score = stats.norm.ppf(values).reshape(20, 15)
    score -= score.mean()
    expected = np.mean(score[:, 1:] * score[:, :-1]) / np.mean(score**2)
    assert tests.serial.statistic == pytest.approx(expected, rel=1e-4)


def test_dependence_inside_episodes_is_no_evidence_and_naive_tests_take_it_for_some():
    def rejected(seeds, cluster):
        runs = [pit_tests(dependent(seed)[0], cluster, seed=seed) for seed in range(seeds)]
        return np.mean([[test.p_value <= 0.2 for test in run[:3]] for run in runs], axis=0)

    _, episode = dependent(0)
    # Four standard errors of 100 tosses at 0.2 are 0.16.
    assert (np.abs(rejected(100, episode) - 0.2) < 0.16).all()
    assert (rejected(15, np.arange(len(episode))) > 0.5).all()


@pytest.mark.parametrize("wrong", [{"shift": 0.7}, {"spread": 2.0}], ids=str)
def test_planted_mistakes_are_found(wrong):
    tests = pit_tests(*dependent(0, episodes=30, decay=0.5, **wrong))
    assert tests.chi_square.p_value < 0.01
    assert tests.kolmogorov_smirnov.p_value < 0.05
    assert tests.cramer_von_mises.p_value < 0.05


def test_serial_dependence_is_found_and_a_shift_is_none():
    assert pit_tests(*dependent(0)).serial.p_value < 0.01
    shifted = pit_tests(*dependent(0, decay=0.0, shift=1.0, episodes=40))
    assert shifted.serial.p_value > 0.05
    assert shifted.chi_square.p_value < 0.01


def test_lag_looks_past_the_dependence_of_overlapping_forecasts():
    """Moving averages of 3: scores 3 steps apart share nothing, scores 1 step apart do."""
    noise = np.random.default_rng(0).normal(size=(40, 22))
    score = (noise[:, 2:] + noise[:, 1:-1] + noise[:, :-2]) / np.sqrt(3)
    values, episode = np.asarray(ndtr(score), float).ravel(), np.repeat(np.arange(40), 20)
    assert pit_tests(values, episode).serial.p_value < 0.01
    assert pit_tests(values, episode, lag=3).serial.p_value > 0.05
    assert np.isnan(pit_tests(values, episode, lag=20).serial.p_value)


def test_dimensions_are_tested_together_and_episodes_need_no_order():
    good, episode = dependent(0, decay=0.0)
    bad, _ = dependent(1, decay=0.0, shift=1.0)
    both = pit_tests(np.stack([good, bad], axis=1), episode)
    alone = pit_tests(bad, episode)
    assert both.kolmogorov_smirnov.statistic == alone.kolmogorov_smirnov.statistic
    assert both.chi_square.p_value < 0.01
    parts = pit_tests(good, episode), alone
    for name in ("cramer_von_mises", "chi_square"):
        total = sum(getattr(part, name).statistic for part in parts)
        assert getattr(both, name).statistic == pytest.approx(total)
    # Steps of the episodes in turns: each episode is still in the order of time.
    turns = np.argsort(np.tile(np.arange(15), 20), kind="stable")
    mixed = pit_tests(bad[turns], episode[turns])
    assert mixed.serial.statistic == pytest.approx(alone.serial.statistic)
    assert mixed.chi_square == alone.chi_square


def test_histogram_by_hand():
    values = np.array([0.0, 0.1, 0.25, 0.3, 0.7, 1.0])
    found = pit_histogram(values, np.arange(6), bins=10)
    np.testing.assert_allclose(found.share * 6, [2, 0, 2, 0, 0, 0, 1, 0, 0, 1])
    np.testing.assert_allclose(found.edges, np.linspace(0, 1, 11))


def test_band_of_the_histogram_holds_calibrated_values():
    values = np.random.default_rng(0).random((600, 2))
    found = pit_histogram(values, np.repeat(np.arange(60), 10))
    assert found.share.shape == found.low.shape == (10, 2)
    assert ((found.low < found.share) & (found.share < found.high)).mean() > 0.8
    width = 2 * 1.96 * np.sqrt(0.1 * 0.9 / 600)
    np.testing.assert_allclose((found.high - found.low).mean(), width, rtol=0.15)
    narrow = pit_histogram(values**3, np.repeat(np.arange(60), 10))
    assert (narrow.share[0] > narrow.high[0]).all()


def test_a_single_episode_says_nothing():
    values, alone = np.linspace(0, 1, 9), np.zeros(9, int)
    tests = pit_tests(values, alone)
    assert all(np.isnan(test.p_value) for test in tests)
    assert np.isfinite(tests.chi_square.statistic)
    assert np.isnan(pit_histogram(values, alone).low).all()


@pytest.mark.parametrize("test", [pit_tests, pit_histogram])
@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_refuses_what_is_no_level(test, bad):
    with pytest.raises(ValueError, match=r"values must hold numbers in \[0, 1\], but 1 of 2"):
        test(np.array([0.5, bad]), np.arange(2))


@pytest.mark.parametrize("test", [pit_tests, pit_histogram])
def test_refuses_no_bin(test):
    with pytest.raises(ValueError, match="bins must be a whole number"):
        test(np.array([0.2, 0.5]), np.arange(2), bins=0)


def test_refuses_a_lag():
    with pytest.raises(ValueError, match="lag must be at least 1, but is 0"):
        pit_tests(np.array([0.2, 0.5]), np.arange(2), lag=0)


def test_a_dropped_mode_is_found():
    law = DiagNormalMixture([0.0, 0.0], [[-2.0], [2.0]], [[0.5], [0.5]])
    one_mode = DiagNormal([2.0], [0.5])
    keys = jax.random.split(jax.random.key(0), 200)
    values = jax.jit(jax.vmap(lambda key: pit(one_mode, law.sample(seed=key), key=key)))(keys)
    tests = pit_tests(np.asarray(values), np.arange(200) // 5)
    assert tests.kolmogorov_smirnov.p_value < 0.01
