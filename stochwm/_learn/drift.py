"""Fit a guard to the model of a run on its validation episodes, and say how long it trusts."""

from typing import Any

import jax
import numpy as np

from .._storage import save_tree
from ..drift import Accuracy, Calibration, Coverage, DriftGuard, Rehearsal, rehearse
from ..drift.rehearsal import units_of
from .chosen_promise import chosen_promise
from .drift_section import findings, to_text
from .guards import guard_notes
from .held_out import finished_parts, notes_on
from .job import say_nothing, say_to_stderr
from .page import write_report
from .run import GUARD, Run
from .watched import PARTICLES, watch


def drift(
    run: Run,
    *,
    promise: str = "false-alarm",
    rate: float | None = None,
    risk: float | None = None,
    tolerance: float | None = None,
    horizon: int | None = None,
    cumulative: bool = False,
    progress: bool = True,
) -> str:
    """Fit a `DriftGuard` to a run's model, keep it, let it watch futures, and report on it.

    Writes `guard/`, which `run.guard()` loads, `watched/`, and the report again. A former guard is
    replaced; the model stays.

    Args:
        run: a finished run.
        promise: "false-alarm", "coverage", "calibration" or "accuracy", see `stochwm.drift`.
        rate: of false alarms, or of futures that `Accuracy` trusts too long; by default 5 %, or the
            lowest that the episodes allow.
        risk: of `Coverage` and `Calibration`, 5 points by default.
        tolerance: of `Accuracy`, in standard deviations of the validation episodes.
        horizon: steps of a future; by default the longest horizon of the run.
        cumulative: compare the sum over all steps so far instead of each step.
        progress: whether to say what is being done.

    Returns:
        A table for people: threshold, promise, and how long futures from test episodes are trusted.

    Raises:
        StorageError: the run is not finished.
        ValueError: too few validation episodes, or choices that do not go together.
        TypeError: predictions without means and variances, in which members could disagree.
    """
    say = say_to_stderr if progress else say_nothing
    parts = finished_parts(run)
    holdout, test = parts["validation"], parts["test"]
    asked = {"rate": rate, "risk": risk, "tolerance": tolerance, "horizon": horizon}
    kept, notes = chosen_promise(run, holdout, promise, **asked)
    say(f"fitting a guard to {holdout.num_episodes} validation episodes ({promise})")
    model, key = run.model(), jax.random.fold_in(jax.random.key(run.config.seed), 2)
    try:
        guard = DriftGuard.fit(model, holdout, promise=kept, key=key, cumulative=cumulative)
    except NotImplementedError as error:
        family = run.recipes(parts["train"])["model"].label
        raise TypeError(
            f"a guard compares the means that members predict, which the family {family!r} does "
            f"not give: {error}"
        ) from error
    record = {"episodes": holdout.num_episodes, "notes": notes + notes_on(parts)}
    if isinstance(kept, Coverage | Calibration | Accuracy):
        options = {"cumulative": cumulative, "horizon": kept.horizon, "num_particles": PARTICLES}
        options |= {"unit": units_of(holdout)}
        seen = rehearse(model, test, guard.measure, key=key, **options)
        record |= _found(kept, seen, float(guard.threshold))
    say(f"imagining futures from {test.num_episodes} test episodes under it")
    watch(run, guard, test, kept.horizon)
    # Last, so that one who stops here keeps a guard and what that one did, or neither.
    save_tree(run.path / GUARD, guard, guard_notes(guard, kept) | record)
    say(f"report: {write_report(run)}")
    return to_text(findings(run))


def _found(
    promise: Coverage | Calibration | Accuracy, seen: Rehearsal, threshold: float
) -> dict[str, Any]:
    """What the promise speaks of, on test episodes; None where nothing is trusted."""
    if isinstance(promise, Accuracy):
        trusted = np.sum(seen.statistic <= threshold, axis=-1)
        return {"too_long": float(np.mean(trusted > promise.near(seen)[:, None]))}
    mean = lambda rollouts: float(rollouts.mean()) if len(rollouts) else None  # noqa: E731
    if isinstance(promise, Coverage):
        return {"outside": mean(promise.outside(seen, threshold))}
    return {"inside": [mean(promise.inside(seen, threshold, level)) for level in promise.levels]}
