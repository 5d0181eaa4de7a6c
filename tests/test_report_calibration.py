"""Figures of calibration carry what they were given, and words say what the numbers are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm import report
from stochwm._learn import LearnConfig
from stochwm._learn import calibration_words as words
from stochwm._learn.diagnosis import _save, load_diagnosis
from stochwm._learn.run import create_run
from stochwm.calibration import (
    Diagnosis,
    HorizonDiagnosis,
    central_level,
    consistency_band,
    miscalibration_area,
    pit_histogram,
    pit_tests,
    region_map,
    reliability,
)
from stochwm.distributions import DiagNormal

pytest.importorskip("matplotlib")

EPISODE = np.repeat(np.arange(20), 10)
RANKS = ("average", "band depth", "density", "copula")


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).random((len(EPISODE), *shape))


def squeezed(values, power):
    """PIT values of predictions that are too wide (power above 1) or too narrow (below)."""
    centred = 2 * values - 1
    return 0.5 + 0.5 * np.sign(centred) * np.abs(centred) ** power


def row(horizon, power=1.0, episode=EPISODE):
    values = {"pit": squeezed(uniform(2, seed=horizon), power)[: len(episode)]}
    for i, name in enumerate(RANKS):
        values[name] = squeezed(uniform(seed=100 * horizon + i), power)[: len(episode)]
    return HorizonDiagnosis(
        horizon,
        episode,
        values,
        {name: pit_tests(array, episode) for name, array in values.items()},
        reliability(central_level(values["pit"]), episode),
        miscalibration_area(values["pit"]),
    )


def lines(axes, gid):
    return [np.asarray(line.get_ydata()) for line in axes.lines if line.get_gid() == gid]


def has(axes, gid):
    return any(artist.get_gid() == gid for artist in axes.get_children())


def texts(figure):
    import matplotlib.text

    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


# --- consistency band ---------------------------------------------------------------------------
def test_consistency_band_is_binomial_for_independent_steps_and_wider_for_episodes():
    values, levels = uniform(), np.array([0.2, 0.5, 0.9])
    single = np.arange(len(values))
    low, high = consistency_band(values, single, levels)
    expected = 1.96 * np.sqrt(levels * (1 - levels) / len(values))
    np.testing.assert_allclose(high - levels, expected, rtol=0.3)
    np.testing.assert_allclose(levels - low, expected, rtol=0.3)
    same = np.repeat(values[::10], 10)  # all steps of an episode say the same
    low, high = consistency_band(same, EPISODE, levels)
    assert (high - low > 2 * expected).all()


@pytest.mark.parametrize(("power", "inside"), [(1.0, 0.9), (3.0, 0.1)])
def test_consistency_band_holds_what_is_right_and_not_what_is_wrong(power, inside):
    values = central_level(squeezed(uniform(), power))
    observed = reliability(values, EPISODE).observed
    low, high = consistency_band(values, EPISODE)
    assert np.mean((low <= observed) & (observed <= high)) == pytest.approx(inside, abs=0.11)


def test_a_single_episode_has_no_band():
    low, high = consistency_band(uniform(), np.zeros(len(EPISODE), int))
    assert np.isnan(low).all()
    assert np.isnan(high).all()


# --- reliability --------------------------------------------------------------------------------
def test_reliability_diagram_draws_curve_and_band():
    good, bad = row(1), row(5, power=3.0)
    panels = {"1 step": {"model": good.coverage}, "5 steps": {"model": bad.coverage}}
    band = consistency_band(central_level(good.values["pit"]), EPISODE)
    figure = report.reliability_diagram(panels, bands={"1 step": band})
    for axes, (title, curves) in zip(figure.axes, panels.items(), strict=True):
        (curve,) = lines(axes, "curve model")
        np.testing.assert_array_equal(curve, curves["model"].observed)
        assert axes.get_title(loc="left") == title
        assert has(axes, "band") == (title == "1 step")
    assert "95 % if calibrated" in texts(figure)
    figure.canvas.draw()


def test_reliability_diagram_of_one_episode_has_neither_bars_nor_band():
    alone = row(1, episode=np.zeros(50, int))
    nothing = np.full(len(alone.coverage.level), np.nan)
    panels = {"1 step": {"model": alone.coverage}}
    figure = report.reliability_diagram(panels, bands={"1 step": (nothing, nothing)})
    assert not has(figure.axes[0], "band")
    assert not [c for c in figure.axes[0].collections if c.get_gid() is None]
    assert "95 % if calibrated" not in texts(figure)
    figure.canvas.draw()


# --- histograms ---------------------------------------------------------------------------------
def test_pit_histograms_show_density_and_the_least_flat_dimensions():
    from matplotlib.patches import StepPatch

    values = np.stack([uniform(), squeezed(uniform(), 3.0), np.full(len(EPISODE), 0.45)], axis=1)
    histograms = {"1 step": pit_histogram(values, EPISODE)}
    figure = report.pit_histograms(histograms, names=["flat", "hill", "spike"], max_dims=2)
    assert [axes.get_ylabel() for axes in figure.axes] == ["hill", "spike"]
    assert "2 of 3 dimensions" in " ".join(texts(figure).split())
    (bars,) = (p for p in figure.axes[0].findobj(StepPatch) if p.get_gid() == "bars")
    np.testing.assert_allclose(bars.get_data().values, 10 * histograms["1 step"].share[:, 1])
    assert all(has(axes, "band") for axes in figure.axes)
    assert "10.0" in texts(figure), "a bar that is cut off has its height written on it"
    figure.canvas.draw()


def test_rank_histograms_have_a_row_each():
    one = row(1)
    table = {name: {"1 step": pit_histogram(one.values[name], EPISODE)} for name in RANKS}
    figure = report.rank_histograms(table)
    assert [axes.get_ylabel() for axes in figure.axes] == list(RANKS)
    assert "95 % of bars" in texts(figure)
    alone = pit_histogram(one.values["average"], np.zeros(len(EPISODE), int))
    assert "95 %" not in texts(report.rank_histograms({"average": {"1 step": alone}}))


# --- by horizon ---------------------------------------------------------------------------------
def test_coverage_by_horizon_draws_each_level_of_each_model():
    curves = {"before": {1: row(1, 0.5).coverage, 20: row(20, 0.5).coverage}}
    curves["after"] = {1: row(1).coverage, 20: row(20).coverage}
    figure = report.coverage_by_horizon(curves)
    for axes, rows in zip(figure.axes, curves.values(), strict=True):
        found = lines(axes, "coverage")
        for line, level in zip(found, (0.5, 0.9), strict=True):
            at = {h: np.interp(level, c.level, c.observed) for h, c in rows.items()}
            np.testing.assert_allclose(line, list(at.values()))
        assert len(lines(axes, "nominal")) == 2
    assert "90 %" in texts(figure)
    figure.canvas.draw()


# --- regions ------------------------------------------------------------------------------------
def test_regions_of_a_normal_have_their_known_heights():
    law = DiagNormal(jnp.asarray([1.0, -2.0, 5.0]), jnp.asarray([0.5, 2.0, 1.0]))
    found = region_map(law, (0.5, 0.9), dims=(0, 1), key=jax.random.key(0))
    peak = 1 / (2 * np.pi * 0.5 * 2.0)  # the height of the region of mass a is (1 - a) peak
    np.testing.assert_allclose(found.heights, [0.5 * peak, 0.1 * peak], rtol=0.15)
    cell = np.diff(found.first)[0] * np.diff(found.second)[0]
    inside = found.density >= found.heights[1]
    assert found.density[inside].sum() * cell == pytest.approx(0.9, abs=0.03)


def test_regions_of_particles_keep_narrow_modes_apart():
    rng = np.random.default_rng(0)
    side = np.where(rng.random((800, 1)) < 0.5, -1.0, 1.0)
    cloud = np.concatenate([side, 0 * side], axis=1) + 0.05 * rng.normal(size=(800, 2))
    found = region_map(cloud, (0.9,))
    between = np.abs(found.first) < 0.5
    assert not (found.density[:, between] >= found.heights[0]).any()
    assert (found.density[:, ~between] >= found.heights[0]).any()


def test_regions_of_atoms_are_drawn():
    cloud = np.zeros((50, 2))
    cloud[:5, 1] = 1.0
    figure = report.joint_regions({"model": cloud}, cloud[:1], names=["x", "y"])
    figure.canvas.draw()


def test_joint_regions_show_what_happened_in_the_two_widest_dimensions():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(200, 3)) * [1.0, 0.01, 5.0]
    real = np.array([[0.5, 0.0, 40.0]])  # far outside: it must be seen
    figure = report.joint_regions({"mixture": cloud, "Gaussian": cloud}, real, names=list("abc"))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "c")
    (dots,) = (c for c in axes.collections if c.get_gid() == "real")
    np.testing.assert_array_equal(dots.get_offsets(), real[:, [0, 2]])
    assert axes.get_ylim()[1] > 40.0
    assert "90 % region" in texts(figure)


# --- errors -------------------------------------------------------------------------------------
CLOUD = np.random.default_rng(0).normal(size=(20, 2))
HISTOGRAM = {"1 step": pit_histogram(uniform(2), EPISODE)}
COVERAGE = row(1).coverage
BAD = {
    "panels must hold": lambda: report.reliability_diagram({}),
    "one band for each": lambda: report.reliability_diagram(
        {"1": {"a": COVERAGE}}, bands={"1": (np.zeros(3), np.ones(3))}
    ),
    "names must hold": lambda: report.pit_histograms(HISTOGRAM, names=["x"]),
    "share must have the shape": lambda: report.rank_histograms({"average": HISTOGRAM}),
    "levels must be among": lambda: report.coverage_by_horizon({"a": {1: COVERAGE}}, levels=[0.33]),
    "horizons that increase": lambda: report.coverage_by_horizon({"a": {0: COVERAGE}}),
    "must have the 2 dimensions": lambda: report.joint_regions(
        {"a": CLOUD[:, :1]}, CLOUD, names=["x", "y"]
    ),
    "dims must be two": lambda: report.joint_regions(
        {"a": CLOUD}, CLOUD, names=["x", "y"], dims=[0]
    ),
    "at least 10 finite": lambda: region_map(CLOUD[:5], (0.9,)),
    "at least 10 finite particles": lambda: region_map(CLOUD[:, 0], (0.9,)),
    "levels must lie": lambda: region_map(CLOUD, (1.0,)),
    "key must be given": lambda: region_map(DiagNormal(jnp.zeros(2), jnp.ones(2)), (0.9,)),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


# --- words --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("power", "said", "shape"),
    [
        (1.0, "held what they should", "No test"),
        (3.0, "too wide", "not right"),
        (0.4, "narrow", ""),
    ],
)
def test_words_say_what_is_wrong(power, said, shape):
    text = " ".join(words.sentences(Diagnosis((row(1, power), row(10, power)))))
    assert said in text
    assert shape in text
    assert "1 step ahead" in text
    assert "10 steps ahead" in text


def test_words_name_only_the_horizons_that_are_wrong():
    found = Diagnosis((row(1), row(10, 0.4)))
    share = words.percent(words.at_level(found.horizons[1].coverage, 0.9)[0])
    first = words.sentences(found)[0]
    assert first == f"The 90 % intervals held {share} of what happened 10 steps ahead: too narrow."


def test_few_episodes_cannot_reject_and_one_says_nothing():
    five = Diagnosis((row(1, 3.0, episode=EPISODE[:50]),))
    assert "5 test episodes are too few" in words.sentences(five)[1]
    assert "no p-value can fall below 0.062" in words.sentences(five)[1]
    one = Diagnosis((row(1, 3.0, episode=np.zeros(50, int)),))
    assert words.table_rows(one)[1][0][4] == "not known: one episode"
    (said,) = words.sentences(one)
    assert "single test episode" in said
    assert "nan" not in said
    assert "could be diagnosed" in words.sentences(Diagnosis(()))[0]


def test_words_explain_the_noise_of_the_targets():
    said = words.sentences(Diagnosis((row(1),)), noise=np.array([0.1, 0.0]))
    assert "noise of standard deviation 0.1 on them" in said[-1]
    assert not any("noise" in s for s in words.sentences(Diagnosis((row(1),)), noise=np.zeros(2)))


@pytest.mark.parametrize(("rank", "inside"), [(0.05, 0.0), (0.15, 1.0)])
def test_what_came_where_particles_are_few_is_outside_their_region(rank, inside):
    one = row(1)
    one = dataclasses.replace(one, values={**one.values, "density": np.full(len(EPISODE), rank)})
    assert words.at_level(words.regions(one), 0.9)[0] == inside


def test_table_has_a_row_a_horizon_that_fits_its_headings():
    heads, rows = words.table_rows(Diagnosis((row(1), row(10))))
    assert [cells[0] for cells in rows] == [1, 10]
    assert {len(cells) for cells in rows} == {len(heads)}


def test_a_diagnosis_comes_back_from_disk(tmp_path):
    one = row(2, episode=np.zeros(50, int))  # with NaN among its numbers
    found = Diagnosis((row(1), one), ("horizon 5: too short",))
    run = create_run(tmp_path / "run", LearnConfig("stochwm/Fork-v0"), resume=False)
    _save(run, "model", found)
    kept = load_diagnosis(run, "model")
    assert str(kept) == str(found)
    assert kept.skipped == found.skipped
    for was, now in zip(found.horizons, kept.horizons, strict=True):
        np.testing.assert_array_equal(now.episode, was.episode)
        for name, values in was.values.items():
            np.testing.assert_allclose(now.values[name], values, atol=1e-7)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.8990, 0.8999, "as they should be"),  # printed as 90 %
        (0.8800, 0.8900, "too narrow"),
        (0.9100, 0.9200, "too wide"),
    ],
)
def test_what_is_off_by_less_than_is_printed_is_right(low, high, said):
    curve = reliability(np.full((len(EPISODE), 2), 0.5), EPISODE)
    level = int(np.abs(curve.level - 0.9).argmin())
    low, high = (np.where(np.arange(len(curve.level)) == level, x, 0.0) for x in (low, high))
    assert words.verdict(curve._replace(low=low, high=high)) == said
