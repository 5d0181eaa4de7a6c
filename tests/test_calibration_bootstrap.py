"""Intervals by resampling episodes: wider than the ones that take steps for independent."""

import math

import numpy as np
import pytest

from stochwm.calibration import episode_interval


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


def test_seed_and_level():
    values, episode = correlated(0)
    assert episode_interval(values, episode) == episode_interval(values, episode)
    assert episode_interval(values, episode, seed=1) != episode_interval(values, episode)
    _, low, high = episode_interval(values, episode)
    _, inner_low, inner_high = episode_interval(values, episode, level=0.5)
    assert low < inner_low < inner_high < high
