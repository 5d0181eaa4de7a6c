"""Disagreement of means: the law of total variance."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions.mixture import over_components
from .members import as_clouds, densities, is_clouds, moments_of


class VarianceSplit(NamedTuple):
    """Two covariances whose sum is that of the ensemble's prediction, in squared units."""

    aleatoric: Float[Array, "dim dim"]
    """The mean of the covariances that the members predict."""
    epistemic: Float[Array, "dim dim"]
    """The covariance of the means that they predict."""


def split_variance(prediction: Any) -> VarianceSplit:
    """The covariance of an ensemble's prediction in two: chance, and disagreement of means.

    `Cov[x] = E[Cov[x | member]] + Cov[E[x | member]]` (law of total variance; for ensembles,
    Lakshminarayanan et al. 2017, arXiv 1612.01474; Depeweg et al. 2018, arXiv 1710.07283). It sees
    means only: members with equal means and different modes count as agreeing. Use
    `split_information` for those.

    Args:
        prediction: of an ensemble, or clouds `[members, particles, dim]`.

    Raises:
        TypeError: not an ensemble's prediction, `ValueError` for clouds of another shape.
        NotImplementedError: members without a closed-form covariance.
    """
    if is_clouds(prediction):
        clouds = as_clouds(prediction)
        return _split(jnp.mean(clouds, axis=1), jax.vmap(_covariance)(clouds))
    members = densities(prediction).members
    return _split(*over_components(lambda member: (member.mean(), member.covariance()), members))


def epistemic_variance(prediction: Any) -> Float[Array, ""]:
    """Variance of the members' means, summed over dimensions, in squared units.

    The trace of `split_variance(prediction).epistemic`. Of clouds it includes their sampling
    noise, the members' mean variance times `(1 - 1 / members) / particles`.

    Args:
        prediction: of an ensemble, or clouds `[members, particles, dim]`.

    Raises:
        TypeError: not an ensemble's prediction, `ValueError` for clouds of another shape.
        NotImplementedError: members without closed-form moments.
    """
    return jnp.sum(jnp.var(moments_of(prediction).mean, axis=0))


def total_variance(prediction: Any) -> Float[Array, ""]:
    """Variance of the ensemble's prediction, summed over dimensions, in squared units.

    A baseline, not a measure of disagreement: in a random world it is large where the world is.
    Arguments and errors as for `epistemic_variance`.
    """
    moments = moments_of(prediction)
    return jnp.sum(jnp.var(moments.mean, axis=0) + jnp.mean(moments.variance, axis=0))


def _split(means: Array, covariances: Array) -> VarianceSplit:
    return VarianceSplit(jnp.mean(covariances, axis=0), _covariance(means))


def _covariance(rows: Float[Array, "rows dim"]) -> Float[Array, "dim dim"]:
    away = rows - jnp.mean(rows, axis=0)
    return jnp.mean(away[:, :, None] * away[:, None], axis=0)
