"""A test of a mean that holds for any number of observations: bet against it."""

import math
from typing import Any

import numpy as np


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
        ValueError: values that are not numbers in [0, 1], or a mean out of range.
    """
    values = np.asarray(values, float).reshape(-1)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"values must lie in [0, 1], but are {values}.")
    if not 0 < mean < 1:
        raise ValueError(f"mean must lie strictly between 0 and 1, but is {mean}.")
    wealth = most = 0.0  # logs
    total, spread = mean, 0.25  # of one made-up number before the first
    for seen, value in enumerate(values, start=1):
        gain = mean - total / seen
        variance = spread / seen
        # The stake of fastest growth, to second order: what is expected over its variance.
        stake = min(max(gain, 0.0) / (variance + gain**2), 0.9 / (1 - mean))
        wealth += math.log1p(stake * (mean - value))
        most = max(most, wealth)
        total += value
        spread += (value - total / (seen + 1)) ** 2
    return math.exp(-most)
