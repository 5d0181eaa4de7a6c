"""The log score: how surprising was what happened?"""

from typing import Any

from jaxtyping import Array, Float

from .score_inputs import Prediction, core_of


def log_score(prediction: Prediction, value: Any) -> Float[Array, ""]:
    """Minus the log density (log mass at atoms and of categories), in nats; lower is better.

    Strictly proper and local (Good 1952, "Rational decisions"). Densities of atoms and of intervals
    do not compare: add noise to a target with atoms, or use `crps`.

    Args:
        prediction: a distribution with a density.
        value: what happened, of its event shape.

    Raises:
        TypeError: samples, or a distribution without a density, which have no log score.
        ValueError: a value of another shape.
    """
    core = core_of(prediction)
    if not hasattr(core, "log_prob"):
        kind = type(core).__name__
        raise TypeError(
            f"log_score needs a density, and a {kind} has no log_prob: pass a distribution that "
            "has one, or score samples with crps or energy_score."
        )
    scored: Any = prediction
    return -scored.log_prob(value)
