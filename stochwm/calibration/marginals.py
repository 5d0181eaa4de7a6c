"""The exact CRPS of each marginal, family by family."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from ..distributions import (
    BoxMixture,
    Censored,
    Deterministic,
    DiagNormal,
    DiagNormalMixture,
    FullNormal,
    FullNormalMixture,
    Joint,
    OneHotCategoricals,
    UniformBox,
    UniformMixture,
)
from ..distributions.mixture import take

OFFSETS = np.array([-9.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 9.0])  # where Phi is cut up
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)  # ... into pieces that these integrate to 1e-9
VANISHED = 40.0  # standard deviations beyond which a normal tail is zero in double precision
PHI_0 = 0.3989422804014327  # the standard normal density at zero
NORMALS = (DiagNormal, FullNormal, DiagNormalMixture, FullNormalMixture)


def exact_crps(prediction: Any, value: Float[Array, " dim"]) -> Float[Array, " dim"] | None:
    """The CRPS of each marginal, or None where the family (or None) has no closed form.

    None for a cloud of points too, which is exact, and much quicker, once it is sorted.
    """
    if _is_cloud(prediction):
        return None
    scores = []
    for part, x in independent_parts(prediction, value):
        normals, bends = _normals(part), _bends(part)
        if normals is not None:
            scores.append(_crps_of_normals(*normals, x))
        elif bends is not None:
            scores.append(_between(part.cdf, *bends, x, -jnp.inf, jnp.inf))
        else:
            return None
    return jnp.concatenate(scores)


def exact_threshold_crps(
    prediction: Any, value: Array, lower: Array, upper: Array
) -> Float[Array, " dim"] | None:
    """The part of each CRPS that lies between thresholds `[dim]`, or None as for `exact_crps`."""
    if _is_cloud(prediction):
        return None
    scores = []
    for part, *ends in independent_parts(prediction, value, lower, upper):
        bends = _bends(part)
        if bends is None:
            return None
        scores.append(_between(part.cdf, *bends, *ends))
    return jnp.concatenate(scores)


def _is_cloud(prediction: Any) -> bool:
    return isinstance(prediction, UniformMixture) and isinstance(prediction.members, Deterministic)


def independent_parts(prediction: Any, *arrays: Array) -> Iterator[tuple]:
    """Pieces with the same marginals as the prediction, each with its entries of the arrays.

    An ensemble of joints mixes whole vectors, but each of its marginals mixes marginals.
    """
    if isinstance(prediction, Joint):
        joint, parts = prediction, prediction.parts
    elif isinstance(prediction, UniformMixture) and isinstance(prediction.members, Joint):
        joint = take(prediction.members, 0)  # for its sizes: those of a stack may be others
        parts = tuple(UniformMixture(part) for part in prediction.members.parts)
    else:
        yield (prediction, *arrays)
        return
    for part, *entries in zip(parts, *map(joint.split, arrays), strict=True):
        yield from independent_parts(part, *entries)


def as_normal_mixture(prediction: Any) -> DiagNormalMixture | FullNormalMixture | None:
    """The prediction as one mixture of normals, or None."""
    if isinstance(prediction, UniformMixture) and isinstance(prediction.members, NORMALS):
        prediction = prediction.flatten()
    if isinstance(prediction, DiagNormal):
        return DiagNormalMixture(jnp.zeros(1), prediction.loc[None], prediction.scale[None])
    if isinstance(prediction, FullNormal):
        return FullNormalMixture(jnp.zeros(1), prediction.loc[None], prediction.scale_tril[None])
    mixes = isinstance(prediction, DiagNormalMixture | FullNormalMixture)
    return prediction if mixes else None


def _crps_of_normals(weights, loc, scale, value) -> Array:
    """The CRPS of mixtures of normals, from arrays `[components, dim]`.

    Grimit et al. (2006), "The continuous ranked probability score for circular variables and its
    application to mesoscale forecast ensemble verification".
    """
    pairs = jnp.hypot(scale[:, None], scale[None])
    apart = _expected_distance(loc[:, None] - loc[None], pairs)
    weights = weights[:, None]
    near = jnp.sum(weights * _expected_distance(value - loc, scale), axis=0)
    return near - 0.5 * jnp.sum(weights[:, None] * weights[None] * apart, axis=(0, 1))


def _expected_distance(shift: Array, scale: Array) -> Array:
    """`E|shift + scale Z|` as |shift| plus what vanishes in the tails, so that nothing cancels."""
    t = jnp.minimum(jnp.abs(shift / scale), VANISHED)
    return jnp.abs(shift) + 2 * scale * (PHI_0 * jnp.exp(-0.5 * t**2) - t * ndtr(-t))


def _between(cdf, place, width, value, lower, upper) -> Array:
    """`int (F(x) - 1{x >= value})^2 dx` from `lower` to `upper`, for each dimension.

    Gauss-Legendre between the bends of the cdf: exact where it is piecewise linear, jumps included
    because no node lies on one. No term is negative, so that nothing cancels in the tails.
    """
    bends = place[None] + OFFSETS.astype(place.dtype)[:, None, None] * width[None]
    points = jnp.concatenate([bends.reshape(-1, value.shape[0]), value[None]])
    points = jnp.sort(jnp.clip(points, lower, upper), axis=0)
    left, length = points[:-1], jnp.diff(points, axis=0)
    fraction = (0.5 * (NODES + 1)).astype(place.dtype)[:, None, None]
    x = left + fraction * length
    below = jax.vmap(cdf)(x.reshape(-1, value.shape[0])).reshape(x.shape)
    gap = below - (left >= jnp.clip(value, lower, upper))
    quadrature = (0.5 * WEIGHTS).astype(place.dtype)[:, None, None]
    return jnp.sum(quadrature * gap**2 * length, axis=(0, 1))


def _normals(part: Any) -> tuple[Array, Array, Array] | None:
    """Weights `[K]`, locations and scales `[K, dim]` of the marginals, if they mix normals."""
    mixture = as_normal_mixture(part)
    if mixture is None:
        return None
    if isinstance(mixture, DiagNormalMixture):
        return mixture.weights(), mixture.loc, mixture.scale
    return mixture.weights(), mixture.loc, jnp.linalg.norm(mixture.scale_tril, axis=-1)


def _bends(part: Any) -> tuple[Array, Array] | None:
    """Where the marginal cdfs bend, and how widely each bend is blurred, `[bends, dim]` each."""
    normals = _normals(part)
    if normals is not None:
        return normals[1:]
    core = part.members if isinstance(part, UniformMixture) else part
    if isinstance(core, Censored):
        free = UniformMixture(core.base) if isinstance(part, UniformMixture) else core.base
        inner = _bends(free)
        if inner is None:  # ensembles of ensembles
            return None
        place, width = inner
        # A bound that nothing reaches is no bend: far away, what sums to 1 but for rounding counts.
        reach = OFFSETS[-1] * width
        low = jnp.maximum(core.low, jnp.min(place - reach, axis=0)).reshape(-1, place.shape[-1])
        high = jnp.minimum(core.high, jnp.max(place + reach, axis=0)).reshape(-1, place.shape[-1])
        place = jnp.concatenate([place, low, high])
        return place, jnp.pad(width, ((0, len(low) + len(high)), (0, 0)))
    if isinstance(core, UniformBox | BoxMixture):
        blur = core.blur if isinstance(core, UniformBox) else core.blur[..., None, :]
        ends = jnp.stack([core.low, core.high])
        place, width = ends, jnp.broadcast_to(blur, ends.shape)
    elif isinstance(core, OneHotCategoricals):
        place = jnp.stack([jnp.zeros_like(core.logits), jnp.ones_like(core.logits)])
        width = jnp.zeros_like(place)
    elif isinstance(core, Deterministic) and isinstance(core.loc, Array):
        place = core.loc[None].astype(jnp.result_type(float, core.loc))
        width = jnp.zeros_like(place)
    else:
        return None
    dim = place.shape[-1]
    return place.reshape(-1, dim), width.reshape(-1, dim)
