"""A density of two dimensions on a grid, and the heights of its highest-density regions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ..distributions import AbstractDistribution

NUM_DRAWS = 1000  # of a distribution, and at most so many of the particles given
CELLS = 80  # a side of the grid
NEAREST = 0.5  # kernels reach to neighbour number `samples ** NEAREST`
AIR = 0.12  # of the range, on each side


class RegionMap(NamedTuple):
    """A density on a grid of two dimensions."""

    first: Float[np.ndarray, " cells"]
    """Grid points of the first dimension."""
    second: Float[np.ndarray, " cells"]
    density: Float[np.ndarray, "cells cells"]
    """`[second, first]`, up to a constant."""
    heights: Float[np.ndarray, " levels"]
    """The region of mass `levels[i]` is where the density is at least `heights[i]`."""
    draws: Float[np.ndarray, "samples 2"]
    """The particles, or draws of the distribution."""


def region_map(
    prediction: Any,
    levels: tuple[float, ...],
    *,
    dims: tuple[int, int] = (0, 1),
    key: PRNGKeyArray | None = None,
) -> RegionMap:
    """Density and highest-density regions of two dimensions of a prediction.

    The height of a region is a quantile of the density at draws (Hyndman 1996, "Computing and
    graphing highest density regions"). The density of particles is a kernel estimate whose kernels
    reach as far as the nearest neighbours of each particle, so that narrow modes stay apart
    (Breiman, Meisel & Purcell 1977, "Variable kernel estimates of multivariate densities"): a
    picture, not a test.

    Args:
        prediction: particles `[samples, dim]`, or a distribution with `marginal` and `log_prob`.
        levels: masses of regions, strictly between 0 and 1.
        dims: which two dimensions.
        key: for draws of a distribution.

    Raises:
        ValueError: too few particles, a level out of range, or a distribution without a key.
        NotImplementedError: a distribution without a density of these dimensions.
    """
    if not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels must lie strictly between 0 and 1, but are {levels}.")
    if isinstance(prediction, AbstractDistribution):
        if key is None:
            raise ValueError("key must be given for a distribution: its regions come from draws.")
        law = prediction.marginal(dims)
        keys = jax.random.split(key, NUM_DRAWS)
        draws = np.asarray(jax.vmap(lambda seed: law.sample(seed=seed))(keys))
        density = lambda points: _density_of(law, points)  # noqa: E731
    else:
        draws = _thinned(np.asarray(prediction, float))[:, list(dims)]
        density = _kernel_density(draws)
    first, second = (_grid(column) for column in draws.T)
    points = np.stack(np.meshgrid(first, second), axis=-1)
    on_grid = density(points.reshape(-1, 2)).reshape(len(second), len(first))
    heights = np.quantile(density(draws), [1 - level for level in levels])
    return RegionMap(first, second, on_grid, heights, draws)


def _density_of(law: Any, points: np.ndarray) -> np.ndarray:
    log_prob = np.asarray(jax.vmap(law.log_prob)(jnp.asarray(points, jnp.float32)), float)
    return np.exp(log_prob)


def _kernel_density(draws: np.ndarray):
    """A density from particles: a normal kernel on each, as wide as its neighbours are far."""
    spread = draws.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    scaled = draws / scale
    near = max(1, round(len(draws) ** NEAREST))
    apart = np.partition(_squared_distances(scaled, scaled), near, axis=1)[:, near]
    # At least a cell of the grid: the neighbours of an atom are no distance away.
    least = (np.ptp(scaled, axis=0) / CELLS).max() + np.finfo(np.float32).tiny
    width = np.maximum(np.sqrt(apart), least)

    def density(points: np.ndarray) -> np.ndarray:
        exponent = -0.5 * _squared_distances(points / scale, scaled) / width**2
        return np.mean(np.exp(exponent) / width**2, axis=1)

    return density


def _squared_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    first, second = (points[:, None, d] - others[None, :, d] for d in (0, 1))
    return first**2 + second**2


def _thinned(draws: np.ndarray) -> np.ndarray:
    """At most `NUM_DRAWS` particles, evenly over all."""
    if draws.ndim != 2 or len(draws) < 10 or not np.isfinite(draws).all():
        raise ValueError(
            "prediction must be a distribution or at least 10 finite particles [samples, dim], but "
            f"has shape {list(draws.shape)}."
        )
    return draws[np.linspace(0, len(draws) - 1, min(NUM_DRAWS, len(draws))).astype(int)]


def _grid(column: np.ndarray) -> np.ndarray:
    low, high = np.quantile(column, [0.0005, 0.9995])
    air = AIR * (high - low) or 0.5
    return np.linspace(low - air, high + air, CELLS)
