"""Are the modes of the true law found, and are their weights right?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import Modes


class ModeReport(NamedTuple):
    """How well predicted modes match those of a law."""

    recall: float
    """Share of the law's modes that have a predicted mode within the tolerance."""
    precision: float
    """Share of the predicted modes that lie within the tolerance of a mode of the law."""
    weight_error: float
    """Mean absolute difference between the share of draws nearest to a mode and its weight."""


def mode_report(
    model: Callable[[Array, Array], Any],
    law: Callable[[Array, Array], Any],
    states: Float[Array | np.ndarray, "points dim"],
    actions: Float[Array | np.ndarray, "points action"],
    *,
    tolerance: float | Float[Array | np.ndarray, " dim"],
    key: PRNGKeyArray,
    min_weight: float = 0.05,
    num_samples: int = 2000,
) -> ModeReport:
    """Compare the modes of a model's predictions with those of the true law.

    Args:
        model, law: `(state, action) -> distribution`; the model needs `modes`, the law too.
        states, actions: where to compare, `[points, dim]` and `[points, action]`.
        tolerance: how far a predicted mode may be off, in units of each dimension.
        key: for the draws that the weights are measured with.
        min_weight: lighter modes, of either side, are left out.
        num_samples: draws a point.

    Returns:
        Averages over the modes of all points.

    Raises:
        ValueError: a tolerance or weight that is not positive, or no mode of the law is that heavy.
    """
    if not (np.all(np.asarray(tolerance) > 0) and min_weight > 0):
        raise ValueError(
            "tolerance and min_weight must be positive, but are "
            f"{np.asarray(tolerance).tolist()} and {min_weight}."
        )
    tolerance = jnp.asarray(tolerance, float)

    def at(state, action, key):
        predicted, true = model(state, action), law(state, action).modes()
        found = predicted.modes()
        close = jnp.max(jnp.abs(true.loc[:, None] - found.loc[None]) / tolerance, axis=-1) <= 1
        is_true, is_found = true.weight >= min_weight, found.weight >= min_weight
        hit = jnp.any(close & is_found[None], axis=1) & is_true
        right = jnp.any(close & is_true[:, None], axis=0) & is_found
        error = jnp.abs(_shares(predicted, true, key, num_samples, tolerance) - true.weight)
        error = jnp.where(is_true, error, 0.0)
        return hit.sum(), is_true.sum(), right.sum(), is_found.sum(), error.sum()

    keys = jax.random.split(key, states.shape[0])
    counts = eqx.filter_jit(jax.vmap(at))(jnp.asarray(states), jnp.asarray(actions), keys)
    hit, is_true, right, is_found, error = (float(jnp.sum(count)) for count in counts)
    if not is_true:
        raise ValueError(f"no mode of the law has weight {min_weight} or more; lower min_weight.")
    return ModeReport(hit / is_true, right / max(is_found, 1.0), error / is_true)


def _shares(predicted, true: Modes, key, num_samples, tolerance) -> Float[Array, " modes"]:
    """Share of the prediction's draws that are nearest to each mode of the law."""
    keys = jax.random.split(key, num_samples)
    draws = jax.vmap(lambda seed: predicted.sample(seed=seed))(keys)
    distance = jnp.sum(((draws[:, None] - true.loc[None]) / tolerance) ** 2, axis=-1)
    nearest = jnp.argmin(jnp.where(true.weight > 0, distance, jnp.inf), axis=-1)
    return jnp.mean(jax.nn.one_hot(nearest, true.loc.shape[0]), axis=0)
