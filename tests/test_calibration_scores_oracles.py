"""The scores of samples against slow ones in plain float64: sums, term by term."""

import math

import numpy as np
import pytest

from stochwm.calibration import (
    crps,
    dawid_sebastiani,
    energy_score,
    interval_score,
    kernel_score,
    quantile_score,
    threshold_weighted_crps,
    variogram_score,
)
from tests.precision import x64

RNG = np.random.default_rng(0)
SAMPLES = RNG.normal(size=(7, 3))
SAMPLES[3] = SAMPLES[1]  # coincident samples
VALUE = np.array([0.3, SAMPLES[1, 1], -2.5])
WEIGHTS = np.array([0.1, 0.3, 0.05, 0.2, 0.2, 0.15, 0.0])
PAIRS = RNG.uniform(size=(3, 3))
H = np.array([0.5, 1.0, 2.0])
LOW, HIGH = np.array([-0.5, -0.2, -1.0]), np.array([0.4, 1.0, 2.0])


def slow_mean_distance(distance, samples, value, weights, fair):
    """`E d(X, y) - E d(X, X') / 2`, term by term."""
    number = len(samples)
    weights = [1 / number] * number if weights is None else weights
    near = sum(w * distance(x, value) for w, x in zip(weights, samples, strict=True))
    pairs = [(i, j) for i in range(number) for j in range(number) if i != j or not fair]
    mass = sum(weights[i] * weights[j] for i, j in pairs)
    apart = sum(weights[i] * weights[j] * distance(samples[i], samples[j]) for i, j in pairs)
    return near - 0.5 * apart / mass


def slow_crps(samples, value, weights, fair):
    return [
        slow_mean_distance(lambda a, b: abs(a - b), samples[:, d], value[d], weights, fair)
        for d in range(len(value))
    ]


def slow_threshold(samples, value, weights, fair):
    clip = lambda x: np.minimum(np.maximum(x, LOW), HIGH)  # noqa: E731
    return slow_crps(clip(samples), clip(value), weights, fair)


def slow_kernel(samples, value, weights, fair):
    distance = lambda a, b: 1 - math.exp(-0.5 * sum(((a - b) / H) ** 2))  # noqa: E731
    return slow_mean_distance(distance, samples, value, weights, fair)


def slow_variogram(samples, value, fair):
    total = 0.0
    for i in range(3):
        for j in range(3):
            each = [abs(x[i] - x[j]) ** 0.7 for x in samples]
            error = (abs(value[i] - value[j]) ** 0.7 - np.mean(each)) ** 2
            total += PAIRS[i, j] * (error - fair * np.var(each, ddof=1) / len(each))
    return total


WEIGHTED = {
    "crps": (crps, slow_crps, {}),
    "threshold": (threshold_weighted_crps, slow_threshold, {"lower": LOW, "upper": HIGH}),
    "energy": (
        energy_score,
        lambda *a: slow_mean_distance(math.dist, *a),
        {},
    ),
    "kernel": (kernel_score, slow_kernel, {"bandwidth": H}),
}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("fair", [True, False], ids=["fair", "plain"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_scores_of_samples_are_the_slow_ones(name, fair, weights):
    score, slow, options = WEIGHTED[name]
    with x64():
        came = score(SAMPLES, VALUE, fair=fair, weights=weights, **options)
    np.testing.assert_allclose(came, slow(SAMPLES, VALUE, weights, fair), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fair", [True, False])
def test_variogram_score_is_the_slow_one(fair):
    with x64():
        came = variogram_score(SAMPLES, VALUE, p=0.7, weights=PAIRS, fair=fair)
    np.testing.assert_allclose(came, slow_variogram(SAMPLES, VALUE, fair), rtol=1e-9)


def test_dawid_sebastiani_of_samples_is_the_slow_one():
    scale = np.array([1.0, 1e-3, 1e4])  # a badly conditioned covariance
    samples, value = SAMPLES * scale, VALUE * scale
    covariance = np.cov(samples.T)
    residual = value - samples.mean(axis=0)
    expected = np.linalg.slogdet(covariance)[1] + residual @ np.linalg.inv(covariance) @ residual
    with x64():
        np.testing.assert_allclose(dawid_sebastiani(samples, value), expected, rtol=1e-9)
    np.testing.assert_allclose(dawid_sebastiani(samples, value), expected, rtol=1e-3)


def slow_pinball(quantile, value, level):
    return (level if value >= quantile else level - 1) * (value - quantile)


def test_quantile_score_of_samples_is_the_slow_one():
    levels = [0.1, 0.5, 0.77]
    quantiles = np.quantile(SAMPLES, levels, axis=0)
    expected = [
        2 * np.mean([slow_pinball(q[d], VALUE[d], a) for q, a in zip(quantiles, levels, strict=1)])
        for d in range(3)
    ]
    with x64():
        np.testing.assert_allclose(quantile_score(SAMPLES, VALUE, levels), expected, rtol=1e-9)


def test_interval_score_of_samples_is_the_slow_one():
    low, high = np.quantile(SAMPLES, [0.1, 0.9], axis=0)
    missed = np.where(VALUE < low, low - VALUE, np.where(VALUE > high, VALUE - high, 0.0))
    assert (missed > 0).any()
    assert (missed == 0).any()
    with x64():
        came = interval_score(SAMPLES, VALUE, 0.8)
    np.testing.assert_allclose(came, high - low + 2 / 0.2 * missed, rtol=1e-9)


def test_quantile_score_is_the_weighted_interval_score():
    """Bracher et al. (2021), equation 3; the distance to the median counts, not the median."""
    alphas = [0.2, 0.5]
    with x64():
        median = 0.5 * quantile_score(SAMPLES, VALUE, 0.5)  # |y - m| / 2
        intervals = sum(a / 2 * interval_score(SAMPLES, VALUE, 1 - a) for a in alphas)
        came = np.asarray(quantile_score(SAMPLES, VALUE, [0.1, 0.25, 0.5, 0.75, 0.9]))
        expected = np.asarray(median + intervals) / (len(alphas) + 0.5)
    np.testing.assert_allclose(median, 0.5 * abs(VALUE - np.median(SAMPLES, axis=0)), rtol=1e-9)
    np.testing.assert_allclose(came, expected, rtol=1e-9)
    assert (came > 0).all()
