"""Which promise the episodes of a run can carry."""

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np

from ..data import Episodes
from ..drift import AbstractPromise, Calibration, Coverage, FalseAlarm, Rehearsal
from .held_out import too_few
from .run import Run

RATE, RISK = 0.05, 0.05
OF_RISK = {"coverage": Coverage, "calibration": Calibration}
CONCERNS = {"false-alarm": "rate", "coverage": "risk", "calibration": "risk"}
MIN_EPISODES = 2


def chosen_promise(
    run: Run,
    holdout: Episodes,
    kind: str,
    *,
    rate: float | None = None,
    risk: float | None = None,
    horizon: int | None = None,
) -> tuple[AbstractPromise, list[str]]:
    """The promise that was asked for, and what a reader should know of that choice.

    Args:
        run: whose longest horizon is taken where none is given.
        holdout: episodes that the threshold is fitted to.
        kind: "false-alarm", "coverage" or "calibration".
        rate: of false alarms; by default 5 %, or the lowest that so many episodes allow.
        risk: of `Coverage` and `Calibration`, 5 points by default.
        horizon: steps.

    Raises:
        ValueError: numbers that belong to another promise or are out of range, or too few
            episodes, in words that say what is possible.
    """
    if kind not in CONCERNS:
        raise ValueError(f"promise must be one of {', '.join(CONCERNS)}, but is {kind!r}.")
    for name, value in (("rate", rate), ("risk", risk)):
        if value is not None and name != CONCERNS[kind]:
            raise ValueError(f"{name} says nothing to the promise {kind!r}: leave it out.")
    horizon = max(run.config.horizons) if horizon is None else horizon
    if holdout.num_episodes < MIN_EPISODES:
        raise too_few(run, f"the promise {kind!r}", holdout, MIN_EPISODES)
    if kind in OF_RISK:
        make = functools.partial(OF_RISK[kind], horizon=horizon)
        return _of_risk(run, holdout, make, RISK if risk is None else risk), []
    lowest = math.ceil(1000 / (holdout.num_episodes + 1)) / 1000
    if rate is None and lowest > RATE:
        note = (
            f"The rate of false alarms is {100 * lowest:g} %, the lowest that "
            f"{holdout.num_episodes} validation episodes allow: {100 * RATE:g} % takes "
            f"{least_episodes(FalseAlarm(RATE, horizon=horizon))}."
        )
        return FalseAlarm(lowest, horizon=horizon), [note]
    promise = FalseAlarm(RATE if rate is None else rate, horizon=horizon)
    if not _enough(promise, holdout.num_episodes):
        what = f"a rate of false alarms of {promise.rate:g}"
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
    try:
        promise.threshold(Rehearsal(np.zeros((episodes, 1, 1)), np.zeros((episodes, 1))))
    except ValueError:
        return False
    return True
