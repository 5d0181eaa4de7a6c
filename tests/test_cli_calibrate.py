"""`stochwm calibrate`: what it writes, that the result can be used, and errors."""

import json
import shutil
import sys

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm._learn import LearnConfig, Run
from stochwm._learn.diagnosis import load_diagnosis
from stochwm._learn.repair import FILE, Repair, has_repair, load_repair
from stochwm._learn.wrappers import fitted_text, notes_of, repaired_like
from stochwm._storage import load_tree, save_tree
from stochwm.calibration import (
    BetaMap,
    ByStep,
    Diagnosis,
    PitMap,
    QuantileMap,
    Score,
    Scorecard,
    Spread,
    Tempered,
)
from tests.cases_models import same_bits
from tests.cases_runs import command_line, untrained_run

pytest.importorskip("matplotlib")

CONFIG = LearnConfig(
    "stochwm/Fork-v0", steps=1500, members=2, components=2, width=8, futures=12, horizons=(1,)
)
pytestmark = pytest.mark.slow


def spread_of(ensemble):
    return ensemble.members.delta.scale


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run as the main job leaves it, of untrained models that are ten times too narrow."""
    narrow = lambda ensemble: eqx.tree_at(spread_of, ensemble, replace_fn=lambda s: 0.1 * s)  # noqa: E731
    return untrained_run(tmp_path_factory.mktemp("runs") / "fork", CONFIG, narrow)


@pytest.fixture
def run(made, tmp_path):
    return Run(shutil.copytree(made.path, tmp_path / "run"))


@pytest.fixture
def stochwm(monkeypatch, capsys):
    return command_line(monkeypatch, capsys)


def test_calibrate_repairs_keeps_and_reports(run, stochwm):
    original = (run.path / "model" / "arrays.safetensors").read_bytes()
    code, printed = stochwm("calibrate", run.path)
    assert code == 0
    for text in ("90 % intervals held", "energy", "nll", "Spread factor", "chose the parameters"):
        assert text in printed
    assert "only 3 validation episodes" in printed
    assert (run.path / "model" / "arrays.safetensors").read_bytes() == original
    repair = load_repair(run)
    assert (repair.method, repair.per) == ("scale", "step")
    # Ten times too narrow: the repair must be seen in every number.
    before, after = load_diagnosis(run, "model"), load_diagnosis(run, "recalibrated")
    off = [
        abs(d.get(1).coverage.observed - d.get(1).coverage.level).mean() for d in (before, after)
    ]
    assert off[1] < 0.6 * off[0]
    assert repair.after.get("energy", 1).value < repair.before.get("energy", 1).value
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Is it calibrated?" in page
    assert "After recalibration" in page
    assert "://" not in page
    # A fresh handle loads it.
    model = Run(run.path).model("recalibrated")
    assert isinstance(model.kernel, Spread)
    assert same_bits(model.kernel.kernel, run.model().kernel)


def test_an_interrupted_repair_is_not_described_by_a_former_one(run, stochwm, monkeypatch):
    def stopped(*args):
        raise KeyboardInterrupt

    (run.path / FILE).write_text("of another method", encoding="utf-8")
    job = sys.modules["stochwm._learn.calibrate"]  # the name in the package is the function
    monkeypatch.setattr(job, "_scored", stopped)
    assert stochwm("calibrate", run.path)[0] == "stochwm: stopped"
    assert (run.path / "recalibrated").exists()
    assert not has_repair(run)


WRAPPERS = {
    "scale": lambda kernel: Spread(kernel, np.array([0.5, 2.0])),
    "conformal": lambda kernel: Spread(kernel, 1.5),
    "weights": lambda kernel: Tempered(kernel, 3.0),
    "pit": lambda kernel: PitMap(kernel, QuantileMap(*2 * [jnp.arange(42.0).reshape(2, 21)])),
    "beta": lambda kernel: PitMap(kernel, BetaMap(*3 * [jnp.ones(2)])),
    "horizon": lambda model: ByStep(model, np.arange(1.0, 7.0).reshape(3, 2)),
}


@pytest.mark.parametrize("method", WRAPPERS)
def test_every_repair_comes_back_from_disk(made, tmp_path, method):
    model = made.model()
    if method == "horizon":
        fixed, notes = WRAPPERS[method](model), ("scale", "horizon", 0.9)
    else:
        fixed = eqx.tree_at(lambda m: m.kernel, model, WRAPPERS[method](model.kernel))
        notes = (method, "step", 0.9)
    kept = json.loads(json.dumps(notes_of(fixed, *notes)))
    save_tree(tmp_path / "fixed", fixed)
    assert same_bits(load_tree(tmp_path / "fixed", repaired_like(model, kept)), fixed)
    assert fitted_text(fixed, ["y", "v"])


def test_a_model_with_a_clock_imagines(run, stochwm):
    fixed = ByStep(run.model(), np.full((2, 2), 1e-3))
    save_tree(run.path / "recalibrated", fixed, notes_of(fixed, "scale", "horizon", 0.9))
    code, printed = stochwm(
        "imagine", run.path, "--model", "recalibrated", "--futures", 8, "--length", 3
    )
    assert code == 0
    low, middle, high = (float(x) for x in printed.splitlines()[3].split()[2:])
    assert low == pytest.approx(high, abs=0.2), "a thousandth of the spread is nearly none"
    assert low <= middle <= high


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ((2.0, 4.08), "is worse by more than 1 % at these steps ahead: 5."),
        ((1.6, 4.0), "changes by -10.0 % on average"),
        ((2.01, 4.02), "changes by +0.5 % on average"),
    ],
)
def test_the_change_of_the_energy_score_is_told(after, said):
    def card(values):
        pairs = zip((1, 5), values, strict=True)
        return Scorecard(tuple(Score("energy", h, value, 0.0, 9.0, 30) for h, value in pairs))

    repair = Repair("scale", "step", [], card((2.0, 4.0)), card(after))
    assert said in repair.sentences(Diagnosis(()), Diagnosis(()))[-1]


def test_factors_by_step_are_told_in_words(made):
    rows = np.array([[0.5, 2.0], [0.5, 2.0], [1.0, 3.0]])
    said = fitted_text(ByStep(made.model(), rows), ["y", "v"])
    assert said == "Spread factors: up to step 2: 0.5 (y), 2 (v); up to step 3: 1 (y), 3 (v)."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "conformal"], "needs at least 9 validation episodes, but the run has 3"),
        (["--method", "pit", "--per", "horizon"], "recalibrate twice"),
        (["--level", "1.5"], "level must lie strictly between 0 and 1"),
        (["--method", "magic"], 2),
    ],
)
def test_errors_say_what_to_do(run, stochwm, arguments, message):
    code, _ = stochwm("calibrate", run.path, *arguments)
    assert code == message if message == 2 else message in str(code)
    assert not (run.path / "recalibrated").exists()
    assert not (run.path / "recalibration.json").exists()


def test_what_is_not_there_is_named(run, stochwm, tmp_path):
    assert "is not a run folder" in stochwm("calibrate", tmp_path / "none")[0]
    assert "`stochwm calibrate" in stochwm("imagine", run.path, "--model", "recalibrated")[0]
    (run.path / "metrics.json").unlink()
    assert "--resume" in stochwm("calibrate", run.path)[0]


def test_a_damaged_record_is_named(run):
    run.write_text("recalibration.json", "{}")
    with pytest.raises(ValueError, match="damaged"):
        load_repair(run)
