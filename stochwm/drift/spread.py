"""How far apart imagined futures are, start by start."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions.checks import as_float


def spread_along(futures: Any, unit: Any = 1.0) -> Float[Array, " horizon"]:
    """The mean distance between two futures from one start, the largest so far, after each step.

    Where the world is certain the futures of a perfect model are one, and how far they are apart
    says how far off they are: under the promise of `Accuracy`, with the threshold that it finds on
    `rehearse(...).of_clouds()`, a start is trusted for as long as this is at most the threshold. A
    guard inside a rollout sees one future and cannot know it. In a random world it is chance.

    Args:
        futures: `[particles, horizon, state]`, at least 2 particles.
        unit: of each number of the state, a scalar or `[state]`.

    Raises:
        ValueError: futures or a unit of another shape.
    """
    futures = as_float("futures", futures)
    if futures.ndim != 3 or len(futures) < 2:
        raise ValueError(
            "futures must be [particles, horizon, state] with at least 2 particles, but has shape "
            f"{futures.shape}."
        )
    unit = jnp.asarray(unit, float)
    if unit.shape not in ((), futures.shape[2:]):
        raise ValueError(
            "unit must be one number or one a dimension of the state, "
            f"{list(futures.shape[2:])}, but has shape {unit.shape}."
        )
    return jax.lax.cummax(jax.vmap(_apart, in_axes=1)(futures / unit))


def _apart(cloud: Float[Array, "particles state"]) -> Float[Array, ""]:
    number = len(cloud)
    return jnp.sum(jnp.linalg.norm(cloud[:, None] - cloud, axis=-1)) / (number * (number - 1))
