"""The largest threshold at which a statement about trusted parts is proved."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from .rehearsal import Rehearsal, raised

NUM_CHAINS = 4
PILOT = 5  # one in so many episodes proposes thresholds, the others test them

Test: TypeAlias = Callable[[Rehearsal, float], float]
"""`test(rehearsal, threshold)`: the p-value of "the statement is false at this threshold"."""


def largest_proved(rehearsal: Rehearsal, test: Test, confidence: float) -> float:
    """The largest threshold that is proved in its turn; -inf if none is.

    Learn-then-Test (Angelopoulos et al. 2022, arXiv 2110.01052) with fixed-sequence testing, as
    what is promised need not fail more and more as the threshold grows: the first fifth of the
    episodes proposes four chains of thresholds, the others test each from its strictest on, up
    to the first that fails. All that is proved is true with probability `confidence`.
    """
    pilot = num_pilot(len(rehearsal.level))
    rest = rehearsal.part(slice(pilot, None))
    bound = significance(confidence)
    return max(
        _last_proved(rest, chain, test, bound) for chain in _proposed(rehearsal.statistic[:pilot])
    )


def num_pilot(episodes: int) -> int:
    """How many episodes propose thresholds and test none, at least one."""
    return max(1, episodes // PILOT)


def significance(confidence: float) -> float:
    """The level of each test, so that all chains together err with the rest of `confidence`."""
    return (1 - confidence) / NUM_CHAINS


def share_of_trusted(
    rehearsal: Rehearsal, threshold: float, event: Bool[np.ndarray, "episodes horizon"]
) -> Float[np.ndarray, " rollouts"]:
    """How often an event came over the trusted part of each rollout that has one.

    Steps count by the share of particles that are still trusted.
    """
    trusted = np.mean(rehearsal.statistic <= threshold, axis=1)
    weight = np.where(np.isnan(rehearsal.level), 0.0, trusted)
    total = weight.sum(axis=1)
    return (weight * event).sum(axis=1)[total > 0] / total[total > 0]


def _last_proved(rehearsal: Rehearsal, chain: list[float], test: Test, bound: float) -> float:
    """The last threshold before the first that fails its test."""
    found = -math.inf
    for threshold in chain:
        if test(rehearsal, threshold) > bound:
            break
        found = threshold
    return found


def _proposed(statistic: Float[np.ndarray, "episodes particles horizon"]) -> list[list[float]]:
    """Chains of thresholds, each up to the one that trusts everything.

    They begin where half or most of the first steps are trusted, or a tenth or half of all steps: a
    strict threshold leaves few steps to be judged by, and a chain ends with the first test that
    fails. Each is raised before it is tested, so that a guard holds what was tested.
    """
    begins = *np.quantile(statistic[:, :, 0], [0.5, 0.9]), *np.quantile(statistic, [0.1, 0.5])
    later = np.quantile(statistic, np.linspace(0, 1, 41)[1:])
    as_held = lambda thresholds: [raised(float(x), statistic) for x in thresholds]  # noqa: E731
    return [[*as_held([b, *later[later > b]]), math.inf] for b in begins]
