"""Series of surprises by episode: ragged, in any order, and silent after their end."""

import math

import jax
import numpy as np
import pytest

from stochwm.drift import ConformalMartingale, Cusum
from stochwm.drift.episode_threshold import by_episode, episode_threshold


def test_a_series_is_cut_where_its_episodes_are():
    """Episode 7 goes on between the steps of 3, as several environments in turn give them."""
    episode = np.array([7, 3, 7, 3, 3, 7, 9])
    series = by_episode(np.arange(1.0, 8.0), episode, 2)
    np.testing.assert_array_equal(series.surprise, [[2, 4], [1, 3], [7, 0]])
    np.testing.assert_array_equal(series.mask, [[True, True], [True, True], [True, False]])
    whole = by_episode(np.arange(1.0, 8.0), episode, 3).surprise
    np.testing.assert_array_equal(whole, [[2, 4, 5], [1, 3, 6], [7, 0, 0]])


def test_what_never_came_after_an_end_is_no_surprise():
    """Where surprises are negative, a 0 in the place of none would be the largest of all."""
    rng = np.random.default_rng(0)
    short, long = np.full(18, -3.0), rng.normal(-3.0, 0.1, 6)
    series = by_episode(np.append(short, long), np.append(np.arange(18), np.full(6, 18)), 6)
    threshold = episode_threshold(Cusum(-3.0, 1.0, 0.0, allowance=0.0), series, 0.05)
    total = most = 0.0
    for value in long:
        total = max(0.0, total + value + 3)
        most = max(most, total)
    assert threshold == pytest.approx(most, rel=1e-4)


def test_the_threshold_for_any_number_of_steps_is_villes():
    surprise = np.random.default_rng(0).normal(size=30)
    detector = ConformalMartingale.fit(surprise, key=jax.random.key(0), false_alarm=0.02)
    assert float(detector.threshold) == pytest.approx(math.log(50))
