"""Shares of the trusted part, and the bets on them, step by step."""

import numpy as np
import pytest

from stochwm.drift import Calibration, Coverage, Rehearsal, p_value_of_mean
from stochwm.drift.learn_then_test import share_of_trusted, significance

NAN = np.nan
# Two particles and three steps. Of the first episode both are trusted for a step, and one for two.
# The second ends after two steps; nothing of the third is trusted.
STATISTIC = np.array(
    [[[0, 2, 2], [0, 0, 2]], [[0, 0, 0], [0, 0, 0]], [[2, 2, 2], [2, 2, 2]]], float
)
LEVEL = np.array([[0.95, 0.5, 0.99], [0.3, 0.95, NAN], [0.99, 0.99, 0.99]])
SEEN = Rehearsal(STATISTIC, LEVEL)


def test_steps_count_by_their_trusted_particles_until_the_episode_ends():
    outside = Coverage(0.9, 0.05, horizon=3).outside(SEEN, 1.0)
    np.testing.assert_allclose(outside, [1 / 1.5, 1 / 2])
    inside = Calibration(horizon=3).inside(SEEN, 1.0, 0.5)
    np.testing.assert_allclose(inside, [0.5 / 1.5, 1 / 2])
    always = share_of_trusted(SEEN, np.inf, np.ones((3, 3), bool))
    np.testing.assert_array_equal(always, [1, 1, 1])


def test_chains_share_what_a_promise_may_err():
    assert significance(0.9) == pytest.approx(0.1 / 4)


def player(values, mean):
    """The most that he ever has, number by number."""
    wealth, most, seen, squares = 1.0, 1.0, [mean], [0.25]
    for value in values:
        gain, variance = mean - np.mean(seen), np.mean(squares)
        stake = min(max(gain, 0) / (variance + gain**2), 0.9 / (1 - mean))
        wealth *= 1 + stake * (mean - value)
        most = max(most, wealth)
        seen.append(value)
        squares.append((value - np.mean(seen)) ** 2)
    return most


@pytest.mark.parametrize("mean", [0.15, 0.6])
def test_the_p_value_is_one_over_the_most_that_the_player_had(mean):
    """Who wins for 40 steps and then loses does not lose what was proved."""
    rng = np.random.default_rng(0)
    values = np.append(rng.beta(2, 30, 40), rng.beta(30, 2, 10))
    assert player(values, mean) > 5 * player(values[:10], mean)
    assert p_value_of_mean(values, mean) == pytest.approx(1 / player(values, mean), rel=1e-9)


def test_a_table_of_values_is_refused():
    with pytest.raises(ValueError, match=r"values must have shape \[n\]"):
        p_value_of_mean(np.full((3, 4), 0.1), 0.5)
