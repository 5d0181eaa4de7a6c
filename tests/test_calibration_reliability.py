"""Reliability curves and calibration errors, by hand and with planted mistakes."""

import numpy as np
import pytest

from stochwm.calibration import (
    calibration_bins,
    debiased_calibration_error,
    expected_calibration_error,
    miscalibration_area,
    quantile_calibration_error,
    reliability,
)

# Three bins of ten hold steps: (0.2, 0.3], (0.7, 0.8] with its edge, and the first with its zero.
PROBABILITY = np.array([0.0, 0.1, 0.3, 0.25, 0.8, 0.75, 0.71, 0.8])
LABEL = np.array([0, 1, 0, 1, 1, 1, 0, 1])
GAPS = (2 * abs(0.05 - 0.5) + 2 * abs(0.275 - 0.5) + 4 * abs(0.765 - 0.75)) / 8


def test_curve_by_hand():
    values = np.array([[0.1, 0.5], [0.5, 0.9], [0.2, 1.0]])
    curve = reliability(values, np.arange(3), np.array([0.1, 0.5, 0.95]))
    np.testing.assert_allclose(curve.observed, [1 / 6, 4 / 6, 5 / 6])
    assert curve.level.tolist() == [0.1, 0.5, 0.95]
    assert (curve.low <= curve.observed).all()
    assert (curve.observed <= curve.high).all()


def test_band_is_by_episode():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(50), 10)  # all steps of an episode alike
    by_episode = reliability(values, np.repeat(np.arange(50), 10))
    naive = reliability(values, np.arange(500))
    assert ((by_episode.low <= by_episode.level) & (by_episode.level <= by_episode.high)).all()
    ratio = (by_episode.high - by_episode.low) / (naive.high - naive.low)
    assert ratio.mean() == pytest.approx(np.sqrt(10), rel=0.15)
    assert np.isnan(reliability(values, np.zeros(500, int)).low).all()


def test_a_narrow_prediction_leaves_the_diagonal():
    values = np.random.default_rng(0).beta(0.5, 0.5, 400)
    curve = reliability(values, np.arange(400))
    assert curve.low[0] > curve.level[0]
    assert curve.high[-1] < curve.level[-1]


@pytest.mark.parametrize(
    ("values", "area"),
    [([0.5], 1 / 4), ([0.0, 0.0], 1 / 2), ([1.0], 1 / 2), ([0.25, 0.75], 1 / 8)],
)
def test_area_by_hand(values, area):
    assert miscalibration_area(np.array(values)) == pytest.approx(area)


def test_area_equals_a_slow_sum():
    values = np.random.default_rng(0).random((20, 2)) ** 2
    grid = (np.arange(20_000) + 0.5) / 20_000
    slow = np.mean(np.abs(np.mean(values.reshape(-1, 1) <= grid, axis=0) - grid))
    assert miscalibration_area(values) == pytest.approx(slow, abs=1e-4)


def test_area_of_calibrated_values():
    areas = [miscalibration_area(np.random.default_rng(s).random(100)) for s in range(100)]
    assert np.mean(areas) == pytest.approx(0.0313, rel=0.12)


def test_quantile_error_has_no_sampling_bias():
    """The share below u of values u^(1/2) is u^2: the error is that of u - u^2."""
    level = np.arange(1, 20) / 20
    truth = np.sqrt(np.mean((level - level**2) ** 2))
    errors, naive = [], []
    for seed in range(150):
        values = np.repeat(np.random.default_rng(seed).random(15) ** 0.5, 4)
        errors.append(quantile_calibration_error(values, np.repeat(np.arange(15), 4)) ** 2)
        below = np.mean(values[:, None] <= level, axis=0)
        naive.append(np.mean((below - level) ** 2))
    spread = np.std(errors) / np.sqrt(150)
    assert abs(np.mean(errors) - truth**2) < 3 * spread
    assert np.mean(naive) - truth**2 > 3 * spread


def test_quantile_error_of_calibrated_values_is_often_zero():
    errors = [
        quantile_calibration_error(np.random.default_rng(s).random(200), np.arange(200))
        for s in range(40)
    ]
    assert 0.3 < np.mean(np.array(errors) == 0) < 0.9
    assert np.isnan(quantile_calibration_error(np.array([0.2, 0.4]), np.zeros(2, int)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_expected_calibration_error_by_hand(dtype):
    probability = PROBABILITY.astype(dtype)
    table = calibration_bins(probability, LABEL)
    assert table.count.tolist() == [2, 0, 2, 0, 0, 0, 0, 4, 0, 0]
    np.testing.assert_allclose(table.edges, np.linspace(0, 1, 11))
    np.testing.assert_allclose(table.probability[[0, 2, 7]], [0.05, 0.275, 0.765], rtol=1e-6)
    np.testing.assert_allclose(table.frequency[[0, 2, 7]], [0.5, 0.5, 0.75])
    assert np.isnan(table.frequency[1])
    assert expected_calibration_error(probability, LABEL) == pytest.approx(GAPS, rel=1e-6)


def test_a_table_has_bins():
    with pytest.raises(ValueError, match="bins must be a whole number"):
        calibration_bins(PROBABILITY, LABEL, bins=0)


@pytest.mark.parametrize("dtype", [bool, int, float])
def test_events_that_are_certain_may_be_wrong(dtype):
    certain = np.array([1, 0, 1, 0]).astype(dtype)
    assert expected_calibration_error(certain, np.array([0, 1, 0, 1])) == 1
    assert calibration_bins(certain, np.array([1, 0, 1, 0])).count[[0, -1]].tolist() == [2, 2]


def test_of_classes_the_likeliest_is_the_event():
    """Two classes: the first one has the probability 0.8, 0.8, 0.6; and so has the likeliest."""
    classes = np.array([[0.8, 0.2], [0.2, 0.8], [0.6, 0.4]], np.float32)
    error = expected_calibration_error(classes, np.array([0, 0, 0]))
    assert error == pytest.approx((2 * abs(0.8 - 0.5) + abs(0.6 - 1)) / 3, rel=1e-6)


def test_debiased_error_by_hand():
    """Two bins of two episodes each: squared gaps less the variance of a mean of two."""
    probability, label = np.array([0.05, 0.05, 0.95, 0.95]), np.array([0, 1, 1, 1])
    gaps = (0.05 - 0.5) ** 2 - 0.25, (0.95 - 1) ** 2
    expected = np.sqrt(max((2 * gaps[0] + 2 * gaps[1]) / 4, 0))
    assert debiased_calibration_error(probability, label, np.arange(4)) == expected == 0
    label[0] = 1
    gaps = (0.05 - 1) ** 2, (0.95 - 1) ** 2
    found = debiased_calibration_error(probability, label, np.arange(4))
    assert found == pytest.approx(np.sqrt(np.mean(gaps)))
    assert np.isnan(debiased_calibration_error(probability, label, np.zeros(4, int)))


def test_full_bins_weigh_more_and_those_of_one_episode_nothing():
    """Two steps that are off by 0.95, six that are off by 0.05, and one that no other is like."""
    probability = np.array([0.05] * 2 + [0.95] * 6 + [0.5])
    found = debiased_calibration_error(probability, np.ones(9, int), np.arange(9))
    assert found == pytest.approx(np.sqrt((2 * 0.95**2 + 6 * 0.05**2) / 8))


def test_debiased_error_of_calibrated_probabilities_is_smaller():
    rng = np.random.default_rng(0)
    squares, plain, wrong = [], [], []
    for _ in range(40):
        probability = rng.random(300)
        label = (rng.random(300) < probability).astype(int)
        squares.append(debiased_calibration_error(probability, label, np.arange(300)))
        plain.append(expected_calibration_error(probability, label))
        moved = np.clip(probability + 0.2, 0, 1)
        wrong.append(debiased_calibration_error(moved, label, np.arange(300)))
    assert np.mean(squares) < 0.03 < 0.05 < np.mean(plain)
    assert np.mean(wrong) == pytest.approx(np.sqrt(np.mean(0.2**2)), abs=0.03)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([0.5, 1.2], [0, 1], r"probabilities must hold numbers in \[0, 1\]"),
        ([0.5, np.nan], [0, 1], "probabilities must hold numbers"),
        ([0.5, 0.5], [0, 2], "labels must be 2 whole numbers from 0 to 1"),
        ([[0.5, 0.6], [0.5, 0.5]], [0, 1], "must sum to 1, but one row sums to 1.1"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 5], "labels must be 2 whole numbers from 0 to 1"),
        ([], [], "probabilities must hold numbers"),
    ],
)
def test_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(np.array(probabilities), np.array(labels))
