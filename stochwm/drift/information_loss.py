"""The information that an imagined step loses, by which Infoprop truncates rollouts."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .members import positive_moments_of


def information_loss(prediction: Any, *, resolution: float = 1e-6) -> Float[Array, ""]:
    """How uncertain the true next state is, given the imagined one, in bits.

    Infoprop (Frauenknecht et al. 2025, "On rollouts in model-based reinforcement learning",
    arXiv 2501.16918). The members, normals `N(m_e, v_e)` in each dimension, are fused to one with

        v = 1 / mean(1 / v_e),  m = v mean(m_e / v_e),  and e = mean((m_e - m)^2)

    is what is not known of its mean. A draw of `N(m, v + e)` tells the truth, `N(m, v)`, up to the
    variance `(1 - K) v` with the gain `K = v / (v + e)`; its entropy on a grid of the given
    resolution, `log2(2 pi e (1 - K) v) / 2 - log2(resolution)`, is the loss, at least 0, summed
    over dimensions. Members that are not normal are replaced by normals with their moments, and
    variances raised to a millionth of the total.

    Args:
        prediction: of an ensemble, or clouds `[members, particles, dim]`.
        resolution: below which differences do not count, in units of the state.

    Raises:
        TypeError: not an ensemble's prediction.
        ValueError: clouds of another shape, or a resolution that is not positive.
        NotImplementedError: members without closed-form moments.
    """
    if not resolution > 0:
        raise ValueError(f"resolution must be positive, but is {resolution}.")
    mean, variance = positive_moments_of(prediction)
    fused = 1 / jnp.mean(1 / variance, axis=0)
    away = mean - jnp.mean(mean, axis=0)  # small numbers, however far from zero the state is
    unknown = jnp.mean((away - jnp.mean(fused / variance * away, axis=0)) ** 2, axis=0)
    conditional = fused * (unknown / (fused + unknown))
    cells = 2 * jnp.pi * jnp.e * conditional / resolution**2
    return jnp.sum(0.5 * jnp.log2(jnp.maximum(cells, 1.0)))
