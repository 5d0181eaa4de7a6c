"""Nominal level against observed frequency, for anything that is uniform under calibration."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from .bootstrap import episode_intervals, episode_sums, episode_variance, sign_flip_band
from .coverage import checked_levels

LEVELS = np.arange(1, 20) / 20


class Reliability(NamedTuple):
    """A reliability curve; calibration is the diagonal."""

    level: Float[np.ndarray, " levels"]
    """Nominal."""
    observed: Float[np.ndarray, " levels"]
    """Share of the values at or below the level."""
    low: Float[np.ndarray, " levels"]
    """Lower end of the confidence band, level by level; NaN with a single episode."""
    high: Float[np.ndarray, " levels"]
    """Its upper end."""


def reliability(
    values: Float[Array | np.ndarray, "steps *dim"],
    episode: Int[np.ndarray, " steps"],
    levels: Float[np.ndarray, " levels"] = LEVELS,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Reliability:
    """How often values are at or below each nominal level, with a band by episode bootstrap.

    Of `pit` values it is the calibration of quantiles (Kuleshov, Fenner & Ermon 2018, arXiv
    1807.00263), of `central_level(pit)` the coverage of central intervals, of `hpd_level` the
    coverage of highest-density regions.

    Args:
        values: uniform under calibration, `[steps]` or `[steps, dim]`; dimensions are pooled.
        episode: the episode that each step belongs to, `[steps]`.
        levels: nominal, in [0, 1].
        confidence: mass of the band.
        seed: for the resamples.

    Raises:
        ValueError: values or levels outside [0, 1], NaN included, or none at all.
    """
    levels = checked_levels("levels", levels)
    below = _below(values, levels)
    return Reliability(levels, *episode_intervals(below, episode, seed=seed, level=confidence))


def consistency_band(
    values: Float[Array | np.ndarray, "steps *dim"],
    episode: Int[np.ndarray, " steps"],
    levels: Float[np.ndarray, " levels"] = LEVELS,
    *,
    mass: float = 0.95,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " levels"], Float[np.ndarray, " levels"]]:
    """Where a reliability curve would lie if the predictions were right: a band on the diagonal.

    With the deviations of whole episodes flipped in sign, as the band of `pit_histogram`
    (consistency bars: Broecker & Smith 2007, "Increasing the reliability of reliability diagrams").

    Args:
        values: as for `reliability`.
        episode: the episode that each step belongs to, `[steps]`.
        levels: nominal, in [0, 1].
        mass: of the band, level by level.
        seed: for the signs.

    Returns:
        `(low, high)`, each `[levels]`; NaN with a single episode.

    Raises:
        ValueError: values or levels outside [0, 1], NaN included, or none at all.
    """
    levels = checked_levels("levels", levels)
    deviations, _ = episode_sums((_below(values, levels) - levels) / len(values), episode)
    low, high = sign_flip_band(deviations, mass, seed=seed)
    return levels + low, levels + high


def miscalibration_area(values: Float[Array | np.ndarray, "..."]) -> float:
    """Area between the reliability curve at all levels and the diagonal, in [0, 1/2].

    Exact, and biased upwards: calibrated values have an area of `0.31 / sqrt(number)` on average.

    Args:
        values: uniform under calibration, any shape; all are pooled.

    Raises:
        ValueError: values outside [0, 1], NaN included, or none at all.
    """
    steps = np.sort(checked_levels("values", values), axis=None)
    edges = np.concatenate([[0.0], steps, [1.0]])
    share = np.arange(len(steps) + 1) / len(steps)  # of the values, between two edges
    to = lambda level: 0.5 * (level - share) * np.abs(level - share)  # noqa: E731
    return float(np.sum(to(edges[1:]) - to(edges[:-1])))


def quantile_calibration_error(
    values: Float[Array | np.ndarray, "steps *dim"],
    episode: Int[np.ndarray, " steps"],
    levels: Float[np.ndarray, " levels"] = LEVELS,
) -> float:
    """Calibration error of a regression: the root mean square of observed minus nominal level.

    The squared error (Kuleshov, Fenner & Ermon 2018, arXiv 1807.00263, equation 9, equal weights)
    grows by the sampling variance of the frequencies; that is estimated over episodes and taken
    off. What falls below zero then is zero.

    Args:
        values: values of `pit`, `[steps]` or `[steps, dim]`; dimensions are pooled.
        episode: the episode that each step belongs to, `[steps]`.
        levels: nominal, in [0, 1].

    Returns:
        The error, a difference of probabilities; NaN with a single episode.

    Raises:
        ValueError: values or levels outside [0, 1], NaN included, or none at all.
    """
    levels = checked_levels("levels", levels)
    below = _below(values, levels)
    squared = (below.mean(axis=0) - levels) ** 2 - episode_variance(below, episode)
    return float(np.sqrt(np.maximum(squared.mean(), 0.0)))


def _below(values: Array | np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of the dimensions of each step at or below each level, `[steps, levels]`."""
    values = checked_levels("values", values)
    flat = values.reshape(len(values), -1)
    return np.stack([np.mean(flat <= level, axis=1) for level in levels], axis=1)
