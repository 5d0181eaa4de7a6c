"""The table of scores: look-up, shift, JSON, text."""

import json
import math

import numpy as np
import pytest

from stochwm.calibration import Sample, Score, Scorecard

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
    assert moved.get("nll")[2:6] == (1.5, 1.25, 1.75, 40)
    assert moved.scores[2] == CARD.scores[2]
    assert moved.skipped == CARD.skipped


def test_json_round_trip_with_nan():
    text = json.dumps(CARD.to_json(), allow_nan=False)
    back = Scorecard.from_json(json.loads(text))
    assert repr(back) == repr(CARD)
    assert math.isnan(back.scores[1].low)


def test_json_of_old_runs_has_no_sources():
    old = {"metric": "nll", "horizon": 1, "value": 1.0, "low": None, "high": None, "count": 3}
    score = Scorecard.from_json({"scores": [old], "skipped": []}).get("nll")
    assert (score.value, score.count, score.of) == (1.0, 3, "model")


EPISODE = np.array([0, 0, 1])
BESIDE = Scorecard(
    (
        Score("nll", 1, 1.0, 0.5, 1.5, 3),
        Score("nll", 5, 2.0, 1.5, 2.5, 3),
        Score("nll", 1, 0.75, 0.25, 1.25, 3, "law"),
        Score("nll", 1, 0.25, NAN, NAN, 3, "excess"),
    ),
    ("nll at horizon 2: bad", "law: nll at horizon 5: bad", "horizon 9: too long"),
    {
        ("model", "nll", 1): Sample(np.array([0.0, 1.0, 2.0]), EPISODE, "same"),
        ("law", "nll", 1): Sample(np.full(3, 0.75), EPISODE, "same"),
        ("excess", "nll", 1): Sample(np.array([-0.75, 0.25, 1.25]), EPISODE, "same"),
    },
)


def test_sources_beside_the_model():
    assert BESIDE.sources == ("model", "law", "excess")
    assert BESIDE.get("nll", of="law").value == 0.75
    assert BESIDE.series("nll")["horizon"] == [1, 5]
    assert BESIDE.series("nll", of="law")["value"] == [0.75]
    with pytest.raises(KeyError, match="of 'gaussian'; there are .*scores of .*'excess'"):
        BESIDE.get("nll", of="gaussian")
    back = Scorecard.from_json(json.loads(json.dumps(BESIDE.to_json())))
    assert repr(back) == repr(BESIDE)
    assert not back.samples


def test_only_one_source_is_a_card_of_its_own():
    law = BESIDE.only("law")
    assert law.scores == (Score("nll", 1, 0.75, 0.25, 1.25, 3),)
    assert law.skipped == ("nll at horizon 5: bad", "horizon 9: too long")
    assert list(law.samples) == [("model", "nll", 1)]
    assert BESIDE.only("model").skipped == ("nll at horizon 2: bad", "horizon 9: too long")
    with pytest.raises(KeyError, match="no scores of 'gaussian'"):
        BESIDE.only("gaussian")


def test_shifted_moves_the_model_and_its_excess_with_their_values_but_not_the_law():
    moved = BESIDE.shifted("nll", 2.0)
    assert [score.value for score in moved.scores] == [3.0, 4.0, 0.75, 2.25]
    means = {key[0]: sample.values.mean() for key, sample in moved.samples.items()}
    assert means == {"model": 3.0, "law": 0.75, "excess": 2.25}
    unmoved = BESIDE.shifted("energy", 2.0)
    assert unmoved.samples["model", "nll", 1].values.mean() == 1.0


def test_text_has_sources_side_by_side_and_says_what_they_are():
    lines = str(BESIDE).splitlines()
    assert lines[0].split("  ")[0] == "metric"
    assert lines[0].endswith("model - true law")
    cells = ["nll", "1", "1.000 [0.500, 1.500]", "0.750 [0.250, 1.250]", "0.250"]
    assert [cell.strip() for cell in lines[1].split("  ") if cell.strip()] == cells
    assert lines[2].split() == ["nll", "5", "2.000", "[1.500,", "2.500]"]
    assert "[low, high]: 95 % interval" in lines[4]
    assert lines[5] == "nll: negative log-likelihood, nats; lower is better"
    assert lines[-1] == "skipped: horizon 9: too long"
    assert "interval" not in str(Scorecard((Score("pit", 1, 2e-4, NAN, NAN, 40),)))
    assert "2.00e-04" in str(Scorecard((Score("pit", 1, 2e-4, NAN, NAN, 40),)))


def test_plot_has_a_panel_a_metric_and_a_line_a_source():
    rows = (
        *BESIDE.scores,
        Score("coverage90", 1, 0.8, 0.75, 0.9, 3),
        Score("coverage90", 5, 0.7, NAN, NAN, 3),
    )
    figure = Scorecard(rows).plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["nll", "coverage90"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["model", "true law"]
    values, _, (bars,) = figure.axes[1].containers[0].lines
    np.testing.assert_allclose(values.get_ydata(orig=False), [0.8, 0.7])
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [0.75, 0.9])
    np.testing.assert_allclose(bars.get_segments()[1][:, 1], [0.7, 0.7])
    with pytest.raises(ValueError, match="no score to plot"):
        Scorecard((), ("nll: no density",)).plot()
