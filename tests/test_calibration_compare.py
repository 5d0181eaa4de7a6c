"""Two models at the same starts: differences in pairs."""

import json
import math

import jax
import numpy as np
import pytest

from stochwm.calibration import Sample, Score, Scorecard, compare, episode_interval, evaluate
from tests.test_calibration_evaluate import EPISODES, UNEVEN, line

KEY = jax.random.key(0)
OPTIONS = {"key": KEY, "horizons": (1, 3), "num_particles": 20, "num_starts": 100}


@pytest.fixture(scope="module")
def cards():
    """A line, and one with a slight bias."""
    return [evaluate(line(bias=bias), EPISODES, **OPTIONS) for bias in (0.3, 0.33)]


def test_the_interval_is_that_of_the_paired_difference(cards):
    """Of the log score of two normals, whose difference is known step by step."""
    good, bad = cards
    rows = EPISODES.transitions()
    error = rows.next_state - (0.8 * rows.state - 0.5 * rows.action + 0.3)
    exact = ((error - 0.03) ** 2 - error**2)[:, 0] / (2 * 0.2**2)
    found = compare(bad, good, "nll")
    assert found[2:5] == pytest.approx(episode_interval(exact, rows.episode), rel=1e-3, abs=1e-5)
    assert (found.metric, found.horizon, found.count) == ("nll", 1, 360)
    back = compare(good, bad, "nll")
    assert back[2:5] == pytest.approx((-found.difference, -found.high, -found.low), abs=1e-6)


def test_pairs_tell_what_two_intervals_do_not(cards):
    good, bad = (card.get("energy", 3) for card in cards)
    assert bad.low < good.high
    found = compare(*cards, "energy", 3)
    assert found.high < 0
    assert found.difference == pytest.approx(good.value - bad.value, abs=1e-6)
    assert str(found).startswith(f"energy at horizon 3: difference {found.difference:.4f} [")


def test_shifted_moves_the_pairs(cards):
    good, bad = cards
    shift = compare(good.shifted("nll", 2.0), bad, "nll").difference
    assert shift == pytest.approx(2 + compare(good, bad, "nll").difference, abs=1e-5)
    same = compare(good.shifted("nll", 2.0), bad, "energy", 3)
    assert same == compare(good, bad, "energy", 3)


def test_what_stands_beside_a_model_is_compared_too(cards):
    good, bad = cards
    unmoved = compare(good.only("persistence"), bad.only("persistence"), "crps", 3)
    assert unmoved[2:5] == (0, 0, 0)


def test_a_card_from_json_must_be_scored_again(cards):
    good, bad = cards
    stored = Scorecard.from_json(json.loads(json.dumps(good.to_json())))
    with pytest.raises(ValueError, match="card_a holds no values .* Score the model again"):
        compare(stored, bad, "nll")
    with pytest.raises(ValueError, match="card_b holds no values"):
        compare(bad, stored, "nll")


def test_other_starts_are_refused(cards):
    good, _ = cards
    other = evaluate(line(), UNEVEN, **OPTIONS | {"horizons": (1,)})
    for metric in ("nll", "energy"):
        with pytest.raises(ValueError, match="must be of the same starts"):
            compare(good, other, metric)
    scaled = evaluate(line(), EPISODES, scale=2.0, **OPTIONS)
    with pytest.raises(ValueError, match="same num_starts and scale"):
        compare(good, scaled, "crps", 3)
    assert compare(good, scaled, "nll").difference == 0


def test_a_score_that_is_not_there(cards):
    with pytest.raises(KeyError, match="no score 'crps' at horizon 2"):
        compare(*cards, "crps", 2)


def test_a_number_of_all_starts_has_no_pairs():
    sample = Sample(np.full((5, 2), 0.5), np.arange(5), "same")
    row = Score("pit", 1, 0.2, math.nan, math.nan, 5)
    card = Scorecard((row,), samples={("model", "pit", 1): sample})
    with pytest.raises(ValueError, match="number of all starts together"):
        compare(card, card, "pit")
