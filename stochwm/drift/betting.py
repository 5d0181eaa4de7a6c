"""A test of a mean that holds for any number of observations: bet against it."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float


def p_value_of_mean(values: Any, mean: float) -> float:
    """p-value of "the mean of independent numbers in [0, 1] is at least `mean`".

    A player who starts with 1 stakes a part of what he has on each number being below `mean`. If
    the hypothesis is true, nobody expects to gain, so `P(he ever has x or more) <= 1 / x` (Ville);
    the p-value is 1 over the most that he had. The stake of a step follows from the numbers before
    it (aGRAPA of Waudby-Smith & Ramdas 2024, arXiv 2010.09686), and never risks more than 9 tenths
    of what he has. Unlike Hoeffding's bound it gains from numbers that vary little.

    Args:
        values: independent, in [0, 1], `[n]`; n may be 0, where the p-value is 1.
        mean: the hypothesis, strictly between 0 and 1.

    Raises:
        ValueError: another shape, values that are not numbers in [0, 1], or a mean out of range.
    """
    values = np.asarray(values, float)
    if values.ndim != 1:
        raise ValueError(f"values must have shape [n], but has shape {values.shape}.")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"values must lie in [0, 1], but are {values}.")
    if not 0 < mean < 1:
        raise ValueError(f"mean must lie strictly between 0 and 1, but is {mean}.")
    steps = np.arange(1, len(values) + 1)
    # What was seen before each step begins with one made-up number.
    total = mean + np.cumsum(values)
    spread = 0.25 + np.cumsum((values - total / (steps + 1)) ** 2)
    gain = mean - _before(total, mean) / steps
    variance = _before(spread, 0.25) / steps
    # The stake of fastest growth, to second order: what is expected over its variance.
    stake = np.minimum(np.maximum(gain, 0.0) / (variance + gain**2), 0.9 / (1 - mean))
    wealth = np.cumsum(np.log1p(stake * (mean - values)))
    return math.exp(-wealth.max(initial=0.0))


def _before(running: Float[np.ndarray, " n"], first: float) -> Float[np.ndarray, " n"]:
    """A running sum as it was before each step."""
    return np.concatenate([[first], running])[:-1]
