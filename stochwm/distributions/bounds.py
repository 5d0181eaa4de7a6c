"""Certified bounds for the entropy and the divergence of mixtures of normals."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from .base import AbstractDistribution
from .mixture import AbstractMixture
from .normal import LOG_2PI, DiagNormal, FullNormal

VARIATIONAL_STEPS = 20
IMPOSSIBLE = -1e9  # log weight, in nats, whose exponential is zero


def entropy_bounds_of_normals(
    mixture: AbstractMixture,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`(lower, upper)` bounds of the entropy, in nats.

    Pairwise-distance bounds of Kolchinsky & Tracey (2017, arXiv 1706.02419, equations 10 and 11):
    Bhattacharyya distances below, KL divergences above; and above it never exceeds the entropy of
    the normal with the same covariance.
    """
    parts: Any = mixture.components()
    log_weights, weights = mixture.log_weights(), mixture.weights()
    own = jnp.sum(weights * _each(lambda p: p.entropy(), parts))

    def bound(distance):
        pairwise = _pairs(distance, parts, parts)
        return own - _weighted(weights, logsumexp(log_weights - pairwise, axis=1))

    lower = bound(lambda p, q: p.bhattacharyya_distance(q))
    upper = bound(lambda p, q: p.kl_divergence(q))
    dim = mixture.event_shape[0]
    normal = 0.5 * dim * (1 + LOG_2PI) + _log_volume(mixture, parts)
    return lower, jnp.minimum(upper, normal)


def kl_bounds_of_normals(
    mixture: AbstractMixture, other: AbstractDistribution
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`(lower, upper)` bounds of KL(mixture || other) for mixtures of normals, in nats.

    Below: `E_a log b <= log E_a b` (Jensen) for each component and the entropy's upper bound, and
    never under 0. Above: the variational bound of Hershey & Olsen (2007, "Approximating the
    Kullback Leibler divergence between Gaussian mixture models", section 8), which holds for every
    feasible phi and psi and starts from the convexity bound.

    Raises:
        NotImplementedError: `other` is not made of normals of the same kind.
    """
    parts, log_a = mixture.components(), mixture.log_weights()
    other_parts, log_b = _as_mixture(other, parts)
    overlap = _pairs(lambda p, q: p.log_overlap(q), parts, other_parts)
    cross_entropy = -_weighted(jnp.exp(log_a), logsumexp(log_b + overlap, axis=1))
    _, entropy = entropy_bounds_of_normals(mixture)
    divergence = _pairs(lambda p, q: p.kl_divergence(q), parts, other_parts)
    lower = jnp.maximum(cross_entropy - entropy, 0.0)
    return lower, _variational_bound(log_a, log_b, divergence)


@jax.jit  # eagerly, every call would compile its loop again
def _variational_bound(log_a, log_b, divergence):
    """Minimise `KL(phi || psi) + sum phi * divergence` over couplings with margins a and b."""
    # A component that is switched off (-inf) would make NaN of inf - inf below.
    log_a, log_b = jnp.maximum(log_a, IMPOSSIBLE), jnp.maximum(log_b, IMPOSSIBLE)

    def improve(_, log_phi):
        log_psi = log_b + log_phi - logsumexp(log_phi, axis=0)
        score = log_psi - divergence
        return log_a[:, None] + score - logsumexp(score, axis=1, keepdims=True)

    start = log_a[:, None] + log_b[None]
    log_phi = jax.lax.fori_loop(0, VARIATIONAL_STEPS, improve, start)
    log_psi = log_b + log_phi - logsumexp(log_phi, axis=0)
    return _weighted(jnp.exp(log_phi), log_phi - log_psi + divergence)


def _log_volume(mixture: AbstractMixture, parts: DiagNormal | FullNormal) -> Float[Array, ""]:
    """Half the log determinant of the mixture's covariance, by QR of a square root of it."""
    full = parts.to_full() if isinstance(parts, DiagNormal) else parts
    shift = full.loc - mixture.mean()
    roots = jnp.concatenate([full.scale_tril.mT, shift[:, None]], axis=1)
    rows = jnp.exp(0.5 * mixture.log_weights())[:, None, None] * roots
    r = jnp.linalg.qr(rows.reshape(-1, rows.shape[-1]), mode="r")
    return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(r))))


def _as_mixture(other: Any, like: AbstractDistribution):
    other = other.flatten() if hasattr(other, "flatten") else other  # an ensemble's mixture
    if isinstance(other, AbstractMixture) and type(other.components()) is type(like):
        return other.components(), other.log_weights()
    if isinstance(other, DiagNormal | FullNormal) and type(other) is type(like):
        return jax.tree.map(lambda x: x[None], other), jnp.zeros(1)
    raise NotImplementedError(
        f"KL bounds between a mixture of {type(like).__name__} and {type(other).__name__} are not "
        "known. Use kl_estimate(other, key=..., num_samples=...)."
    )


def _weighted(weights: Array, values: Array) -> Array:
    """`sum(weights * values)`, where a weight of zero silences an infinite value."""
    return jnp.sum(jnp.where(weights > 0, weights * values, 0.0))


def _each(function, stacked):
    return eqx.filter_vmap(function)(stacked)


def _pairs(function, rows, columns):
    """Matrix of `function(row, column)` over two stacked distributions."""
    return _each(lambda row: _each(lambda column: function(row, column), columns), rows)
