"""How narrow a prediction is: worth something only where it is calibrated."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import AbstractDistribution, AbstractSampler
from ..distributions.checks import as_float, as_level
from .score_inputs import Prediction, core_of


class Sharpness(NamedTuple):
    """How far a prediction spreads, in the units of each dimension; less is sharper."""

    width: Float[Array, " dim"]
    """Length of the central interval."""
    std: Float[Array, " dim"]
    """Standard deviation."""


def sharpness(prediction: Prediction, level: float = 0.9) -> Sharpness:
    """Width of the central interval of mass `level`, and standard deviation, of each marginal.

    (Gneiting, Balabdaoui & Raftery 2007, "Probabilistic forecasts, calibration and sharpness".)

    Args:
        prediction: a distribution with `quantile` and `variance`, or samples `[samples, dim]`, at
            least 2.
        level: mass of the interval, strictly between 0 and 1.

    Raises:
        ValueError: a level out of range, or too few samples.
        NotImplementedError: a distribution without a closed form: pass samples of it.
    """
    mass = as_level(level)
    ends = (1 - mass) / 2, (1 + mass) / 2
    if isinstance(prediction, AbstractSampler):
        if not isinstance(core_of(prediction), AbstractDistribution):
            raise NotImplementedError(
                f"{type(prediction).__name__} has no quantile: pass samples [samples, dim] of it."
            )
        law: Any = prediction
        low, high = (law.quantile(end) for end in ends)
        return Sharpness(high - low, jnp.sqrt(law.variance()))
    samples = as_float("prediction", prediction)
    if samples.ndim != 2 or len(samples) < 2:
        raise ValueError(
            "prediction must be a distribution or samples [samples, dim], at least 2, but has "
            f"shape {samples.shape}."
        )
    low, high = jnp.quantile(samples, jnp.stack(ends), axis=0)
    return Sharpness(high - low, jnp.std(samples, axis=0, ddof=1))
