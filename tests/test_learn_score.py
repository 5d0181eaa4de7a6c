"""What the numbers mean, in words: each sentence on numbers that call for it."""

import numpy as np
import pytest

from stochwm._learn.config import LearnConfig
from stochwm._learn.futures import longest
from stochwm._learn.page import NEEDS, snap
from stochwm._learn.score import sentences, spread_of
from stochwm.calibration import Sample, Score, Scorecard, choose_starts
from stochwm.data import Episodes, FlatSpace
from stochwm.drift.rehearsal import units_of

LINE = FlatSpace(1, (-np.inf,), (np.inf,), (), ("x",))
LABELS = {"model": "mixture", "baseline": "Gaussian"}


EPISODES = 10


def card(nll, energy=1.0, coverage=0.88, seed=0, episodes=EPISODES):
    """A card whose `nll` scatters between episodes by 0.3; one seed, one scatter."""
    scores, samples = [], {}
    if nll is not None:
        wobble = np.random.default_rng(seed).normal(size=episodes)
        values = nll + 0.3 * (wobble - wobble.mean())
        scores = [Score("nll", 1, nll, nll - 0.2, nll + 0.2, 100)]
        samples["model", "nll", 1] = Sample(values, np.arange(episodes), "same")
    for horizon in (1, 5):
        scores.append(Score("energy", horizon, energy * horizon, 0.0, 9.0, 100))
        scores.append(Score("coverage90", horizon, coverage, 0.0, 1.0, 100))
    return Scorecard(tuple(scores), samples=samples)


def say(model, baseline, law=None, modes=None):
    cards = {"model": model, "baseline": baseline, "persistence": card(None, energy=2.0)}
    if law is not None:
        cards["law"] = law
    return sentences(cards, LABELS, modes or {})


def test_a_better_mixture():
    said = say(card(0.0), card(0.7, seed=1))
    assert "mixture ensemble predicts held-out next states better" in said[0]
    assert "0.70 nats a step (95 % interval 0." in said[0]
    assert "2.0 times as probable" in said[0]


@pytest.mark.parametrize("gain", [20.0, 1_000.0])
def test_a_far_better_mixture(gain):
    """A Gaussian that is sure of what does not happen: e to the 1,000 is no float."""
    said = say(card(0.0), card(gain, seed=1))
    assert "more than a million times as probable" in said[0]


def test_a_better_gaussian():
    said = say(card(0.7), card(0.0, seed=1))
    assert "The Gaussian ensemble predicts held-out next states better by 0.70 nats" in said[0]
    assert "(95 % interval 0." in said[0]


def test_no_difference_beyond_the_interval():
    said = say(card(0.0), card(0.07, seed=1))
    assert "about equally well: the difference is 0.07 nats a step, 95 % interval -0." in said[0]


def test_a_difference_in_pairs_counts_though_the_intervals_overlap():
    """Hard episodes are hard for both: 0.07 less in each of them is no chance."""
    said = say(card(0.0), card(0.07))
    assert "mixture ensemble predicts held-out next states better" in said[0]
    assert "0.07 nats a step (95 % interval 0.07 to 0.07)" in said[0]


@pytest.mark.parametrize(("gain", "winner"), [(0.7, "mixture"), (-0.7, "Gaussian")])
def test_without_intervals_nothing_is_claimed_to_be_equal(gain, winner):
    said = say(card(0.0, episodes=1), card(gain, episodes=1))
    assert f"The {winner} ensemble predicts the held-out episode better" in said[0]
    assert "0.70 nats a step; a single episode has no interval" in said[0]


def test_the_distance_to_the_law_is_the_models():
    said = say(card(0.7), card(0.0), law=card(-0.5))
    assert "The mixture ensemble is 1.200 nats a step away from the true law" in said[1]
    assert "away from" not in " ".join(say(card(0.7), card(0.0), law=card(None)))


def test_modes():
    found = {"model": {"recall": 0.961, "precision": 1.0, "weight_error": 0.0123}}
    assert "It finds 96 % of the law's modes" in say(card(0.0), card(1.0), modes=found)[1]
    skipped = {"model": {"skipped": "no modes"}}
    assert "modes" not in " ".join(say(card(0.0), card(1.0), modes=skipped))


def test_futures_at_the_last_horizon_against_persistence():
    said = say(card(0.0), card(1.0))[-1]
    assert said.startswith("5 steps ahead, open loop, its futures score 5.000")
    assert "better than assuming that nothing changes (10.000)" in said
    assert "hold 88 % of" in said
    assert "worse than assuming" in say(card(0.0, energy=3.0), card(1.0))[-1]


def test_densities_that_could_not_be_scored():
    assert say(card(None), card(1.0)) == [
        "The one-step densities could not be scored; see what was skipped."
    ]


def test_the_caption_of_the_table_is_of_every_horizon():
    assert NEEDS["nll"] == "negative log-likelihood, nats; lower is better"  # not of one step
    assert "score of the joint state, in training standard deviations;" in NEEDS["energy"]


def test_snap_is_the_nearest_state_and_keeps_gaps():
    space = FlatSpace(3, (0.0,) * 3, (1.0,) * 3, ((0, 3),), ("a", "b", "c"))
    drawn = np.array([[0.2, 0.9, -0.3], [1.4, 1.3, 0.0], [np.nan] * 3], np.float32)
    np.testing.assert_array_equal(snap(drawn, space), [[0, 1, 0], [1, 0, 0], [np.nan] * 3])
    assert np.isnan(drawn[2]).all()


def test_charts_end_where_the_longest_real_future_does():
    """Beyond, there are no recorded actions to imagine under: those rows are filled up."""
    first = np.isin(np.arange(12), (0, 5))
    episodes = Episodes(
        np.arange(12.0)[:, None],
        np.arange(1.0, 13)[:, None],
        np.zeros(12),
        first,
        np.roll(first, -1),
        np.zeros(12, bool),
        observation_space=LINE,
        action_space=LINE,
    )
    starts = longest(choose_starts(episodes, 1_000, 30))
    np.testing.assert_array_equal(starts.state, [[5]])
    np.testing.assert_array_equal(starts.future[0, :, 0], np.arange(6, 12))
    np.testing.assert_array_equal(starts.action[0, :, 0], np.arange(6, 12))
    assert starts.mask.all()


def test_default_choices_can_be_scored():
    config = LearnConfig("stochwm/Fork-v0")
    assert max(config.horizons) == 20


def test_a_constant_has_a_spread_of_one_though_sums_of_float32_are_rounded():
    rows = 20_000
    still, varied = np.full(rows, 0.1), 1_000 + 0.01 * np.random.default_rng(0).normal(size=rows)
    space = FlatSpace(2, (-np.inf,) * 2, (np.inf,) * 2, (), ("still", "varied"))
    first, last = (np.arange(rows) % 100 == i for i in (0, 99))
    episodes = Episodes(
        np.stack([still, varied], axis=1),
        np.zeros((rows, 2)),
        np.zeros(rows),
        first,
        last,
        np.zeros(rows, bool),
        observation_space=space,
        action_space=space,
    )
    for spread in (spread_of(episodes), units_of(episodes)):
        np.testing.assert_allclose(spread, [1.0, np.std(varied)], rtol=0.01)
