"""Coverage of intervals, at atoms too, and how wide they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.calibration import central_level, coverage, covered, pit, sharpness
from stochwm.distributions import (
    DiagNormal,
    LatentStateDistribution,
    OneHotCategoricals,
    UniformMixture,
)
from stochwm.envs import WetChicken

LEVELS = np.array([0.5, 0.8, 0.9])


def test_coverage_by_hand():
    values = np.array([[0.5, 0.01], [0.3, 0.5], [0.96, 0.2], [0.1, 0.7]])
    np.testing.assert_allclose(central_level(values[:, 0]), [0, 0.4, 0.92, 0.8])
    expected = [[0.5, 0.5], [0.75, 0.75], [0.75, 0.75]]
    np.testing.assert_allclose(coverage(values, LEVELS), expected)
    np.testing.assert_allclose(coverage(values[:, 0], LEVELS), [0.5, 0.75, 0.75])


def test_an_interval_covers_what_lies_inside_its_quantiles():
    law, value = DiagNormal([0.0], [2.0]), np.linspace(-6, 6, 200)[:, None]
    values = jax.vmap(lambda x: pit(law, x, key=jax.random.key(0)))(value)
    inside = np.mean((value > law.quantile(0.05)) & (value < law.quantile(0.95)))
    assert coverage(values, np.array([0.9]))[0, 0] == pytest.approx(inside)


def test_at_an_atom_closed_intervals_cover_too_much_and_randomised_ones_do_not():
    """He is washed ashore (y = 0) more often than not: [0, q75] holds 75 %, not 50 %."""
    law = WetChicken().law(jnp.array([1.0, 0.5]), jnp.array([0.0, -1.0]))
    assert 0.5 < law.cdf(jnp.zeros(2))[1] < 0.75

    def once(key):
        key_value, key_cloud, key = jax.random.split(key, 3)
        value = law.sample(seed=key_value)
        cloud = jax.vmap(lambda k: law.sample(seed=k))(jax.random.split(key_cloud, 99))
        closed = jnp.stack([covered(cloud, value, level) for level in LEVELS.tolist()])
        return closed, pit(law, value, key=key), pit(cloud, value, key=key)

    closed, exact, ranked = jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(np.mean(closed, axis=0)[:, 1], 1 - (1 - LEVELS) / 2, atol=0.03)
    for values in (exact, ranked):
        np.testing.assert_allclose(coverage(values, LEVELS), LEVELS[:, None] * [1, 1], atol=0.035)


@pytest.mark.parametrize(
    ("number", "outside"),
    [(30, 2), (5, 1)],  # of 31 ranks 5 % are 1.55, of 6 ranks 0.3: but a value may be beyond all
)
def test_ends_of_a_closed_interval_are_order_statistics(number, outside):
    samples = np.random.default_rng(0).permutation(np.arange(float(number)))[:, None]
    values = np.arange(-1, number + 1)
    inside = [bool(covered(jnp.asarray(samples), jnp.array([float(x)]), 0.9)[0]) for x in values]
    assert inside == ((outside - 1 <= values) & (values <= number - outside)).tolist()


@pytest.mark.parametrize("bad", [np.nan, 1.5])
def test_refuses_what_is_no_pit_value(bad):
    with pytest.raises(ValueError, match="pit_values must hold numbers in"):
        coverage(np.array([0.5, bad]), LEVELS)


def test_sharpness_of_a_normal_and_of_its_samples():
    law = DiagNormal([1.0, -1.0], [0.5, 2.0])
    exact = sharpness(law, 0.9)
    np.testing.assert_allclose(exact.width, 2 * 1.6448536 * law.scale, rtol=1e-5)
    np.testing.assert_allclose(exact.std, law.scale, rtol=1e-6)
    samples = law.loc + law.scale * jax.random.normal(jax.random.key(0), (20_000, 2))
    measured = sharpness(samples, 0.9)
    np.testing.assert_allclose(measured.width, exact.width, rtol=0.03)
    np.testing.assert_allclose(measured.std, exact.std, rtol=0.03)
    assert (sharpness(law, 0.5).width < exact.width).all()


def test_sharpness_of_few_samples_by_hand():
    found = sharpness(np.array([[0.0], [1.0], [2.0], [3.0], [4.0]]), 0.5)
    assert (found.width[0], found.std[0]) == (2.0, pytest.approx(np.sqrt(2.5)))


@pytest.mark.parametrize(
    ("prediction", "level", "error", "message"),
    [
        (np.zeros((1, 2)), 0.9, ValueError, r"at least 2, but has shape \(1, 2\)"),
        (np.zeros(3), 0.9, ValueError, "samples"),
        (np.zeros((3, 1)), 1.0, ValueError, "level must be strictly between 0 and 1"),
        (
            LatentStateDistribution(jnp.zeros(1), OneHotCategoricals([0.0, 0.0])),
            0.9,
            NotImplementedError,
            "LatentStateDistribution has no quantile: pass samples",
        ),
        (
            UniformMixture(
                LatentStateDistribution(
                    jnp.zeros((2, 1)), OneHotCategoricals(jnp.zeros((2, 2)), (2,))
                )
            ),
            0.9,
            NotImplementedError,
            "UniformMixture has no quantile: pass samples",
        ),
    ],
)
def test_sharpness_refuses(prediction, level, error, message):
    with pytest.raises(error, match=message):
        sharpness(prediction, level)


def test_levels_are_no_percentages():
    """90 would take the whole cloud for the central 0.9 of it."""
    with pytest.raises(ValueError, match=r"level must hold numbers in \[0, 1\]"):
        covered(jnp.zeros((10, 1)), jnp.zeros(1), 90.0)
    with pytest.raises(ValueError, match=r"levels must hold numbers in \[0, 1\]"):
        coverage(np.full(10, 0.5), np.array([90.0]))
