"""A uniform interval with normal noise on top: density, cdf and entropy that hold in the tails.

X = Y + s Z with Y uniform on [low, high] and Z standard normal has the density
(Phi((x - low) / s) - Phi((x - high) / s)) / (high - low), and the normal one where low == high.
"""

import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array

from .normal import LOG_2PI

NARROW = 0.02  # in units of the blur: below, the difference of two cdfs would cancel
TAIL = 9.0  # in units of the blur: where the density has fallen below 1e-18 of its height
QUADRATURE_POINTS = 257
LOG_2 = 0.6931471805599453


def blurred_log_density(value: Array, low: Array, high: Array, blur: Array) -> Array:
    """Log density in nats, entry by entry; `blur` must be positive where the result is used."""
    scale = jnp.where(blur > 0, blur, 1.0)
    near, far = (value - low) / scale, (value - high) / scale
    width = near - far
    wide = width > NARROW
    # By symmetry take both cdfs in the lower tail, where their logarithms are exact.
    flip = near + far > 0
    upper, lower = jnp.where(flip, -far, near), jnp.where(flip, -near, far)
    log_upper = log_ndtr(jnp.where(wide, upper, 1.0))
    log_lower = log_ndtr(jnp.where(wide, lower, 0.0))
    of_wide = log_upper + _log1mexp(log_upper - log_lower) - jnp.log(jnp.where(wide, width, 1.0))
    # The density averaged over a narrow interval: the value at the middle times sinh(z) / z.
    middle = 0.5 * (near + far)
    z = jnp.where(wide, 0.0, 0.5 * jnp.abs(middle) * width)
    of_narrow = -0.5 * (middle**2 + LOG_2PI) + _log_sinhc(z)
    return jnp.where(wide, of_wide, of_narrow) - jnp.log(scale)


def blurred_cdf(value: Array, low: Array, high: Array, blur: Array) -> Array:
    """P(X <= value), entry by entry; `blur` must be positive where the result is used."""
    scale = jnp.where(blur > 0, blur, 1.0)
    near, far = (value - low) / scale, (value - high) / scale
    width = near - far
    wide = width > NARROW
    safe = jnp.where(wide, width, 1.0)
    # int Phi = t Phi(t) + phi(t) = max(t, 0) + a remainder that is symmetric and vanishes.
    ramp = jnp.clip(jnp.where(wide, near, 0.0) / safe, 0.0, 1.0)
    of_wide = jnp.clip(ramp + (_remainder(near) - _remainder(far)) / safe, 0.0, 1.0)
    return jnp.where(wide, of_wide, ndtr(0.5 * (near + far)))


def blurred_entropy(width: Array, blur: Array) -> Array:
    """Entropy in nats by trapezoids, entry by entry; `blur` must be positive where it is used.

    The density is symmetric, so half of it is integrated: the edge with its tail on a grid, and
    the plateau of a wide interval in closed form.
    """
    scale = jnp.where(blur > 0, blur, 1.0)
    ratio = width / scale
    half = 0.5 * jnp.minimum(ratio, 2 * TAIL)
    grid = jnp.linspace(0.0, 1.0, QUADRATURE_POINTS)
    x = -TAIL + (TAIL + half)[..., None] * grid
    zero = jnp.zeros_like(x)
    log_density = blurred_log_density(x, zero, zero + ratio[..., None], jnp.ones_like(x))
    edge = 2 * jnp.trapezoid(-jnp.exp(log_density) * log_density, x, axis=-1)
    beyond = jnp.maximum(ratio - 2 * TAIL, 0.0)
    safe = jnp.maximum(ratio, 1.0)
    return edge + beyond / safe * jnp.log(safe) + jnp.log(scale)


def _log1mexp(x: Array) -> Array:
    """log(1 - exp(-x)) for x >= 0."""
    small = x < LOG_2
    near = jnp.log(-jnp.expm1(-jnp.where(small & (x > 0), x, 1.0)))
    return jnp.where(small, near, jnp.log1p(-jnp.exp(-jnp.where(small, 1.0, x))))


def _log_sinhc(z: Array) -> Array:
    """log(sinh(z) / z) for z >= 0."""
    small = z < 0.1
    safe = jnp.where(small, 1.0, z)
    return jnp.where(small, z**2 / 6, safe - LOG_2 + jnp.log1p(-jnp.exp(-2 * safe)) - jnp.log(safe))


def _remainder(t: Array) -> Array:
    """The part of int Phi that max(t, 0) leaves: phi(t) - |t| Phi(-|t|)."""
    t = jnp.abs(t)
    return jnp.exp(-0.5 * (t**2 + LOG_2PI)) - t * ndtr(-t)
