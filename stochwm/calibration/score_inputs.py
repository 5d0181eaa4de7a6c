"""What every score accepts: a distribution of ours, or an array of its samples."""

from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import (
    AbstractDistribution,
    AbstractSampler,
    Deterministic,
    OneHotCategoricals,
    UniformMixture,
)
from ..distributions.checks import as_float, check_finite
from ..distributions.cloud import as_weights, check_cloud

NUM_SAMPLES = 500  # draws that stand for a distribution whose score has no closed form

Prediction: TypeAlias = AbstractSampler | Array | np.ndarray
"""A distribution, or samples `[samples, dim]`."""


class Cloud(NamedTuple):
    """What stands for a prediction: draws, or the points of a finite support."""

    samples: Float[Array, "samples dim"]
    weights: Float[Array, " samples"] | None
    """None: equal weights."""
    fair: bool
    """Whether pairs are of different samples; never for a support, whose mean is exact."""


def as_value(value: Any) -> Float[Array, " dim"]:
    """What happened, as a vector of floating-point numbers.

    Raises:
        ValueError: another shape than `[dim]`, or entries known to be not finite.
    """
    value = as_float("value", value)
    if value.ndim != 1 or value.shape[0] == 0:
        raise ValueError(
            f"value must be one vector [dim], but has shape {value.shape}; vmap over batch axes."
        )
    check_finite("value", value)
    return value


def core_of(prediction: Any) -> Any:
    """What an ensemble mixes, however deep: the mixture can do what its members can."""
    while isinstance(prediction, UniformMixture):
        prediction = prediction.members
    return prediction


def density_of(prediction: Any, value: Array, weights: Any = None) -> Any:
    """The prediction where it has a density over vectors, else None.

    Raises:
        ValueError: one that draws values of another shape, as a stack does, or one with weights.
    """
    if isinstance(prediction, AbstractSampler) and weights is not None:
        raise ValueError(
            f"weights belong to an array of samples, but prediction is a "
            f"{type(prediction).__name__}."
        )
    if not isinstance(core_of(prediction), AbstractDistribution):
        return None
    drawn = eqx.filter_eval_shape(lambda d: d.sample(seed=jax.random.key(0)), prediction)
    shape = getattr(drawn, "shape", None)
    if shape != value.shape:
        raise ValueError(
            f"prediction must be one distribution over values of shape {value.shape} like value, "
            f"but draws {shape or drawn}: mend value, or eqx.filter_vmap the score over a stack."
        )
    return prediction


def as_cloud(
    score: str,
    prediction: Prediction,
    value: Float[Array, " dim"],
    *,
    fair: bool,
    weights: Any = None,
    key: PRNGKeyArray | None,
    num_samples: int,
) -> Cloud:
    """The prediction as samples: itself, the points of its finite support, or draws with `key`.

    Raises:
        ValueError: samples or weights as `check_cloud` and `as_weights` refuse them, or a
            distribution without a `key`.
        TypeError: a distribution whose values are not vectors.
    """
    if not isinstance(prediction, AbstractSampler):
        samples = as_float("prediction", prediction)
        check_cloud(samples, value, fair=fair)
        return Cloud(samples, as_weights(weights, samples.shape[0], fair=fair), fair)
    points, probs = _support(prediction)
    if points is not None:
        check_cloud(points, value, fair=False)
        return Cloud(points, probs, False)
    samples = _draws(score, prediction, key, num_samples)
    check_cloud(samples, value, fair=fair)
    return Cloud(samples, None, fair)


def _support(prediction: AbstractSampler) -> tuple[Array | None, Array | None]:
    """The values that can come and their probabilities (None: equal); no values if too many."""
    members = prediction.members if isinstance(prediction, UniformMixture) else None
    if isinstance(prediction, Deterministic) and isinstance(prediction.loc, Array):
        return prediction.loc[None], None
    if isinstance(members, Deterministic) and isinstance(members.loc, Array):
        return members.loc, None
    if isinstance(prediction, UniformMixture) and isinstance(members, OneHotCategoricals):
        return _support(prediction.flatten()) if len(members.sizes) == 1 else (None, None)
    if isinstance(prediction, OneHotCategoricals) and len(prediction.sizes) == 1:
        return jnp.eye(prediction.event_shape[0]), prediction.mean()
    return None, None


def _draws(score: str, prediction: AbstractSampler, key: PRNGKeyArray | None, number: int) -> Array:
    name = type(prediction).__name__
    if key is None:
        raise ValueError(
            f"The {score} of a {name} has no closed form: pass key=jax.random.key(...) to score "
            f"draws of it (num_samples={number})."
        )
    if number < 2:
        raise ValueError(f"num_samples must be at least 2, but is {number}.")
    draws = jax.vmap(lambda seed: prediction.sample(seed=seed))(jax.random.split(key, number))
    if not isinstance(draws, Array):
        raise TypeError(
            f"prediction must draw vectors, but a {name} draws {type(draws).__name__}: score the "
            "part that is a vector."
        )
    return draws
