"""Disagreement at one step of a world model, and along futures that its members imagine."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..distributions.checks import as_float
from ..models import AbstractWorldModel
from .members import Measure


def disagreement(
    model: AbstractWorldModel, state: PyTree[Array], action: Array, measure: Measure
) -> Float[Array, ""]:
    """How far the members disagree about what follows one state and action.

    Along a rollout, pass `record=lambda state, action, prediction, next_state:
    measure(prediction)` to `imagine`: the prediction is then made once.

    Args:
        model: a world model whose kernel is an `Ensemble`; its members may be `Standardised`, or
            the ensemble as a whole.
        state: one state; `vmap` over many.
        action: one action.
        measure: any `measure(prediction)`.

    Raises:
        TypeError: the model's prediction is not an ensemble's.
    """
    return measure(model.transition(state, action))


def disagreement_along(
    futures: Any, num_members: int, measure: Measure
) -> Float[Array, " horizon"]:
    """How far the members' clouds are apart after each step of TS-infinity futures.

    Args:
        futures: `[particles, horizon, state]`, particle i of member i modulo `num_members`, as
            `stochwm.calibration.open_loop` and `imagine_tsinf` give them.
        num_members: how many members made them; it divides the particles.
        measure: a `measure(clouds)`, such as `energy_distance`.

    Raises:
        ValueError: another shape, or particles that the members do not share evenly.
    """
    return jax.vmap(measure)(by_member(futures, num_members))


def by_member(futures: Any, num_members: int) -> Float[Array, "horizon members particles state"]:
    """TS-infinity futures as one set of clouds a step; arguments as for `disagreement_along`.

    Raises:
        ValueError: another shape, or particles that the members do not share evenly.
    """
    futures = as_float("futures", futures)
    if futures.ndim != 3:
        raise ValueError(
            f"futures must be [particles, horizon, state], but has shape {futures.shape}."
        )
    if num_members < 1 or len(futures) % num_members:
        raise ValueError(
            "num_members must divide the number of particles, so that each member has as many, but "
            f"is {num_members} of {len(futures)} particles."
        )
    shared = futures.reshape(-1, num_members, *futures.shape[1:])
    return jnp.moveaxis(shared, (0, 1, 2), (2, 1, 0))
