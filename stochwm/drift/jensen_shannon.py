"""The disagreement that MACURA truncates rollouts by."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .members import positive_moments_of


def geometric_jensen_shannon(prediction: Any) -> Float[Array, ""]:
    """Mean over pairs of different members of their geometric Jensen-Shannon divergence, in nats.

    MACURA (Frauenknecht et al. 2024, "Trust the model where it trusts itself", arXiv 2405.19014).
    The divergence is `(KL(p || g) + KL(q || g)) / 2`, where g is proportional to `sqrt(p q)`
    (Nielsen 2019, arXiv 1904.04017, with weight 1/2). Between normals with variances a and b and
    distance s of their means it is, for each dimension, with `r = (sqrt(a/b) + sqrt(b/a)) / 2`,

        (r^2 - 1 - log r + s^2 (a/b + b/a) / (4 (a + b))) / 2.

    As in the paper, members are normals with independent dimensions: others are replaced by those
    with their means and variances. So it does not see modes, nor how dimensions depend on each
    other. Variances are raised to a millionth of the total in their dimension.

    Args:
        prediction: of an ensemble, or clouds `[members, particles, dim]`.

    Raises:
        TypeError: not an ensemble's prediction, `ValueError` for clouds of another shape.
        NotImplementedError: members without closed-form moments.
    """
    mean, variance = positive_moments_of(prediction)
    members = mean.shape[0]
    shift, ratio = mean[:, None] - mean[None], variance[:, None] / variance[None]
    r = 0.5 * (jnp.sqrt(ratio) + jnp.sqrt(1 / ratio))
    apart = shift**2 * (ratio + 1 / ratio) / (4 * (variance[:, None] + variance[None]))
    divergence: Array = 0.5 * jnp.sum(r**2 - 1 - jnp.log(r) + apart, axis=-1)
    return jnp.sum(divergence) / max(members * (members - 1), 1)
