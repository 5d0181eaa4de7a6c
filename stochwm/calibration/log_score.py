"""The log score: how surprising was what happened?"""

from typing import Any

from jaxtyping import Array, Float

from ..distributions import UniformMixture
from .score_inputs import Prediction


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
    part: Any = prediction
    while isinstance(part, UniformMixture):
        part = part.members
    if not hasattr(part, "log_prob"):
        kind = type(part).__name__
        raise TypeError(
            f"log_score needs a density, and a {kind} has no log_prob: pass a distribution that "
            "has one, or score samples with crps or energy_score."
        )
    scored: Any = prediction
    return -scored.log_prob(value)
