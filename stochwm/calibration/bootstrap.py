"""Confidence intervals by resampling episodes, since steps of one episode are not independent."""

import numpy as np

RESAMPLES = 1000


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
    _, index = np.unique(episode, return_inverse=True)
    total = np.bincount(index, weights=np.asarray(values, float))
    count = np.bincount(index).astype(float)
    mean = total.sum() / count.sum()
    if len(total) < 2:
        return float(mean), float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, len(total), (RESAMPLES, len(total)))
    means = total[draws].sum(axis=1) / count[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(mean), float(low), float(high)
