"""Which promise the episodes of a run can carry."""

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np

from ..data import Episodes
from ..drift import AbstractPromise, Accuracy, Calibration, Coverage, FalseAlarm, Rehearsal
from .held_out import too_few
from .run import Run

RATE, RISK = 0.05, 0.05
OF_RISK = {"coverage": Coverage, "calibration": Calibration}
CONCERNS = {
    "false-alarm": ("rate",),
    "coverage": ("risk",),
    "calibration": ("risk",),
    "accuracy": ("rate", "tolerance"),
}
MIN_EPISODES = 2


def chosen_promise(
    run: Run,
    holdout: Episodes,
    kind: str,
    *,
    rate: float | None = None,
    risk: float | None = None,
    tolerance: float | None = None,
    horizon: int | None = None,
) -> tuple[AbstractPromise, list[str]]:
    """The promise that was asked for, and what a reader should know of that choice.

    Args:
        run: whose longest horizon is taken where none is given.
        holdout: episodes that the threshold is fitted to.
        kind: "false-alarm", "coverage", "calibration" or "accuracy".
        rate: of false alarms, or of futures that `Accuracy` trusts too long; by default 5 %, or the
            lowest that so many episodes allow.
        risk: of `Coverage` and `Calibration`, 5 points by default.
        tolerance: of `Accuracy`, which has no default.
        horizon: steps.

    Raises:
        ValueError: numbers that belong to another promise or are out of range, or too few
            episodes, in words that say what is possible.
    """
    if kind not in CONCERNS:
        raise ValueError(f"promise must be one of {', '.join(CONCERNS)}, but is {kind!r}.")
    for name, value in (("rate", rate), ("risk", risk), ("tolerance", tolerance)):
        if value is not None and name not in CONCERNS[kind]:
            raise ValueError(f"{name} says nothing to the promise {kind!r}: leave it out.")
    horizon = max(run.config.horizons) if horizon is None else horizon
    if holdout.num_episodes < MIN_EPISODES:
        raise too_few(run, f"the promise {kind!r}", holdout, MIN_EPISODES)
    if kind in OF_RISK:
        make = functools.partial(OF_RISK[kind], horizon=horizon)
        return _of_risk(run, holdout, make, RISK if risk is None else risk), []
    if kind == "accuracy":
        if tolerance is None:
            raise ValueError("tolerance must be given to the promise 'accuracy'.")
        return _of_rate(run, holdout, functools.partial(Accuracy, tolerance, horizon=horizon), rate)
    return _of_rate(run, holdout, functools.partial(FalseAlarm, horizon=horizon), rate)


def _of_rate(
    run: Run, holdout: Episodes, make: Callable[..., FalseAlarm | Accuracy], rate: float | None
) -> tuple[FalseAlarm | Accuracy, list[str]]:
    lowest = math.ceil(1000 / (holdout.num_episodes + 1)) / 1000
    promise = make(rate=RATE if rate is None else rate)
    of_what = "of false alarms" if isinstance(promise, FalseAlarm) else "of too long a trust"
    if rate is None and lowest > RATE:
        note = (
            f"The rate {of_what} is {100 * lowest:g} %, the lowest that {holdout.num_episodes} "
            f"validation episodes allow: {100 * RATE:g} % takes {least_episodes(promise)}."
        )
        return make(rate=lowest), [note]
    if not _enough(promise, holdout.num_episodes):
        what = f"a rate {of_what} of {promise.rate:g}"
        instead = f"They allow --rate {lowest:g}."
        raise too_few(run, what, holdout, least_episodes(promise), instead)
    return promise, []


def _of_risk(
    run: Run, holdout: Episodes, make: Callable[..., Coverage | Calibration], risk: float
) -> Coverage | Calibration:
    promise = make(risk=risk)
    if _enough(promise, holdout.num_episodes):
        return promise
    tried = (make(risk=r / 100) for r in range(1, 90))  # more, at a level of .9, forbids nothing
    able = next((p.risk for p in tried if _enough(p, holdout.num_episodes)), None)
    instead = "" if able is None else f"They could show --risk {able:g}, if all goes well."
    raise too_few(run, f"a risk of {risk:g}", holdout, least_episodes(promise), instead)


def least_episodes(promise: AbstractPromise) -> int:
    """How many held-out episodes a promise takes at least, even if all goes well."""
    return next(number for number in itertools.count(1) if _enough(promise, number))


def _enough(promise: AbstractPromise, episodes: int) -> bool:
    """Whether a rehearsal of so many episodes can show the promise: one in which all goes well."""
    zeros = np.zeros((episodes, 1))
    try:
        promise.threshold(Rehearsal(zeros[..., None], zeros, zeros))
    except ValueError:
        return False
    return True
