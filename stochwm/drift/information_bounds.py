"""Certified bounds for the mutual information between the member and the outcome."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..distributions import (
    AbstractMixture,
    DiagNormal,
    DiagNormalMixture,
    FullNormal,
    FullNormalMixture,
    OneHotCategoricals,
    UniformMixture,
)
from ..distributions.mixture import over_components
from .members import densities
from .outcomes import exact_information

NORMALS = (DiagNormal, FullNormal, DiagNormalMixture, FullNormalMixture)


def mutual_information_bounds(prediction: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Certified `(lower, upper)` bounds of `I(x; member) = H[x] - E[H[x | member]]`, in nats.

    Members p_1 ... p_K are mixtures `p_e = sum_c w_ec q_ec` of normals q, or normals, or products
    of categoricals. Pairwise distances between members bound the information (Kolchinsky & Tracey
    2017, arXiv 1706.02419, equations 10 and 11, less the members' mean entropy):

        -mean_e log mean_f BC(p_e, p_f)  <=  I  <=  -mean_e log mean_f exp(-KL(p_e || p_f)),

    BC the Bhattacharyya coefficient, the integral of `sqrt(p q)` (their Chernoff distance with
    alpha = 1/2). The left side falls as BC grows and the right side grows with KL, so that upper
    bounds of both keep it true. Between mixtures neither has a closed form, but

    - `sqrt(sum_i a_i) <= sum_i sqrt(a_i)` gives
      `BC(p_e, p_f) <= min(1, sum_cd sqrt(w_ec w_fd) BC(q_ec, q_fd))`;
    - KL between mixtures has a variational upper bound (`kl_bounds`; Hershey & Olsen 2007), and by
      the chain rule it is at most that of (component, value) pairs with components in the order
      given, which is 0 for equal members: the lesser counts.

    A second pair of bounds takes the entropies apart: with `lo <= H <= hi` for the flat mixture of
    all pairs (member, component) and for each member,

        lo[x] - mean_e hi[p_e]  <=  I  <=  hi[x] - mean_e lo[p_e].

    Both pairs hold, so the tighter side of each is taken, within `0 <= I <= log K`. They meet
    where everything is far apart or equal, and where outcomes can be listed (categoricals). For
    other families they are 0 and log K.

    Args:
        prediction: of an ensemble. Of latent states, the drawn part counts.

    Raises:
        TypeError: not an ensemble's prediction.
        NotImplementedError: members without a density.
    """
    mixture = densities(prediction)
    exact = exact_information(mixture)
    if exact is not None:
        return exact[1], exact[1]
    if not isinstance(mixture.members, (*NORMALS, OneHotCategoricals)):
        return jnp.zeros(()), jnp.asarray(math.log(mixture.num_members))
    return _bounds(mixture)


@eqx.filter_jit  # eagerly, every operation would be compiled on its own
def _bounds(mixture: UniformMixture) -> tuple[Float[Array, ""], Float[Array, ""]]:
    members: Any = mixture.members
    lower = _spread(_pairs(_log_coefficient, members))
    upper = _spread(_pairs(lambda p, q: -_divergence(p, q), members))
    if isinstance(members, NORMALS):
        low, high = mixture.entropy_bounds()
        member_low, member_high = over_components(
            lambda m: jnp.stack(m.entropy_bounds()), members
        ).T
        lower = jnp.maximum(lower, low - jnp.mean(member_high))
        upper = jnp.minimum(upper, high - jnp.mean(member_low))
    upper = jnp.clip(upper, 0.0, math.log(mixture.num_members))
    return jnp.clip(lower, 0.0, upper), upper


def _spread(log_alike: Float[Array, "members members"]) -> Float[Array, ""]:
    """`-mean_e log mean_f exp(log_alike)`, where nothing is more alike than equal."""
    log_alike = jnp.minimum(log_alike, 0.0)
    return math.log(len(log_alike)) - jnp.mean(logsumexp(log_alike, axis=1))


def _log_coefficient(p: Any, q: Any) -> Float[Array, ""]:
    """An upper bound of the log Bhattacharyya coefficient; exact where p and q are no mixtures."""
    if isinstance(p, AbstractMixture):
        parts, others = p.components(), q.components()
        log_roots = 0.5 * (p.log_weights()[:, None] + q.log_weights()[None])
        distance = over_components(
            lambda part: over_components(lambda other: part.bhattacharyya_distance(other), others),
            parts,
        )
        return logsumexp(log_roots - distance)
    if isinstance(p, OneHotCategoricals):
        log_roots = p.to_groups(0.5 * (p.log_probs() + q.log_probs()), fill=-jnp.inf)
        return jnp.sum(logsumexp(log_roots, axis=-1))
    return -p.bhattacharyya_distance(q)


def _divergence(p: Any, q: Any) -> Float[Array, ""]:
    """An upper bound of KL(p || q); exact where p and q are no mixtures."""
    bound = p.kl_bounds(q)[1]
    if not isinstance(p, AbstractMixture):
        return bound
    weights, log_ratio = p.weights(), p.log_weights() - q.log_weights()
    apart = eqx.filter_vmap(lambda a, b: a.kl_divergence(b))(p.components(), q.components())
    in_order = jnp.sum(jnp.where(weights > 0, weights * (log_ratio + apart), 0.0))
    return jnp.minimum(bound, in_order)


def _pairs(function, members: Any) -> Float[Array, "members members"]:
    return over_components(lambda p: over_components(lambda q: function(p, q), members), members)
