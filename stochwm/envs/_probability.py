"""Probabilities that worlds share."""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..distributions.normal import LOG_2PI

POINTS = 513
REACH = 8.0  # in standard deviations beyond each mean


def normal_mixture_entropy(
    logits: Float[Array, " components"],
    loc: Float[Array, " components"],
    scale: Float[Array, " components"],
) -> Float[Array, ""]:
    """Entropy in nats of a one-dimensional mixture of normals, by the trapezoidal rule.

    Each component has its own grid, so that means may lie any number of scales apart. The rule
    converges faster than any power on smooth integrands that vanish at both ends: the error is
    below 1e-5 as long as the widest component is less than ten times as wide as the narrowest.
    """
    u = jnp.linspace(-REACH, REACH, POINTS)
    log_weights = jax.nn.log_softmax(logits)

    def surprise(centre, width):
        """E[-log p(x)] with x from one component."""
        x = (centre + width * u)[:, None]
        log_normal = -0.5 * (((x - loc) / scale) ** 2 + LOG_2PI) - jnp.log(scale)
        log_density = logsumexp(log_weights + log_normal, axis=-1)
        return jnp.trapezoid(-jnp.exp(-0.5 * (u**2 + LOG_2PI)) * log_density, u)

    return jnp.sum(jnp.exp(log_weights) * jax.vmap(surprise)(loc, scale))


def safe_log(weights: Float[Array, "*outcomes"]) -> Float[Array, "*outcomes"]:
    """Log weights in nats, whose gradient stays finite where a weight is zero."""
    possible = weights > 0
    return jnp.where(possible, jnp.log(jnp.where(possible, weights, 1.0)), -jnp.inf)
