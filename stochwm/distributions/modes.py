"""The modes of a mixture of normals, by mean-shift from every component."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from .base import Modes

if TYPE_CHECKING:
    from .normal_mixture import DiagNormalMixture, FullNormalMixture

ASCENTS = 200
NUDGE = 1e-3  # in standard deviations: leaves a saddle point that a mean may sit on
SAME_MODE = 0.1  # in standard deviations: ascents that end closer than this found the same mode


@eqx.filter_jit  # eagerly, every call would compile its loop again
def ascend_diag(mixture: "DiagNormalMixture") -> Float[Array, "components dim"]:
    """Where the ascent from each component's mean ends, `[components, dim]`.

    Fixed-point iteration of Carreira-Perpinan (2000, "Mode-finding for mixtures of Gaussian
    distributions", section 3): x <- (sum_k r_k P_k)^-1 sum_k r_k P_k m_k with precisions P_k.
    """
    precision = mixture.scale**-2

    def shift(x):
        weight = jax.nn.softmax(mixture.responsibilities(x))[:, None] * precision
        return jnp.sum(weight * mixture.loc, axis=0) / jnp.sum(weight, axis=0)

    return _ascend(shift, mixture.loc + NUDGE * mixture.scale)


@eqx.filter_jit
def ascend_full(mixture: "FullNormalMixture") -> Float[Array, "components dim"]:
    """As `ascend_diag`, with full precisions."""
    eye = jnp.eye(mixture.loc.shape[-1])
    precision = jax.vmap(lambda tril: cho_solve((tril, True), eye))(mixture.scale_tril)
    pulled = jnp.einsum("kij,kj->ki", precision, mixture.loc)

    def shift(x):
        weight = jax.nn.softmax(mixture.responsibilities(x))
        return jnp.linalg.solve(jnp.tensordot(weight, precision, 1), weight @ pulled)

    scale = jnp.diagonal(mixture.scale_tril, axis1=-2, axis2=-1)
    return _ascend(shift, mixture.loc + NUDGE * scale)


def merge_modes(
    mixture: "DiagNormalMixture | FullNormalMixture",
    ends: Float[Array, "components dim"],
    scale: Float[Array, "components dim"],
) -> Modes:
    """One row for each distinct end, which gathers the weights of the components that reach it."""
    unit = jnp.minimum(scale[:, None], scale[None])
    distance = jnp.max(jnp.abs(ends[:, None] - ends[None]) / unit, axis=-1)
    representative = jnp.argmax(distance < SAME_MODE, axis=1)
    weight = jnp.zeros(ends.shape[0]).at[representative].add(mixture.weights())
    return Modes(ends, weight, jax.vmap(mixture.log_prob)(ends))


def _ascend(shift, start):
    # In the precision of the means, whatever that of the weights.
    return jax.lax.fori_loop(0, ASCENTS, lambda _, x: jax.vmap(shift)(x).astype(x.dtype), start)
