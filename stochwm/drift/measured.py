"""A measure taken of a model's prediction, checked as it is traced."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .cdf_disagreement import cdf_disagreement
from .energy_distance import energy_distance
from .information import MutualInformation
from .information_loss import information_loss
from .jensen_shannon import geometric_jensen_shannon
from .members import Measure, as_mixture
from .variance import epistemic_variance
from .wrappers import InUnits, OnDraws

# What is 0 whatever a single member predicts. A measure of the caller's own is left to the caller.
_NEED_TWO = (
    cdf_disagreement,
    energy_distance,
    epistemic_variance,
    geometric_jensen_shannon,
    information_loss,
)


def measured(measure: Measure, prediction: Any) -> Float[Array, ""]:
    """`measure(prediction)`.

    Raises:
        TypeError: `measure` does not take what the model predicts.
        ValueError: it returns no scalar, or is a disagreement, and there is only one member.
    """
    value = measure(prediction)
    if jnp.shape(value):
        raise ValueError(
            f"measure must return a scalar, but returned shape {jnp.shape(value)}: sum over "
            "dimensions, or choose one."
        )
    if _needs_two(measure) and as_mixture(prediction).num_members < 2:
        raise ValueError(
            "the ensemble must have at least 2 members to disagree, but has 1: this measure would "
            "be 0 whatever happens. Train more members, or pass a measure= that needs only one, "
            "such as stochwm.drift.total_variance."
        )
    return value


def _needs_two(measure: Measure) -> bool:
    while isinstance(measure, InUnits | OnDraws):
        measure = measure.measure
    return isinstance(measure, MutualInformation) or any(measure is one for one in _NEED_TWO)
