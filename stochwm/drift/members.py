"""What every measure accepts: an ensemble's prediction, or a cloud of particles a member."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..calibration import PitMapped
from ..distributions import (
    AbstractDistribution,
    AbstractSampler,
    LatentStateDistribution,
    UniformMixture,
)
from ..distributions.checks import as_float, check_finite
from ..distributions.mixture import over_components

SMALLEST_SHARE = 1e-6  # of the total variance, which the variance of a member is raised to

Ensembled: TypeAlias = UniformMixture | Array | np.ndarray
"""What an `Ensemble` predicts, or clouds `[members, particles, dim]`."""

Measure: TypeAlias = Callable[[Any], Float[Array, ""]]
"""`measure(prediction)`, a scalar: 0 where members agree, more where they do not."""


class Moments(NamedTuple):
    """What each member predicts, dimension by dimension."""

    mean: Float[Array, "members dim"]
    variance: Float[Array, "members dim"]


def as_mixture(prediction: Any) -> UniformMixture:
    """The prediction of an ensemble, whose latent states are reduced to what is drawn of them.

    Of one whose marginals were recoded (`recalibrate`, methods "pit" and "beta"), that beneath: the
    map belongs to the mixture as a whole, and its members disagree as they did.

    Raises:
        TypeError: one that is not an ensemble's.
        ValueError: a stack of predictions.
    """
    if isinstance(prediction, LatentStateDistribution):
        prediction = prediction.stoch
    if isinstance(prediction, PitMapped):
        prediction = prediction.base
    if not isinstance(prediction, UniformMixture):
        raise TypeError(
            "prediction must be that of an ensemble (a UniformMixture) or clouds "
            f"[members, particles, dim], but is a {type(prediction).__name__}: only the members "
            "of an Ensemble, or the prior heads of an RSSM, can disagree."
        )
    if isinstance(prediction.members, LatentStateDistribution):
        prediction = UniformMixture(prediction.members.stoch)
    prediction.log_weights()  # refuses a stack, whose first axis would pass for the members
    return prediction


def densities(prediction: Any) -> UniformMixture:
    """As `as_mixture`, for what takes members with a density.

    Raises:
        TypeError: not an ensemble's prediction.
        NotImplementedError: members that can only be sampled.
    """
    mixture = as_mixture(prediction)
    if not isinstance(mixture.members, AbstractDistribution):
        raise NotImplementedError(
            f"{type(mixture.members).__name__} can only be sampled: measure clouds of it "
            "(draw_clouds, OnDraws)."
        )
    return mixture


def is_clouds(prediction: Any) -> bool:
    """Whether the prediction came as particles."""
    return isinstance(prediction, Array | np.ndarray)


def as_clouds(prediction: Any, least: int = 1) -> Float[Array, "members particles dim"]:
    """The clouds, at least `least` particles each.

    Raises:
        TypeError: what is neither clouds nor an ensemble's prediction.
        NotImplementedError: an ensemble's prediction, which has to be drawn first.
        ValueError: another shape, or entries known to be not finite.
    """
    if isinstance(prediction, AbstractSampler):
        raise needs_draws(as_mixture(prediction))
    if not is_clouds(prediction):
        as_mixture(prediction)
    clouds = as_float("prediction", prediction)
    if clouds.ndim != 3 or 0 in clouds.shape or clouds.shape[1] < least:
        raise ValueError(
            f"prediction must be clouds [members, particles, dim] with at least {least} particles "
            f"a member, but has shape {clouds.shape}."
        )
    check_finite("prediction", clouds)
    return clouds


def needs_draws(mixture: UniformMixture) -> NotImplementedError:
    """The error that says how to measure members without a closed form."""
    return NotImplementedError(
        f"This measure of members that are {type(mixture.members).__name__} has no closed form: "
        "wrap it, OnDraws(measure, key=...), or give it clouds [members, particles, dim]."
    )


def moments_of(prediction: Any) -> Moments:
    """Mean and variance of each member; those of a cloud are the cloud's own.

    Raises:
        TypeError: not an ensemble's prediction, or `ValueError` for another shape.
        NotImplementedError: members without closed-form moments.
    """
    if is_clouds(prediction):
        clouds = as_clouds(prediction)
        return Moments(jnp.mean(clouds, axis=1), jnp.var(clouds, axis=1))
    members = densities(prediction).members
    return Moments(*over_components(lambda member: (member.mean(), member.variance()), members))


def positive_moments_of(prediction: Any) -> Moments:
    """As `moments_of`, for formulas that divide by variances.

    Members that are certain, or nearly, get a millionth of the total variance in that dimension.
    """
    mean, variance = moments_of(prediction)
    total = jnp.mean(variance, axis=0) + jnp.var(mean, axis=0)
    # Gradients divide by its square, which must be a number, and so must what comes of it.
    smallest = 16 * float(jnp.finfo(mean.dtype).tiny) ** 0.5
    floor = jnp.maximum(SMALLEST_SHARE * total, smallest)
    return Moments(mean, jnp.maximum(variance, floor))


def draw_clouds(
    prediction: Any, *, key: PRNGKeyArray, particles: int
) -> Float[Array, "members particles dim"]:
    """Independent draws of each member, `[members, particles, dim]`.

    Raises:
        TypeError: not an ensemble's prediction, or one whose values are not vectors.
        ValueError: fewer than one particle.
    """
    if particles < 1:
        raise ValueError(f"particles must be at least 1, but is {particles}.")
    mixture = as_mixture(prediction)
    keys = jax.random.split(key, (mixture.num_members, particles))

    def of_member(member, keys):
        return jax.vmap(lambda seed: member.sample(seed=seed))(keys)

    draws = eqx.filter_vmap(of_member)(mixture.members, keys)
    if not isinstance(draws, Array) or draws.ndim != 3:
        raise TypeError(
            f"prediction must draw vectors, but members that are {type(mixture.members).__name__} "
            f"draw {type(draws).__name__}."
        )
    return draws
