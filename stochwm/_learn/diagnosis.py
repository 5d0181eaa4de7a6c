"""Is a run's model calibrated? Open-loop particles against what followed on test episodes."""

from typing import Any

import jax
import numpy as np

from .._storage import load_metadata, load_tree, save_tree, saved_at
from ..calibration import (
    Diagnosis,
    EpisodeTest,
    HorizonDiagnosis,
    PitTests,
    Reliability,
    diagnose_model,
)
from ..data import Episodes
from .run import Run


def diagnose_run(run: Run, name: str, test: Episodes) -> Diagnosis:
    """Diagnose a model of a run, and keep the result for the report in `diagnosis-NAME/`.

    Args:
        run: with that model trained.
        name: of the model, see `Run.model`.
        test: held-out episodes.
    """
    found = diagnose_model(
        run.model(name),
        test,
        key=jax.random.key(run.config.seed),
        horizons=run.config.horizons,
    )
    _save(run, name, found)
    return found


def _save(run: Run, name: str, found: Diagnosis) -> None:
    arrays = {
        f"{row.horizon}/{kind}": np.asarray(values, np.float32)
        for row in found.horizons
        for kind, values in {**row.values, "episode": row.episode}.items()
    }
    shapes = {key: value.shape for key, value in arrays.items()}
    save_tree(_folder(run, name), arrays, {"shapes": shapes, "summary": found.to_json()})


def has_diagnosis(run: Run, name: str) -> bool:
    """Whether `diagnose_run` kept a diagnosis of that model."""
    return saved_at(_folder(run, name))


def load_diagnosis(run: Run, name: str) -> Diagnosis:
    """What `diagnose_run` kept.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    notes = load_metadata(_folder(run, name))
    like = {key: np.zeros(shape, np.float32) for key, shape in notes["shapes"].items()}
    arrays = load_tree(_folder(run, name), like)
    rows = tuple(_row(summary, arrays) for summary in notes["summary"]["horizons"])
    return Diagnosis(rows, tuple(notes["summary"]["skipped"]))


def _row(summary: dict[str, Any], arrays: dict[str, np.ndarray]) -> HorizonDiagnosis:
    horizon = summary["horizon"]
    here = {
        key.split("/")[1]: np.asarray(value, float)
        for key, value in arrays.items()
        if key.split("/")[0] == str(horizon)
    }
    episode = here.pop("episode").astype(int)
    tests = {
        name: PitTests(**{kind: EpisodeTest(**_numbers(t)) for kind, t in kinds.items()})
        for name, kinds in summary["tests"].items()
    }
    coverage = Reliability(**{k: _array(v) for k, v in summary["coverage"].items()})
    return HorizonDiagnosis(horizon, episode, here, tests, coverage, summary["area"])


def _array(values: list) -> np.ndarray:
    return np.asarray([np.nan if value is None else value for value in values], float)


def _numbers(test: dict[str, float | None]) -> dict[str, Any]:
    return {name: np.nan if value is None else value for name, value in test.items()}


def _folder(run: Run, name: str) -> Any:
    return run.path / f"diagnosis-{name}"
