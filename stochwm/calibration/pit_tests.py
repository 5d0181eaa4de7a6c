"""Are PIT values uniform? Histograms and tests that respect the dependence inside episodes."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from .._counts import checked_count
from .bootstrap import EpisodeTest, episode_index, episode_sums, sign_flip_band, sign_flip_tests
from .coverage import checked_levels

CELLS = 100  # at least this many; the empirical cdf is looked at where they end
EXTREME = 1e-6  # PIT values nearer to 0 or 1 count as this near: normal scores stay finite


class PitHistogram(NamedTuple):
    """How often PIT values fall into equal bins, and where a calibrated prediction would be."""

    edges: Float[np.ndarray, " edges"]
    share: Float[np.ndarray, "bins *dim"]
    """Share of the values in each bin."""
    low: Float[np.ndarray, "bins *dim"]
    """Lower end of the consistency band: of each bin by itself, under uniformity."""
    high: Float[np.ndarray, "bins *dim"]
    """Its upper end; NaN, as the lower one, with a single episode."""


class PitTests(NamedTuple):
    """Tests of uniformity; small p-values speak against calibration."""

    kolmogorov_smirnov: EpisodeTest
    """The largest difference between the empirical cdf and the uniform one, over dimensions."""
    cramer_von_mises: EpisodeTest
    """Their squared difference, integrated, times the number of steps, summed over dimensions."""
    chi_square: EpisodeTest
    """Pearson's statistic of the histogram, summed over dimensions."""
    serial: EpisodeTest
    """The largest autocorrelation of normal scores, in absolute value, over dimensions."""


def pit_histogram(
    values: Float[Array | np.ndarray, "steps *dim"],
    episode: Int[np.ndarray, " steps"],
    *,
    bins: int = 10,
    level: float = 0.95,
    seed: int = 0,
) -> PitHistogram:
    """The histogram of PIT values, or of ranks, with a consistency band.

    The band is where the share of each bin lies with probability `level` if the values are uniform
    and episodes are independent, from the data with the signs of episodes flipped (consistency
    bars: Broecker & Smith 2007, "Increasing the reliability of reliability diagrams").

    Args:
        values: in [0, 1], `[steps]` or `[steps, dim]`.
        episode: the episode that each step belongs to, `[steps]`.
        bins: how many; each is right-closed, the first one closed.
        level: mass of the band.
        seed: for the resamples.

    Raises:
        ValueError: values outside [0, 1], NaN included, or none at all, or no bin.
    """
    values, bins = checked_levels("values", values), checked_count("bins", bins)
    counts, length = _cell_counts(values, episode, bins)
    share = counts.sum(axis=0) / len(values)
    deviations = (counts - length[:, None, None] / bins) / len(values)
    low, high = sign_flip_band(deviations, level, seed=seed)
    bands = (share, 1 / bins + low, 1 / bins + high)
    arrays = (array.T.reshape(bins, *values.shape[1:]) for array in bands)
    return PitHistogram(np.arange(bins + 1) / bins, *arrays)


def pit_tests(
    values: Float[Array | np.ndarray, "steps *dim"],
    episode: Int[np.ndarray, " steps"],
    *,
    bins: int = 10,
    lag: int = 1,
    seed: int = 0,
) -> PitTests:
    """Test that PIT values, ranks or region levels are uniform, and do not predict each other.

    All p-values come from flipping the signs of whole episodes (`sign_flip_tests`), so that steps
    of an episode, and dimensions of a step, may depend on each other. The empirical cdf is
    looked at on a grid of 100 levels.

    Args:
        values: uniform under the null hypothesis, `[steps]` or `[steps, dim]`; the dimensions are
            tested together. Steps of an episode stand in the order of time.
        episode: the episode that each step belongs to, `[steps]`.
        bins: of the chi-square test.
        lag: how many steps of an episode apart normal scores are compared. PIT values of forecasts
            h steps ahead depend on each other, even of perfect ones, unless they are h steps apart.
        seed: for the resamples.

    Returns:
        Statistics and p-values; the p-values of a single episode are NaN, and so is the serial test
        without a pair of values `lag` apart.

    Raises:
        ValueError: values outside [0, 1], NaN included, or none at all, no bin, or a lag below 1.
    """
    if lag < 1:
        raise ValueError(f"lag must be at least 1, but is {lag}.")
    bins = checked_count("bins", bins)
    values = checked_levels("values", values).reshape(len(values), -1)
    number, each = len(values), -(-CELLS // bins)
    counts, length = _cell_counts(values, episode, bins * each)
    deviations = (counts - length[:, None, None] / (bins * each)) / number

    def kolmogorov_smirnov(total):
        return np.abs(np.cumsum(total, axis=-1)).max(axis=(-1, -2))

    def cramer_von_mises(total):
        return number * np.sum(np.mean(np.cumsum(total, axis=-1) ** 2, axis=-1), axis=-1)

    def chi_square(total):
        binned = total.reshape(*total.shape[:-1], bins, each).sum(axis=-1)
        return number * bins * np.sum(binned**2, axis=(-1, -2))

    statistics = (kolmogorov_smirnov, cramer_von_mises, chi_square)
    ks, cvm, chi2 = sign_flip_tests(deviations, statistics, seed=seed)
    return PitTests(ks, cvm, chi2, _serial_test(values, episode, lag, seed))


def _serial_test(values: np.ndarray, episode: np.ndarray, lag: int, seed: int) -> EpisodeTest:
    """Is the mean product of normal scores `lag` apart, inside episodes, zero?"""
    order = np.argsort(episode, kind="stable")
    # Not JAX, which would compile for every number of steps.
    to_score = np.vectorize(NormalDist().inv_cdf, otypes=[float])
    score = to_score(np.clip(values[order], EXTREME, 1 - EXTREME))
    score -= score.mean(axis=0)
    first, later = episode[order][:-lag], episode[order][lag:]
    pair = first == later
    if not pair.any():
        return EpisodeTest(np.nan, np.nan)
    products = (score[:-lag] * score[lag:])[pair]
    variance = np.maximum(np.mean(score**2, axis=0), np.finfo(float).tiny)
    total, _ = episode_sums(products / (variance * len(products)), first[pair])
    largest = lambda total: np.abs(total).max(axis=-1)  # noqa: E731
    return sign_flip_tests(total, [largest], seed=seed)[0]


def _cell_counts(
    values: np.ndarray, episode: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many values of each episode lie in each cell (a, b], `[episodes, dim, cells]`.

    A value of 0 is in the first cell. Also the length of each episode, `[episodes]`.
    """
    values = values.reshape(len(values), -1)
    edges = np.arange(1, cells) / cells  # by comparison: a product with `cells` would be rounded
    cell = np.searchsorted(edges, values, side="left")
    index, length = episode_index(episode, len(values))
    counts = np.zeros((len(length), values.shape[1], cells))
    np.add.at(counts, (index[:, None], np.arange(values.shape[1]), cell), 1.0)
    return counts, length
