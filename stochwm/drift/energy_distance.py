"""Disagreement of whole clouds: the energy distance between what members imagine."""

from typing import Any

from jaxtyping import Array, Float

from ..distributions import energy_score
from .gap import gap_of_clouds
from .members import as_clouds


def energy_distance(prediction: Any, *, fair: bool = True) -> Float[Array, ""]:
    """Mean over pairs of different members of `2 E|X - Y| - E|X - X'| - E|Y - Y'|`, in units.

    Zero only for equal joint distributions (Szekely & Rizzo 2013, "Energy statistics"), however
    many steps ahead: measure the clouds of TS-infinity futures with it. In one dimension it is
    `4 members / (members - 1)` times `cdf_disagreement`. It holds the distances between all pairs
    of particles: `(members * particles)^2` numbers.

    Args:
        prediction: clouds `[members, particles, dim]`. For an ensemble's prediction use
            `OnDraws(energy_distance, key=...)`.
        fair: unbiased in the number of particles (at least 2), which can be negative; else of the
            clouds themselves.

    Raises:
        TypeError, ValueError: not clouds.
        NotImplementedError: an ensemble's prediction, which has to be drawn first.
    """
    clouds = as_clouds(prediction, least=1 + fair)
    members = clouds.shape[0]
    return 4 * members / max(members - 1, 1) * gap_of_clouds(energy_score, clouds, fair=fair)
