"""What a mixture gains over its members in a proper score: disagreement in the score's units."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gap_of_clouds(
    score: Callable[..., Array], clouds: Float[Array, "members particles dim"], *, fair: bool
) -> Array:
    """The score of the members, on average, minus that of their pooled cloud.

    For scores `E d(X, y) - E d(X, X') / 2` (CRPS, energy score). The first part has the same mean
    over members as in the pool, so the value y does not matter, and what is left is
    `(E d(X, X') of the pool - mean of E d(X, X') of the members) / 2`, not negative. It is the
    ambiguity decomposition (Krogh & Vedelsby 1995, "Neural network ensembles, cross validation,
    and active learning") for these scores.

    Args:
        score: `score(samples, value, fair=...)` of one cloud, lower is better.
        clouds: draws of each member.
        fair: unbiased in the number of particles, which can be negative; else of the clouds
            themselves.
    """
    pool = clouds.reshape(-1, clouds.shape[-1])
    value = jax.lax.stop_gradient(jnp.mean(pool, axis=0))

    def mean_score(fair: bool) -> Any:
        return jnp.mean(jax.vmap(lambda cloud: score(cloud, value, fair=fair))(clouds), axis=0)

    plain = mean_score(False)
    gap = plain - score(pool, value, fair=False)
    if not fair:
        return gap
    # A particle paired with itself shortens E d(X, X'): in the members, and in 1/K of the pool.
    return gap + (1 - 1 / clouds.shape[0]) * (mean_score(True) - plain)
