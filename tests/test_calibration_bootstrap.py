"""Intervals and tests by resampling episodes: wider, and slower to reject, than for steps."""

import math

import numpy as np
import pytest

from stochwm.calibration import episode_interval, episode_intervals, sign_flip_tests
from stochwm.calibration.bootstrap import episode_variance


def correlated(seed, episodes=40, steps=50):
    """Values that hardly change inside an episode."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(size=episodes), steps) + 0.1 * rng.normal(size=episodes * steps)
    return values, np.repeat(np.arange(episodes), steps)


def test_mean_is_over_steps_and_inside_the_interval():
    values, episode = correlated(0)
    mean, low, high = episode_interval(values, episode)
    assert mean == pytest.approx(values.mean())
    assert low < mean < high


def test_correlated_steps_widen_the_interval():
    values, episode = correlated(0)
    _, low, high = episode_interval(values, episode)
    _, low_iid, high_iid = episode_interval(values, np.arange(len(values)))
    assert high - low > 4 * (high_iid - low_iid)
    expected = 2 * 1.96 * values.reshape(40, 50).mean(axis=1).std() / math.sqrt(40)
    assert high - low == pytest.approx(expected, rel=0.15)


def test_the_interval_covers_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        _, low, high = episode_interval(*correlated(seed, steps=5), level=0.8)
        inside += low <= 0 <= high
    assert 68 <= inside <= 90


def test_long_episodes_weigh_more():
    values = np.array([0.0, 1.0, 1.0, 1.0])
    mean, low, high = episode_interval(values, np.array([3, 7, 7, 7]))
    assert (mean, low, high) == (0.75, 0.0, 1.0)


def test_one_episode_has_no_interval():
    mean, low, high = episode_interval(np.array([1.0, 2.0]), np.array([4, 4]))
    assert mean == 1.5
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("number", [1, 19])
def test_every_step_belongs_to_an_episode(number):
    with pytest.raises(ValueError, match=r"episode must say of each of 20 steps .*\[20\]"):
        episode_interval(np.zeros(20), np.zeros(number, int))


def test_seed_and_level():
    values, episode = correlated(0)
    assert episode_interval(values, episode) == episode_interval(values, episode)
    assert episode_interval(values, episode, seed=1) != episode_interval(values, episode)
    _, low, high = episode_interval(values, episode)
    _, inner_low, inner_high = episode_interval(values, episode, level=0.5)
    assert low < inner_low < inner_high < high


def test_intervals_of_columns_are_those_of_each():
    values, episode = correlated(0)
    both = np.stack([values, values**2], axis=1)
    columns = episode_intervals(both, episode)
    for i in range(2):
        alone = episode_interval(both[:, i], episode)
        np.testing.assert_allclose([part[i] for part in columns], alone)


def test_variance_of_the_mean_is_unbiased():
    means, variances = [], []
    for seed in range(200):
        values, episode = correlated(seed, episodes=6, steps=4)
        means.append(values.mean())
        variances.append(episode_variance(values[:, None], episode)[0])
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.25)
    assert np.mean(variances) == pytest.approx((1 + 0.01 / 4) / 6, rel=0.15)
    assert math.isnan(episode_variance(np.ones((3, 1)), np.zeros(3))[0])


def absolute(total):
    return np.abs(total[:, 0])


def test_flipped_signs_give_the_share_of_sums_as_large():
    """Of the sums +-1 +-2 +-4, two of eight are as large as 1 + 2 + 4."""
    (test,) = sign_flip_tests(np.array([[1.0], [2.0], [4.0]]), [absolute])
    assert test.statistic == 7
    assert test.p_value == pytest.approx(2 / 8, abs=0.05)
    (small,) = sign_flip_tests(np.array([[4.0], [-2.0], [-1.0]]), [absolute])
    assert small.p_value == 1


def test_p_values_of_centred_episodes_are_uniform():
    p_values = []
    for seed in range(150):
        values, _ = correlated(seed, episodes=10, steps=2)
        (test,) = sign_flip_tests(values.reshape(10, 2).sum(axis=1)[:, None], [absolute], seed=seed)
        p_values.append(test.p_value)
    assert 0.12 < np.mean(np.array(p_values) <= 0.2) < 0.3
    assert 0.4 < np.mean(np.array(p_values) <= 0.5) < 0.6


def test_one_episode_tests_nothing():
    (test,) = sign_flip_tests(np.ones((1, 1)), [absolute])
    assert test.statistic == 1
    assert math.isnan(test.p_value)


def test_p_values_are_no_less_than_the_signs_allow():
    """Two of sixteen resamples of four episodes are the data, in whatever order they are added."""
    for seed in range(50):
        same_side = np.random.default_rng(seed).random((4, 1))
        (few,) = sign_flip_tests(same_side, [absolute])
        assert few.p_value == pytest.approx(2 / 16, abs=0.05)
    (many,) = sign_flip_tests(np.ones((60, 1)), [absolute])
    assert many.p_value == 1 / 1001  # the data themselves are one of the resamples
