"""Disagreement of whole marginals: how far the members' cdfs are from their mean."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..calibration import crps
from ..calibration.marginals import exact_crps
from ..distributions import UniformMixture
from ..distributions.mixture import over_components
from .gap import gap_of_clouds
from .members import as_clouds, densities, is_clouds, needs_draws


def cdf_disagreement(prediction: Any, *, fair: bool = True) -> Float[Array, ""]:
    """Mean over members of `int (F_e - F_mean)^2`, summed over dimensions, in their units.

    The integral is that of Cramer (1928). It sees every difference of marginals, modes at equal
    means included, but not how dimensions depend on each other: see `MutualInformation` and
    `energy_distance`.

    For any value y it equals the members' mean CRPS minus the CRPS of their mixture: with
    `CRPS(F, y) = E|X - y| - E|X - X'| / 2`, the first parts agree and what is left is the identity
    `int (F - G)^2 = E|X - Y| - E|X - X'| / 2 - E|Y - Y'| / 2` (Szekely 2003), averaged. So it is
    exact wherever the CRPS is: normals and their mixtures in closed form, boxes with atoms,
    categoricals, certain predictions, joints of these.

    Args:
        prediction: of an ensemble, or clouds `[members, particles, dim]`, which are sorted.
        fair: of clouds: unbiased in the number of particles (at least 2), which can be negative;
            else of the clouds themselves.

    Raises:
        TypeError: not an ensemble's prediction, `ValueError` for clouds of another shape.
        NotImplementedError: members without an exact CRPS: use `OnDraws(cdf_disagreement, ...)`.
    """
    if is_clouds(prediction):
        clouds = as_clouds(prediction, least=1 + fair)
        return jnp.sum(gap_of_clouds(crps, clouds, fair=fair))
    mixture = densities(prediction)
    gap = _exact_gap(mixture)
    if gap is None:
        raise needs_draws(mixture)
    return jnp.maximum(jnp.sum(gap), 0.0)


def _exact_gap(mixture: UniformMixture) -> Float[Array, " dim"] | None:
    try:
        # Any value gives the same; one amid the mass loses the least to rounding.
        value: Any = jax.lax.stop_gradient(mixture.mean())
    except NotImplementedError:
        return None
    of_mixture = exact_crps(mixture, value)
    if of_mixture is None:
        return None
    of_members = over_components(lambda member: exact_crps(member, value), mixture.members)
    return jnp.mean(of_members, axis=0) - of_mixture
