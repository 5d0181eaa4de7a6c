"""How well a score tells two kinds of situations apart."""

from typing import Any

import numpy as np


def auroc(score: Any, truth: Any) -> float:
    """Chance that a true case has a higher score than one that is not true; ties count half.

    The area under the receiver operating characteristic: 1/2 for a score that knows nothing, 1 for
    one that puts every true case above all others. It is the statistic of Mann & Whitney (1947),
    here by ranks, where equal scores share the mean of theirs (Hanley & McNeil 1982, "The meaning
    and use of the area under a receiver operating characteristic (ROC) curve").

    Args:
        score: `[cases]`; may be infinite.
        truth: `[cases]`, boolean, such as whether the model is wrong there. Take a distance between
            distributions for it, not an error that was realised: in a random world that is large
            where the world is random.

    Raises:
        ValueError: other shapes, a score that is NaN, or a truth that is all true or all false.
        TypeError: a truth that is not boolean.
    """
    score, truth = check_scored(score, truth)
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    hits = int(truth.sum())
    above = rank[truth].sum() - hits * (hits + 1) / 2
    return float(above / (hits * (len(truth) - hits)))


def check_scored(score: Any, truth: Any, name: str = "score") -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, checked; errors as for `auroc`, which call the score by `name`."""
    score, truth = np.asarray(score, float), np.asarray(truth)
    if truth.dtype != bool:
        raise TypeError(f"truth must be boolean, but has the dtype {truth.dtype}.")
    if truth.ndim != 1 or score.shape != truth.shape:
        raise ValueError(
            f"{name} and truth must be [cases], one number for each truth, but have shapes "
            f"{score.shape} and {truth.shape}."
        )
    if np.isnan(score).any():
        raise ValueError(f"{name} must not be NaN, but is at {np.flatnonzero(np.isnan(score))}.")
    if truth.all() or not truth.any():
        raise ValueError(
            f"truth must have cases of both kinds, but all {len(truth)} are {bool(truth.all())}."
        )
    return score, truth
