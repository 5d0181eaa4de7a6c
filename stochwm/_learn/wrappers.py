"""What a recalibrated model looks like, so that its numbers can be read from disk."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..calibration import BetaMap, ByStep, PitMap, QuantileMap, Spread, Tempered
from ..models import Markov

LISTED = 6  # dimensions whose factors are written out
_AROUND: dict[str, Callable[[Any, np.ndarray], Any]] = {
    "scale": lambda kernel, ones: Spread(kernel, ones),
    "pit": lambda kernel, ones: PitMap(kernel, QuantileMap(*[jnp.zeros_like(ones)] * 2)),
    "beta": lambda kernel, ones: PitMap(kernel, BetaMap(*[jnp.zeros_like(ones)] * 3)),
    "weights": lambda kernel, ones: Tempered(kernel, ones),
    "conformal": lambda kernel, ones: Spread(kernel, ones),
}


def notes_of(model: Any, method: str, per: str, level: float) -> dict[str, Any]:
    """What `repaired_like` has to know, JSON-able."""
    if isinstance(model, ByStep):
        fitted = eqx.tree_at(lambda m: m.model, model, None)
    else:
        fitted = eqx.tree_at(lambda k: k.kernel, model.kernel, None)
    leaf = jax.tree.leaves(fitted)[0]
    found = {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}
    return {"method": method, "per": per, "level": level} | found


def fitted_text(model: Any, names: Sequence[str]) -> str:
    """The numbers that a recalibration found, in words."""
    if isinstance(model, ByStep):
        rows = np.asarray(model.factor.values)
        ends = [*np.flatnonzero(np.any(np.diff(rows, axis=0), axis=1)), len(rows) - 1]
        parts = [f"up to step {end + 1}: {_listed(rows[end], names)}" for end in ends]
        return f"Spread factors: {'; '.join(parts)}."
    kernel = model.kernel
    if isinstance(kernel, Spread):
        return f"Spread factor: {_listed(np.asarray(kernel.factor.values), names)}."
    if isinstance(kernel, Tempered):
        return f"Temperature: {float(kernel.temperature.values):.3g}."
    return f"The marginal of each of the {len(names)} dimensions was recoded."


def _listed(factors: np.ndarray, names: Sequence[str]) -> str:
    if factors.ndim == 0:
        return f"{factors:.3g} in every dimension"
    some = [f"{factor:.3g} ({name})" for factor, name in zip(factors, names, strict=True)]
    more = f" and {len(some) - LISTED} more" if len(some) > LISTED else ""
    return ", ".join(some[:LISTED]) + more


def repaired_like(model: Markov, notes: dict[str, Any]) -> Any:
    """A recalibrated model of the right structure and shapes, with numbers that mean nothing."""
    ones = np.ones(notes["shape"], notes.get("dtype", "float32"))  # older runs are all of that
    if notes["per"] == "horizon":
        return ByStep(model, ones)
    wrapped = _AROUND[notes["method"]](model.kernel, ones)
    return eqx.tree_at(lambda m: m.kernel, model, wrapped)
