"""Recalibrate the model of a run on its validation episodes, and say what that did."""

import math
from typing import Any

import jax

from .._storage import save_tree
from ..calibration import Scorecard, choose_starts, evaluate, recalibrate
from ..calibration.starts import MIN_STARTS
from ..data import Episodes
from .diagnosis import diagnose_run, has_diagnosis, load_diagnosis
from .held_out import finished_parts, notes_on, too_few
from .job import say_nothing, say_to_stderr
from .page import write_report
from .repair import METRICS, Repair, forget_repair, save_repair
from .run import REPAIRED, Run
from .score import spread_of
from .wrappers import fitted_text, notes_of

MIN_EPISODES = 2
NOISED = (
    "The nll is that of states with the noise of the training targets on them: a repair that takes "
    "such noise away can make it worse although the particles are better."
)


def calibrate(
    run: Run, *, method: str = "scale", per: str = "step", level: float = 0.9, progress: bool = True
) -> str:
    """Repair the predictions of a run's model, keep the result beside it, and report on it.

    Writes `recalibrated/`, which `run.model("recalibrated")` loads, `recalibration.json` with the
    scores, and the report again. A former recalibration is replaced; the model stays.

    Args:
        run: a finished run.
        method: of `stochwm.calibration.recalibrate`.
        per: "step" or "horizon", see there.
        level: coverage that "conformal" guarantees.
        progress: whether to say what is being done.

    Returns:
        A table for people: coverage and scores on test episodes, before and after.

    Raises:
        StorageError: the run is not finished.
        ValueError: too few validation episodes, or choices that do not go together.
        TypeError: predictions of a family that the method cannot repair.
    """
    say = say_to_stderr if progress else say_nothing
    parts = finished_parts(run)
    holdout, train, test = (parts[name] for name in ("validation", "train", "test"))
    _check(run, holdout, method, level)
    horizons, notes = _horizons(run, holdout, per)
    notes += notes_on(parts)
    recipe = run.recipes(train)["model"]
    notes += [NOISED] if recipe.noise.any() and not recipe.smoothed else []
    say(f"recalibrating on {holdout.num_episodes} validation episodes ({method}, per {per})")
    model = run.model()
    key = jax.random.key(run.config.seed)
    options = {"method": method, "per": per, "level": level, "horizons": horizons}
    fixed = recalibrate(model, holdout, train=train, key=jax.random.fold_in(key, 1), **options)
    notes.insert(0, fitted_text(fixed, run.state_names(holdout)))
    forget_repair(run)
    save_tree(run.path / REPAIRED, fixed, notes_of(fixed, method, per, level))
    say(f"scoring on {test.num_episodes} test episodes, before and after")
    cards = _scored(run, (model, fixed), parts)
    say("comparing particles with what happened")
    known = has_diagnosis(run, "model")
    before = load_diagnosis(run, "model") if known else diagnose_run(run, "model", test)
    after = diagnose_run(run, REPAIRED, test)
    repair = Repair(method, per, notes, *cards)
    save_repair(run, repair)
    say(f"report: {write_report(run)}")
    return repair.to_text(before, after)


def _check(run: Run, holdout: Episodes, method: str, level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, but is {level}.")
    least = math.ceil(level / (1 - level) - 1e-9) if method == "conformal" else MIN_EPISODES
    if holdout.num_episodes < least:
        raise too_few(run, f"method {method!r}", holdout, least)


def _horizons(run: Run, holdout: Episodes, per: str) -> tuple[tuple[int, ...], list[str]]:
    """The run's horizons that enough validation futures reach, and a note on those left out."""
    wanted = run.config.horizons
    if per != "horizon":
        return wanted, []
    reached = choose_starts(holdout, 500, max(wanted)).mask.sum(axis=0)
    kept = tuple(h for h in wanted if reached[h - 1] >= MIN_STARTS)
    if not kept:
        return wanted, []  # the fit says what is wrong
    note = f"Steps after {kept[-1]} share its factor: few validation episodes last that long."
    return kept, [note] if kept != wanted else []


def _scored(run: Run, models: Any, parts: Any) -> list[Scorecard]:
    """Both models on test episodes, from the same starts and in the units of the run's scores."""
    recipe = run.recipes(parts["train"])["model"]
    options = {
        "key": jax.random.key(run.config.seed),
        "horizons": run.config.horizons,
        "scale": spread_of(parts["train"]),
        "noise": recipe.noise,
        "smoothed": recipe.smoothed,
        "metrics": METRICS,
    }
    return [
        evaluate(model, parts["test"], **options).shifted("nll", recipe.nll_shift)
        for model in models
    ]
