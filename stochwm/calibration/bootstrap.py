"""Intervals and tests by resampling episodes, since steps of one episode are not independent."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000
CHUNK = 100  # resamples that are in memory at the same time
ROUNDING = 1e-9  # relative: a resample that is the data itself must not fall short of it


def episode_interval(
    values: np.ndarray, episode: np.ndarray, *, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """The mean of `values` and its percentile interval under resampled episodes.

    Args:
        values: one number a step, `[steps]`.
        episode: the episode that each step belongs to, `[steps]`.
        seed: for the resamples.
        level: mass of the interval.

    Returns:
        `(mean, low, high)`; with a single episode the interval is NaN.
    """
    columns = np.asarray(values, float)[:, None]
    mean, low, high = episode_intervals(columns, episode, seed=seed, level=level)
    return float(mean[0]), float(low[0]), float(high[0])


def episode_intervals(
    values: np.ndarray, episode: np.ndarray, *, seed: int = 0, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`episode_interval` of each column, under the same resamples.

    Args:
        values: several numbers a step, `[steps, columns]`.
        episode: the episode that each step belongs to, `[steps]`.
        seed: for the resamples.
        level: mass of each interval.

    Returns:
        `(mean, low, high)`, each `[columns]`; with a single episode low and high are NaN.
    """
    total, count = episode_sums(values, episode)
    mean = total.sum(axis=0) / count.sum()
    number = len(count)
    if number < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    draws = np.random.default_rng(seed).integers(0, number, (RESAMPLES, number))
    times = np.stack([np.bincount(row, minlength=number) for row in draws]).astype(float)
    means = times @ total / (times @ count)[:, None]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return mean, low, high


def episode_variance(values: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Variance of the mean of each column over independent episodes, `[columns]`.

    The sandwich estimate: the squared sums of the residuals of each episode. It is unbiased where
    all episodes are equally long; with a single episode it is NaN.

    Args:
        values: several numbers a step, `[steps, columns]`.
        episode: the episode that each step belongs to, `[steps]`.
    """
    total, count = episode_sums(values, episode)
    number = len(count)
    if number < 2:
        return np.full(total.shape[1:], np.nan)
    residual = total - count[:, None] * (total.sum(axis=0) / count.sum())
    return np.sum(residual**2, axis=0) / count.sum() ** 2 * number / (number - 1)


class EpisodeTest(NamedTuple):
    """What a test says."""

    statistic: float
    """How far the data are from the null hypothesis; NaN where nothing can be said."""
    p_value: float
    """How often a statistic that large would come if the null hypothesis held."""


def sign_flip_tests(
    deviations: np.ndarray,
    statistics: Sequence[Callable[[np.ndarray], np.ndarray]],
    *,
    seed: int = 0,
) -> list[EpisodeTest]:
    """Test that what independent episodes add to a sum has mean zero, by each of the statistics.

    The wild bootstrap with the null hypothesis imposed: the deviation of a whole episode keeps or
    changes its sign (Cameron, Gelbach & Miller 2008, "Bootstrap-based improvements for inference
    with clustered errors"). Whatever depends on what inside an episode, p-values are uniform when
    episodes are many, and nearly so for ten; centring at the data, as a bootstrap for intervals
    does, rejects too often there. E episodes have no p-value below 2^(1 - E).

    Args:
        deviations: what each episode adds, minus what it should under the null hypothesis,
            `[episodes, ...]`.
        statistics: of sums over episodes, `[sums, ...] -> [sums]`; large against the null
            hypothesis, and the same for a sum and its negative.
        seed: for the signs.

    Returns:
        One test a statistic; with fewer than two episodes, or a statistic that is not finite, the
        p-value is NaN.
    """
    number = len(deviations)
    observed = [float(statistic(deviations.sum(axis=0)[None])[0]) for statistic in statistics]
    rng, as_large = np.random.default_rng(seed), np.zeros(len(statistics))
    for _ in range(RESAMPLES // CHUNK):
        signs = rng.choice((-1.0, 1.0), (CHUNK, number))
        flipped = np.tensordot(signs, deviations, axes=1)
        for i, statistic in enumerate(statistics):
            as_large[i] += np.sum(statistic(flipped) >= observed[i] * (1 - ROUNDING))
    p_values = (1 + as_large) / (1 + RESAMPLES)
    known = np.isfinite(observed) & (number > 1)
    p_values = np.where(known, p_values, np.nan)
    return [EpisodeTest(*pair) for pair in zip(observed, p_values.tolist(), strict=True)]


def sign_flip_band(
    deviations: np.ndarray, level: float, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Where the sum of `deviations` over episodes lies if their mean is zero: a consistency band.

    With the signs of whole episodes flipped, as in `sign_flip_tests`.

    Args:
        deviations: what each episode adds, `[episodes, ...]`.
        level: mass of the band, of each entry by itself.
        seed: for the signs.

    Returns:
        `(low, high)`, each `[...]`; with a single episode they are NaN.
    """
    number = len(deviations)
    if number < 2:
        nothing = np.full(deviations.shape[1:], np.nan)
        return nothing, nothing
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (RESAMPLES, number))
    flipped = np.tensordot(signs, deviations, axes=1)
    low, high = np.quantile(flipped, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def episode_sums(values: np.ndarray, episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of `values` `[steps, ...]` over each episode, `[episodes, ...]`, and its length."""
    index, count = episode_index(episode, len(values))
    total = np.zeros((len(count), *values.shape[1:]))
    np.add.at(total, index, np.asarray(values, float))
    return total, count


def episode_index(episode: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The episode of each step, counted from 0, `[steps]`, and the length of each, `[episodes]`.

    Raises:
        ValueError: not one episode a step.
    """
    if np.shape(episode) != (steps,):
        raise ValueError(
            f"episode must say of each of {steps} steps which episode it belongs to, [{steps}], "
            f"but has shape {list(np.shape(episode))}."
        )
    _, index = np.unique(episode, return_inverse=True)
    return index, np.bincount(index).astype(float)
