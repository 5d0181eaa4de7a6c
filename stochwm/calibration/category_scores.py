"""Scores of the probabilities of categories."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..distributions import AbstractSampler, OneHotCategoricals, UniformMixture
from ..distributions.checks import as_float
from ..distributions.cloud import WEIGHT_TOLERANCE


def brier(prediction: Any, value: Any) -> Float[Array, ""]:
    """Brier score, `sum_c (p_c - 1{c came})^2`, from 0 to 2; lower is better.

    Strictly proper (Brier 1950, "Verification of forecasts expressed in terms of probability"). The
    order of the classes plays no role; where they have one, use `ranked_probability`.

    Args:
        prediction: probabilities `[classes]`, or an `OneHotCategoricals` of one group, or an
            ensemble of these.
        value: what happened: the index of the class, or its one-hot vector `[classes]`.

    Raises:
        ValueError: bad shapes, several groups; or, where the values are known, probabilities that
            are negative or do not sum to one, or a value that is no class.
        TypeError: another distribution.
    """
    probs = _probabilities(prediction)
    return jnp.sum((probs - _one_hot(value, probs)) ** 2)


def ranked_probability(prediction: Any, value: Any) -> Float[Array, ""]:
    """Ranked probability score of ordered classes; lower is better.

    `sum_c (P(class <= c) - 1{came <= c})^2`, from 0 to classes - 1, strictly proper (Epstein 1969,
    "A scoring system for probability forecasts of ranked categories"; not divided by the number of
    classes): the `crps` of the class's index.

    Args:
        prediction: probabilities `[classes]` in the order of the classes, or an
            `OneHotCategoricals` of one group, or an ensemble of these.
        value: what happened: the index of the class, or its one-hot vector `[classes]`.

    Raises:
        ValueError: as `brier`.
        TypeError: another distribution.
    """
    probs = _probabilities(prediction)
    return jnp.sum(jnp.cumsum(probs - _one_hot(value, probs)) ** 2)


def _probabilities(prediction: Any) -> Float[Array, " classes"]:
    if isinstance(prediction, AbstractSampler):
        core = prediction.members if isinstance(prediction, UniformMixture) else prediction
        if not isinstance(core, OneHotCategoricals):
            raise TypeError(
                "prediction must be probabilities [classes] or an OneHotCategoricals, but is a "
                f"{type(prediction).__name__} of no categories."
            )
        if len(core.sizes) > 1:
            raise ValueError(
                f"prediction must have one group of classes, but has {len(core.sizes)} (sizes "
                f"{core.sizes}): score each group."
            )
        probs = core.mean()
        probs = probs if core is prediction else jnp.mean(probs, axis=0)
    else:
        probs = as_float("prediction", prediction)
    if probs.ndim != 1 or probs.shape[0] == 0:
        raise ValueError(
            f"prediction must hold probabilities [classes], but has shape {probs.shape}; vmap over "
            "batch axes."
        )
    _check_probabilities("prediction", probs)
    return probs


def _one_hot(value: Any, probs: Array) -> Float[Array, " classes"]:
    classes = probs.shape[0]
    value = jnp.asarray(value)
    if value.shape == probs.shape:
        one_hot = as_float("value", value)
        if not isinstance(one_hot, Tracer) and sorted(np.asarray(one_hot)) != [0] * (
            classes - 1
        ) + [1]:
            raise ValueError(f"value must be one-hot, but is {value}.")
        return one_hot
    if value.ndim or not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(
            f"value must be the index of a class, a whole number, or one-hot [{classes}], but has "
            f"dtype {value.dtype} and shape {value.shape}."
        )
    if not isinstance(value, Tracer) and not 0 <= int(value) < classes:
        raise ValueError(f"value must be a class from 0 to {classes - 1}, but is {value}.")
    return jax.nn.one_hot(value, classes, dtype=probs.dtype)


def _check_probabilities(name: str, probs: Array) -> None:
    if isinstance(probs, Tracer):
        return
    known = np.asarray(probs, np.float64)
    if not (known >= 0).all() or not abs(known.sum() - 1) <= WEIGHT_TOLERANCE:
        raise ValueError(
            f"{name} must hold probabilities that are not negative and sum to one, but the "
            f"smallest is {known.min()} and their sum {known.sum()}."
        )
