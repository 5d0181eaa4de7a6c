"""Are the modes of the true law, or of a sample of it, found, and are their weights right?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import DiagNormalMixture, Modes


class ModeReport(NamedTuple):
    """How well predicted modes match those of a law, or of a reference sample."""

    recall: float
    """Share of the law's modes that have a predicted mode within the tolerance."""
    precision: float
    """Share of the predicted modes that lie within the tolerance of a mode of the law."""
    weight_error: float
    """Mean absolute difference between the share of draws nearest to a mode and its weight."""


def mode_report(
    model: Callable[[Array, Array], Any],
    law: Callable[[Array, Array], Any] | Array | np.ndarray,
    states: Float[Array | np.ndarray, "points dim"],
    actions: Float[Array | np.ndarray, "points action"],
    *,
    tolerance: Any,
    key: PRNGKeyArray,
    min_weight: float = 0.05,
    num_samples: int = 2000,
) -> ModeReport:
    """Compare the modes of a model's predictions with those of the true law.

    Where the law is not known, a simulator that is set to the same state again and again gives a
    reference sample: its modes are those of a normal kernel density with half the tolerance as its
    bandwidth. Take 100 draws a point or more, and a tolerance of about twice the width of a mode:
    with less, chance makes modes of `min_weight`.

    Args:
        model: `(state, action) -> distribution`, which needs `modes`.
        law: the same, or a reference sample: what came next from each point, again and again,
            `[points, draws, dim]`.
        states, actions: where to compare, `[points, dim]` and `[points, action]`.
        tolerance: how far a predicted mode may be off, in units of each dimension, a scalar or
            `[dim]`.
        key: for the draws that the weights are measured with.
        min_weight: lighter modes, of either side, are left out.
        num_samples: draws a point.

    Returns:
        Averages over the modes of all points.

    Raises:
        TypeError: a world model in place of its transition.
        ValueError: a tolerance or weight that is not positive, a tolerance or a reference sample
            of another shape, a sample with NaN, or no mode of the law is that heavy.
    """
    if not callable(model):
        mend = ": pass model.transition" if hasattr(model, "transition") else ""
        raise TypeError(
            "model must be a function (state, action) -> distribution, but a "
            f"{type(model).__name__} is none{mend}."
        )
    if not (np.all(np.asarray(tolerance) > 0) and min_weight > 0):
        raise ValueError(
            "tolerance and min_weight must be positive, but are "
            f"{np.asarray(tolerance).tolist()} and {min_weight}."
        )
    tolerance = jnp.asarray(tolerance, float)
    if tolerance.shape not in ((), states.shape[1:]):
        raise ValueError(
            f"tolerance must be one number or [{states.shape[1]}], but has shape {tolerance.shape}."
        )
    reference = None if callable(law) else _checked(law, states)

    def at(state, action, draws, key):
        known = law(state, action) if callable(law) else _density(draws, tolerance / 2)
        predicted, true = model(state, action), known.modes()
        found = predicted.modes()
        close = jnp.max(jnp.abs(true.loc[:, None] - found.loc[None]) / tolerance, axis=-1) <= 1
        is_true, is_found = true.weight >= min_weight, found.weight >= min_weight
        hit = jnp.any(close & is_found[None], axis=1) & is_true
        right = jnp.any(close & is_true[:, None], axis=0) & is_found
        error = jnp.abs(_shares(predicted, true, key, num_samples, tolerance) - true.weight)
        error = jnp.where(is_true, error, 0.0)
        return hit.sum(), is_true.sum(), right.sum(), is_found.sum(), error.sum()

    keys = jax.random.split(key, states.shape[0])
    inputs = (jnp.asarray(states), jnp.asarray(actions), reference, keys)
    counts = eqx.filter_jit(jax.vmap(at))(*inputs)
    hit, is_true, right, is_found, error = (float(jnp.sum(count)) for count in counts)
    if not is_true:
        raise ValueError(f"no mode of the law has weight {min_weight} or more; lower min_weight.")
    return ModeReport(hit / is_true, right / max(is_found, 1.0), error / is_true)


def _checked(reference: Any, states: Any) -> Float[Array, "points draws dim"]:
    draws = np.asarray(reference, np.float32)
    if draws.ndim != 3 or draws.shape[::2] != states.shape or draws.shape[1] < 2:
        points, dim = states.shape
        raise ValueError(
            f"a reference sample must have shape [points, draws, dim], here [{points}, 2 or more, "
            f"{dim}] as there are {points} states, but has {list(draws.shape)}."
        )
    if not np.all(np.isfinite(draws)):
        raise ValueError("a reference sample must be finite, but has NaN or infinite values.")
    return jnp.asarray(draws)


def _density(draws: Float[Array, "draws dim"], bandwidth: Array) -> DiagNormalMixture:
    """The kernel density of a sample: a normal on every draw."""
    scale = jnp.broadcast_to(bandwidth, draws.shape)
    return DiagNormalMixture(jnp.zeros(len(draws)), draws, scale)


def _shares(predicted, true: Modes, key, num_samples, tolerance) -> Float[Array, " modes"]:
    """Share of the prediction's draws that are nearest to each mode of the law."""
    keys = jax.random.split(key, num_samples)
    draws = jax.vmap(lambda seed: predicted.sample(seed=seed))(keys)
    distance = jnp.sum(((draws[:, None] - true.loc[None]) / tolerance) ** 2, axis=-1)
    nearest = jnp.argmin(jnp.where(true.weight > 0, distance, jnp.inf), axis=-1)
    return jnp.mean(jax.nn.one_hot(nearest, true.loc.shape[0]), axis=0)
