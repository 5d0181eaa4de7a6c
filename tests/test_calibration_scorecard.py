"""The table of scores: look-up, shift, JSON, text."""

import json
import math

import pytest

from stochwm.calibration import Score, Scorecard

NAN = math.nan
CARD = Scorecard(
    (
        Score("nll", 1, -0.5, -0.75, -0.25, 40),
        Score("energy", 1, 0.25, NAN, NAN, 40),
        Score("energy", 5, 1.5, 1.25, 2.0, 12),
    ),
    ("horizon 20: only 3 futures are that long",),
)


def test_get():
    assert CARD.get("nll").value == -0.5
    assert CARD.get("energy", 5).count == 12


def test_get_lists_what_there_is():
    with pytest.raises(KeyError, match=r"no score 'crps' at horizon 5.*\('energy', 1\).*'nll'"):
        CARD.get("crps", 5)
    with pytest.raises(KeyError, match="no score 'energy' at horizon 2"):
        CARD.get("energy", 2)


def test_series():
    series = CARD.series("energy")
    assert series["horizon"] == [1, 5]
    assert series["value"] == [0.25, 1.5]
    assert (series["low"][1], series["high"][1]) == (1.25, 2.0)
    assert set(series) == {"horizon", "value", "low", "high"}


def test_shifted_moves_one_metric_and_its_interval():
    moved = CARD.shifted("nll", 2.0)
    assert moved.get("nll")[2:] == (1.5, 1.25, 1.75, 40)
    assert moved.scores[2] == CARD.scores[2]
    assert moved.skipped == CARD.skipped


def test_json_round_trip_with_nan():
    text = json.dumps(CARD.to_json(), allow_nan=False)
    back = Scorecard.from_json(json.loads(text))
    assert repr(back) == repr(CARD)
    assert math.isnan(back.scores[1].low)


def test_text_has_a_line_for_each_score_and_reason():
    lines = str(CARD).splitlines()
    assert len(lines) == 5
    assert lines[1].split() == ["nll", "1", "-0.5000", "[-0.7500,", "-0.2500]"]
    assert lines[-1] == "skipped: horizon 20: only 3 futures are that long"
