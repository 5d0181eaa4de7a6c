"""Means and scales of the training data, for networks that see standardised numbers."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..transitions import Standardiser
from .checks import numbers
from .spaces import FlatSpace
from .views import Transitions


def fit_standardiser(values: Any, space: FlatSpace | None = None) -> Standardiser:
    """Mean and standard deviation of each column.

    A column that is constant, up to the rounding of float32, gets scale 1. Entries of one-hot
    blocks are left as they are (mean 0, scale 1): they are of order one already, and stay one-hot.

    Args:
        values: `[N, D]` numbers, N >= 1; the moments are computed in float64.
        space: what the D entries mean; None: no one-hot blocks.

    Raises:
        TypeError: `values` are not real numbers.
        ValueError: `values` are not `[N, D]` with N >= 1 and D as in `space`, or not finite.
    """
    values = numbers("values", values, None if space is None else space.size)
    if not len(values):
        raise ValueError(f"values have shape {values.shape}, expected at least one row")
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise ValueError(f"row {row} of values is {values[row]}, expected finite numbers")
    exact = values.astype(np.float64)
    mean, scale = exact.mean(axis=0), exact.std(axis=0)
    # Below the resolution of float32 the spread is rounding noise, which would be blown up.
    scale = np.where(scale > 1e-7 * np.abs(exact).max(axis=0), scale, 1.0)
    scale = np.where(scale > 1e-30, scale, 1.0)
    if space is not None:
        mean, scale = np.where(space.one_hot, 0.0, mean), np.where(space.one_hot, 1.0, scale)
    return Standardiser(mean=jnp.asarray(mean, "float32"), scale=jnp.asarray(scale, "float32"))


def standardisers(
    transitions: Transitions, observation_space: FlatSpace, action_space: FlatSpace
) -> tuple[Standardiser, Standardiser, Standardiser]:
    """Standardisers of the state, the action and the change of state, for `Standardised`.

    Fit them on the training part only: statistics of held-out episodes would leak into training.

    Args:
        transitions: N training steps.
        observation_space: the flat observation space.
        action_space: the flat action space.

    Returns:
        `(state, action, delta)`; delta standardises s' - s.

    Raises:
        TypeError: whole episodes.
        ValueError: as `fit_standardiser`.
    """
    if not hasattr(transitions, "next_state"):
        raise TypeError(
            f"transitions must be Transitions, but is {type(transitions).__name__}: pass "
            "train.transitions() of the training episodes."
        )
    state = np.asarray(transitions.state, np.float64)
    delta = np.asarray(transitions.next_state, np.float64) - state
    return (
        fit_standardiser(transitions.state, observation_space),
        fit_standardiser(transitions.action, action_space),
        fit_standardiser(delta, observation_space),
    )
