"""`stochwm drift`: what it writes, that the guard can be used, what it promises, and errors."""

import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm import imagine
from stochwm._learn import LearnConfig, Run
from stochwm._learn.chosen_promise import chosen_promise, least_episodes
from stochwm._learn.drift_section import drift_sections, findings, table_rows
from stochwm._learn.guards import guard_like, guard_notes, promise_of
from stochwm._learn.watched import _ended, first_cut, load_watched, panels_of
from stochwm._storage import StorageError, load_metadata, load_tree, save_tree
from stochwm.data import FlatSpace, RandomPolicy
from stochwm.drift import (
    Accuracy,
    Calibration,
    Coverage,
    DriftGuard,
    FalseAlarm,
    InUnits,
    epistemic_variance,
)
from tests.cases_models import same_bits
from tests.cases_runs import command_line, untrained_run

pytest.importorskip("matplotlib")

TINY = {"members": 2, "components": 2, "width": 8, "futures": 12, "horizons": (1, 4)}
# Many short episodes: 16 for validation.
SHORT = ("max_episode_steps=5",)
CONFIG = LearnConfig("stochwm/Fork-v0", env_args=SHORT, steps=800, **TINY)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("runs") / "fork", CONFIG)


@pytest.fixture
def run(made, tmp_path):
    return Run(shutil.copytree(made.path, tmp_path / "run"))


@pytest.fixture
def stochwm(monkeypatch, capsys):
    return command_line(monkeypatch, capsys)


def page(run):
    return (run.path / "report.html").read_text(encoding="utf-8")


def test_drift_fits_keeps_and_reports(run, stochwm):
    assert drift_sections(run) == []
    original = (run.path / "model" / "arrays.safetensors").read_bytes()
    code, printed = stochwm("drift", run.path, "--cumulative")
    assert code == 0
    for text in (
        "flagged within 4 steps, promised at most 5.9 %",
        "5.9 %, the lowest that 16 validation episodes allow: 5 % takes 19",
        "trusted for 1 step ",
        "median trusted horizon",
        "cannot see",
        "they chose the parameters",
    ):
        assert text in " ".join(printed.split())
    assert (run.path / "model" / "arrays.safetensors").read_bytes() == original
    text = page(run)
    assert "Until when can it be trusted?" in text
    assert "://" not in text
    # A fresh handle loads it, and it watches.
    guard = Run(run.path).guard()
    assert guard.cumulative
    assert f"{float(guard.threshold):.4g}" in printed
    trajectory = imagine(
        run.model(),
        RandomPolicy(run.episodes.action_space),
        jnp.asarray(run.episodes.observation[0]),
        key=jax.random.key(0),
        length=4,
        guard=guard,
    )[1]
    assert 0 <= trajectory.trusted_horizon() <= 4
    watched = load_watched(run)
    assert watched.trusted.shape == (16, 32)
    assert watched.epistemic.shape == watched.aleatoric.shape == (16 * 8, 4, 2)
    assert 0 < watched.epistemic.mean() < watched.aleatoric.mean() * 100
    assert watched.flagged == np.mean(watched.trusted < watched.lasts[:, None])
    assert watched.share_at(2) == np.mean(watched.trusted >= 2)
    assert watched.dream_trusted in watched.trusted
    assert findings(run).promise == FalseAlarm(0.059, horizon=4)


def test_an_interrupted_guard_is_not_kept_beside_what_a_former_one_did(run, stochwm, monkeypatch):
    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["stochwm._learn.drift"], "watch", stopped)
    assert stochwm("drift", run.path)[0] == "stochwm: stopped"
    assert not (run.path / "guard").exists()


def test_the_promise_of_coverage(run, stochwm, monkeypatch):
    page = sys.modules["stochwm._learn.drift"]  # the name in the package is the function
    monkeypatch.setattr(page, "write_report", lambda run: run.path)
    code, printed = stochwm("drift", run.path, "--promise", "coverage", "--risk", "0.4")
    assert code == 0
    assert "outside 90 % regions, promised at most 50 %" in " ".join(printed.split())
    assert "with a confidence of 90 %" in printed
    assert findings(run).promise == Coverage(0.9, 0.4, horizon=4)


def test_the_promise_of_calibration(run, stochwm):
    code, printed = stochwm("drift", run.path, "--promise", "calibration", "--risk", "0.45")
    assert code == 0
    printed, found = " ".join(printed.split()), findings(run)
    assert found.promise == Calibration(0.45, horizon=4)
    for text in (
        "inside 50 % regions, promised 5 to 95 %",
        "inside 90 % regions, promised 45 to 100 %",
        "with a confidence of 90 %",
        "neither too narrow nor too wide",
    ):
        assert text in printed
        assert text.split(",")[0] in page(run)
    nothing = bool(np.isneginf(found.guard.threshold))
    assert [share is None for share in found.notes["inside"]] == [nothing, nothing]


def test_the_promise_of_accuracy(run, stochwm, monkeypatch):
    page = sys.modules["stochwm._learn.drift"]
    monkeypatch.setattr(page, "write_report", lambda run: run.path)
    code, printed = stochwm("drift", run.path, "--promise", "accuracy", "--tolerance", "2.5")
    assert code == 0
    printed, found = " ".join(printed.split()), findings(run)
    assert found.promise == Accuracy(2.5, 0.059, horizon=4)
    assert "trusted longer than near, promised at most 5.9 %" in printed
    assert "further than 2.5 from the imagined cloud" in printed
    assert 0 <= found.notes["too_long"] <= 1


def test_shares_of_a_trusted_future_are_shown(run, stochwm):
    stochwm("drift", run.path, "--promise", "calibration", "--risk", "0.45")
    found = findings(run)
    for shares, text in (([0.52, 0.93], "52 %"), ([None, None], "nothing is trusted")):
        rows = dict(table_rows(found._replace(notes=found.notes | {"inside": shares})))
        assert rows["inside 50 % regions, found"] == text


GUARDS = {
    # In the precision of episodes, whose units they are.
    "scaled": DriftGuard(
        InUnits(epistemic_variance, np.array([0.5, 2.0], np.float32)), 0.25, cumulative=True
    ),
    "plain": DriftGuard(epistemic_variance, -np.inf),
}
PROMISES = [
    FalseAlarm(0.1, horizon=7),
    Coverage(0.8, 0.1, horizon=3, confidence=0.95),
    Calibration(0.1, horizon=3, levels=(0.3, 0.8)),
    Accuracy(0.3, 0.1, horizon=3),
]


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("name", GUARDS)
def test_every_guard_comes_back_from_disk(tmp_path, name, promise):
    notes = guard_notes(GUARDS[name], promise)
    save_tree(tmp_path / "guard", GUARDS[name], notes)
    loaded = load_tree(tmp_path / "guard", guard_like(notes))
    assert same_bits(loaded, GUARDS[name])
    assert loaded.cumulative == GUARDS[name].cumulative
    assert promise_of(load_metadata(tmp_path / "guard")) == promise


@pytest.mark.parametrize(
    ("trusted", "found"),
    [
        ([[3, 9], [0, 9]], ((0, 0), 3)),
        ([[9, 9], [9, 2]], ((0, 0), 9)),  # after the end of the second episode
        ([[4, 9], [1, 0]], ((1, 0), 1)),
    ],
)
def test_a_future_is_cut_within_its_episode_or_not_at_all(trusted, found):
    first, steps = first_cut(np.array(trusted), lasts=np.array([9, 2]), horizon=9)
    assert (first, steps) == found


def test_uncertainty_is_drawn_up_to_the_end_of_the_episode():
    drawn = _ended(np.ones((2, 1, 3, 1)), np.array([3, 1]))[:, 0, :, 0]
    np.testing.assert_array_equal(np.isnan(drawn), [[0, 0, 0], [0, 1, 1]])


def test_one_hot_blocks_are_one_panel():
    space = FlatSpace(4, (-1.0, 0.0, 0.0, 0.0), (1.0,) * 4, ((1, 3),), ("x", "c=0", "c=1", "c=2"))
    firsts, together = panels_of(space)
    assert firsts == [0, 1]
    np.testing.assert_array_equal(together, [[1, 0], [0, 1], [0, 1], [0, 1]])


@pytest.mark.parametrize(("rate", "least"), [(0.05, 19), (0.1, 9), (0.3, 3)])
def test_how_many_episodes_a_rate_takes(rate, least):
    assert least_episodes(FalseAlarm(rate, horizon=3)) == least


def test_the_default_rate_fits_the_episodes(made):
    three = made.episodes.select(np.arange(3))
    promise, notes = chosen_promise(made, three, "false-alarm", horizon=2)
    assert (promise, len(notes)) == (FalseAlarm(0.25, horizon=2), 1)
    promise, notes = chosen_promise(made, made.episodes, "false-alarm")
    assert (promise, notes) == (FalseAlarm(0.05, horizon=4), [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--rate", "0.02"],
            "at least 49 validation episodes, but the run has 16: 10 % of all. They allow --rate "
            "0.059. Or learn it again with more, about --steps 2940",
        ),
        (["--promise", "coverage"], "a risk of 0.05 needs at least"),
        (["--promise", "coverage", "--rate", "0.1"], "rate says nothing to the promise 'coverage'"),
        (["--promise", "calibration"], "a risk of 0.05 needs at least"),
        (["--promise", "calibration", "--rate", "0.1"], "rate says nothing to the promise 'calib"),
        (["--risk", "0.1"], "risk says nothing to the promise 'false-alarm'"),
        (["--promise", "accuracy"], "tolerance must be given"),
        (["--tolerance", "1"], "tolerance says nothing to the promise 'false-alarm'"),
        (["--horizon", "0"], "horizon must be a whole number"),
        (["--promise", "magic"], 2),
    ],
)
def test_errors_say_what_to_do(run, stochwm, arguments, message):
    code, _ = stochwm("drift", run.path, *arguments)
    assert code == message if message == 2 else message in str(code)
    assert not (run.path / "guard").exists()


def test_what_is_not_there_is_named(made, run, stochwm, tmp_path):
    assert "is not a run folder" in stochwm("drift", tmp_path / "none")[0]
    with pytest.raises(StorageError, match="has no guard yet: `stochwm drift"):
        made.guard()
    (run.path / "metrics.json").unlink()
    assert "--resume" in stochwm("drift", run.path)[0]
