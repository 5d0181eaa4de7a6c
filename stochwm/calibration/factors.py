"""Fitted numbers that training leaves alone, and the search that fits positive ones."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..distributions.checks import as_float, check_positive
from ..transitions import AbstractConstant

RANGE = 64.0  # factors from 1/64 to 64 are searched: over-confidence of 40 has been measured
CANDIDATES = 9
# From the middle outwards: of factors that are equally good, the first is taken.
GRID = np.array(sorted(np.linspace(-1, 1, CANDIDATES), key=abs))
ROUNDS = 5  # each divides the bracket by 4: the last one resolves 0.2 %


class Factors(AbstractConstant):
    """Positive numbers that were fitted on hold-out data: never trained."""

    values: Float[Array, "*shape"]

    def __init__(self, values: Any):
        """Hold `values`, any shape.

        Raises:
            ValueError: an entry known not to be positive and finite.
        """
        self.values = as_float("factor", values)
        check_positive("factor", self.values)


def best_factors(
    loss: Callable[[Float[Array, " dim"]], Float[Array, " dim"]], dim: int
) -> Float[np.ndarray, " dim"]:
    """The factors in [1/64, 64] with the least loss, each judged by its own entry, `[dim]`.

    A grid on the log scale that zooms in: a mixture that is scaled passes several local minima.
    Where no factor makes a difference it is 1.

    Args:
        loss: `[dim] -> [dim]`, with the numbers of each dimension in its entry.
        dim: how many factors.

    Raises:
        ValueError: a loss that is finite for none of the candidates.
    """
    centre, width = np.zeros(dim), np.log(RANGE)
    for _ in range(ROUNDS):
        grid = centre + width * GRID[:, None]
        losses = np.stack([np.asarray(loss(jnp.exp(jnp.asarray(row)))) for row in grid])
        losses = np.where(np.isfinite(losses), losses, np.inf)
        if np.isinf(losses).all(axis=0).any():
            raise ValueError(
                "model cannot be scored on the hold-out: no factor gives a finite score. Is every "
                "prediction finite, and everything that happened possible under it?"
            )
        centre = np.take_along_axis(grid, losses.argmin(axis=0)[None], axis=0)[0]
        centre = np.clip(centre, -np.log(RANGE), np.log(RANGE))
        width = 2 * width / (CANDIDATES - 1)
    return np.exp(centre).astype(np.float32)
