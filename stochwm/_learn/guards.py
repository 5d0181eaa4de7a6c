"""What a guard looks like, so that its numbers can be read from disk."""

from typing import Any

import jax.numpy as jnp

from ..drift import (
    AbstractPromise,
    Accuracy,
    Calibration,
    Coverage,
    DriftGuard,
    FalseAlarm,
    InUnits,
    epistemic_variance,
)

_MEASURES = {"epistemic_variance": epistemic_variance}
_PROMISES = {
    "false-alarm": FalseAlarm,
    "coverage": Coverage,
    "calibration": Calibration,
    "accuracy": Accuracy,
}


def guard_notes(guard: DriftGuard, promise: AbstractPromise) -> dict[str, Any]:
    """What `guard_like` and `promise_of` have to know, JSON-able."""
    scaled = isinstance(guard.measure, InUnits)
    measure = guard.measure.measure if scaled else guard.measure
    kind = next(name for name, made in _PROMISES.items() if isinstance(promise, made))
    return {
        "measure": next(name for name, known in _MEASURES.items() if known is measure),
        "scaled": len(guard.measure.scale) if scaled else None,
        "cumulative": guard.cumulative,
        "promise": {"kind": kind} | vars(promise),
    }


def guard_like(notes: dict[str, Any]) -> DriftGuard:
    """A guard of the right structure and shapes, with numbers that mean nothing."""
    measure = _MEASURES[notes["measure"]]
    if notes["scaled"] is not None:
        measure = InUnits(measure, jnp.ones(notes["scaled"], jnp.float32))  # as episodes are
    return DriftGuard(measure, 0.0, cumulative=notes["cumulative"])


def promise_of(notes: dict[str, Any]) -> FalseAlarm | Coverage | Calibration | Accuracy:
    """The promise that the threshold keeps."""
    numbers: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value  # JSON knows no tuples
        for name, value in notes["promise"].items()
    }
    return _PROMISES[numbers.pop("kind")](**numbers)
