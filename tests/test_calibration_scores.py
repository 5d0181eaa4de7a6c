"""Scores of one prediction: against slow oracles, closed forms, and planted wrong predictions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

from stochwm.calibration import covered, crps, energy_score, kernel_score

CLOUD = jnp.asarray(np.random.default_rng(0).normal(size=(20, 2)), "float32")
VALUE = jnp.array([0.3, -1.2])
many = jax.jit(jax.vmap(energy_score))


def slow_energy(samples, value):
    """Equation by equation, in float64; E|X - X'| is over different samples."""
    samples, value = np.asarray(samples, np.float64), np.asarray(value, np.float64)
    number = len(samples)
    to_value = np.mean([math.dist(x, value) for x in samples])
    pairs = [
        math.dist(samples[i], samples[j]) for i in range(number) for j in range(number) if i != j
    ]
    return to_value - 0.5 * np.mean(pairs)


@pytest.mark.parametrize("number", [2, 20])
def test_energy_score_equals_the_slow_one(number):
    expected = slow_energy(CLOUD[:number], VALUE)
    np.testing.assert_allclose(energy_score(CLOUD[:number], VALUE), expected, rtol=1e-5)


@pytest.mark.parametrize("number", [2, 3, 20])
def test_crps_equals_the_slow_one_in_each_dimension(number):
    expected = [slow_energy(CLOUD[:number, d : d + 1], VALUE[d : d + 1]) for d in range(2)]
    np.testing.assert_allclose(crps(CLOUD[:number], VALUE), expected, rtol=1e-5, atol=1e-6)


def test_energy_score_of_one_dimension_is_the_crps():
    one = CLOUD[:, :1], VALUE[:1]
    np.testing.assert_allclose(energy_score(*one), crps(*one)[0], rtol=1e-5)


@pytest.mark.parametrize("value", [-1.0, 0.5, 4.0])
def test_crps_of_a_normal(value):
    """Gneiting & Raftery (2007), equation 21 worked out for N(1, 2^2)."""
    draws = 1 + 2 * jax.random.normal(jax.random.key(1), (40_000, 1))
    z = (value - 1) / 2
    exact = 2 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    np.testing.assert_allclose(crps(draws, jnp.array([value]))[0], exact, atol=0.03)


def test_crps_keeps_its_digits_with_many_samples_far_from_zero():
    """The ranks of a sorted sum are large: float32 must not lose the score in them."""
    draws = 1000 + jax.random.normal(jax.random.key(2), (500, 1))
    value = jnp.array([1000.5])
    np.testing.assert_allclose(crps(draws, value)[0], slow_energy(draws, value), atol=2e-3)


@pytest.mark.parametrize("score", [energy_score, kernel_score, lambda *args: jnp.mean(crps(*args))])
def test_scores_are_fair(score):
    """Two samples and fifty have the same expected score; the usual form would differ by 0.2."""

    def mean_score(number, key):
        draws = jax.random.normal(key, (20_000, number, 1))
        scores = jax.jit(jax.vmap(lambda cloud: score(cloud, jnp.array([0.4]))))(draws)
        return float(scores.mean()), float(scores.std()) / math.sqrt(len(scores))

    few, error_few = mean_score(2, jax.random.key(0))
    more, error_more = mean_score(50, jax.random.key(1))
    assert abs(few - more) < 4 * math.hypot(error_few, error_more)
    assert math.hypot(error_few, error_more) < 0.01


def two_modes(rng, number, low=0.5, spread=0.3, shift=0.0):
    """Draws `[number, 2]` with modes at -2 and 2 of the first dimension."""
    mode = np.where(rng.random(number) < low, -2.0, 2.0)
    draws = spread * rng.normal(size=(number, 2)) + np.stack([mode, 0 * mode], axis=1) + shift
    return draws.astype(np.float32)


@pytest.mark.parametrize(
    "wrong",
    [{"shift": 0.5}, {"spread": 0.15}, {"spread": 0.6}, {"low": 1.0}, {"low": 0.75}],
    ids=str,
)
def test_a_wrong_prediction_scores_worse(wrong):
    """The truth has the best expected energy score: the score is proper."""
    rng = np.random.default_rng(3)
    values = two_modes(rng, 4000)
    truth, planted = (
        two_modes(rng, 4000 * 30, **options).reshape(4000, 30, 2) for options in ({}, wrong)
    )
    worse = np.asarray(many(planted, values) - many(truth, values))
    assert worse.mean() > 3 * worse.std() / math.sqrt(len(worse))


def test_gradient_at_coincident_points_is_finite():
    samples = jnp.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    for value in (jnp.array([1.0, 2.0]), jnp.array([5.0, 5.0])):
        for grad in jax.grad(energy_score, (0, 1))(samples, value):
            assert np.isfinite(grad).all()
    gradient = jax.grad(energy_score)(samples, jnp.array([5.0, 5.0]))
    assert np.abs(gradient[2]).sum() > 0


@pytest.mark.parametrize("score", [energy_score, crps])
def test_scores_refuse(score):
    with pytest.raises(ValueError, match=r"at least 2 samples.*\(1, 2\)"):
        score(jnp.zeros((1, 2)), jnp.zeros(2))
    with pytest.raises((ValueError, TypeError)):  # a TypeError where shapes are checked on entry
        score(jnp.zeros((5, 2)), jnp.zeros(3))


@pytest.mark.parametrize("number", [20, 50, 100])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_of_the_truth_is_its_level(number, level):
    """All ranks that another draw of the same law can have among the samples, each as likely."""
    samples = jnp.arange(number, dtype=float)[:, None]
    values = jnp.arange(number + 1, dtype=float)[:, None] - 0.5
    inside = jax.vmap(lambda value: covered(samples, value, level))(values)
    assert abs(float(inside.mean()) - level) <= 1 / (number + 1)
    inside = np.asarray(inside)[:, 0]
    assert (inside == inside[::-1]).all()


def test_coverage_is_by_dimension_and_closed():
    samples = jnp.stack([jnp.arange(11.0), jnp.zeros(11)], axis=1)
    assert covered(samples, jnp.array([5.0, 0.0])).tolist() == [True, True]
    assert covered(samples, jnp.array([-1.0, 0.1])).tolist() == [False, False]
    assert covered(samples, jnp.array([11.0, -0.1])).tolist() == [False, False]
    assert covered(samples, jnp.array([9.5, 0.0]), level=0.5).tolist() == [False, True]
