"""What the threshold of a guard promises: two answers to two different questions."""

import abc
import math

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float

from ..calibration import fewest_scores
from .betting import p_value_of_mean
from .rehearsal import Rehearsal

ROUNDING = 1e-9  # 0.05 * 20 must not count as a little less than 1
NUM_CHAINS = 3


class AbstractPromise(eqx.Module):
    """A statement about fresh episodes, and the threshold that makes it true."""

    horizon: eqx.AbstractVar[int]

    @abc.abstractmethod
    def threshold(self, rehearsal: Rehearsal) -> float:
        """The largest threshold at which the promise holds; -inf if it does at none.

        Raises:
            ValueError: too few held-out episodes for any such statement.
        """


class FalseAlarm(AbstractPromise):
    """Is this situation one that the model knows?

    A future from the start of a fresh episode of the same kind, `horizon` steps long or until that
    episode ends, is flagged with probability at most `rate`. The probability is over the hold-out
    too. It says nothing of how wrong the model is there: see `Coverage`.

    By conformal risk control of the share of particles that are flagged (Angelopoulos et al. 2024,
    arXiv 2208.02814, theorem 1), which with one particle is split conformal prediction of the
    largest value along a future.
    """

    rate: float = eqx.field(static=True)
    horizon: int = eqx.field(static=True)

    def __init__(self, rate: float = 0.05, *, horizon: int):
        """Choose a rate.

        Args:
            rate: of false alarms, strictly between 0 and 1.
            horizon: steps of a future, at least 1.

        Raises:
            ValueError: a rate or horizon out of range.
        """
        self.rate, self.horizon = _open_unit("rate", rate), _checked(horizon)

    def threshold(self, rehearsal: Rehearsal) -> float:
        final = rehearsal.statistic[:, :, -1]
        episodes, particles = final.shape
        # (flagged share, summed over episodes, + 1) / (episodes + 1) <= rate
        allowed = math.floor(particles * (self.rate * (episodes + 1) - 1) + ROUNDING)
        if allowed < 0:
            least = fewest_scores(1 - self.rate)
            raise ValueError(
                f"holdout must have at least {least} episodes for a rate of false alarms of "
                f"{self.rate}, but has {episodes}: hold out more, or allow a higher rate."
            )
        return float(np.sort(final, axis=None)[::-1][allowed])


class Coverage(AbstractPromise):
    """Until when can this imagination be trusted?

    Over the trusted part of a fresh open-loop rollout, what really came falls outside the model's
    region of mass `level` at most `risk` more often than it should, which is `1 - level`: with
    probability `confidence` over the hold-out. Each rollout with a trusted part counts once; its
    steps count by the share of particles that are still trusted. The region is the densest of the
    cloud of all particles.

    By Learn-then-Test (Angelopoulos et al. 2022, arXiv 2110.01052) with fixed-sequence testing, as
    the risk need not grow with the threshold: the first fifth of the episodes proposes three chains
    of thresholds, the others test each from its strictest on, by betting (`p_value_of_mean`). It
    holds for starts that the model knows, where compounding error is the whole problem, and needs
    no known law. A test takes some 60 episodes where the model is right.
    """

    level: float = eqx.field(static=True)
    risk: float = eqx.field(static=True)
    confidence: float = eqx.field(static=True)
    horizon: int = eqx.field(static=True)

    def __init__(
        self, level: float = 0.9, risk: float = 0.05, *, horizon: int, confidence: float = 0.9
    ):
        """Choose a region and a risk.

        Args:
            level: mass of the region, strictly between 0 and 1.
            risk: how much more often than `1 - level` what came may be outside; their sum is below
                1.
            horizon: the longest rollout that is asked about, at least 1.
            confidence: that the statement is true, strictly between 0 and 1.

        Raises:
            ValueError: a number out of range.
        """
        self.level, self.risk = _open_unit("level", level), _open_unit("risk", risk)
        self.confidence, self.horizon = _open_unit("confidence", confidence), _checked(horizon)
        if self.allowed >= 1:
            raise ValueError(f"risk must be below level, but is {risk} at a level of {level}.")

    @property
    def allowed(self) -> float:
        """How often what came may be outside the region."""
        return 1 - self.level + self.risk

    @property
    def _significance(self) -> float:
        return (1 - self.confidence) / NUM_CHAINS  # so that all chains together err that rarely

    def threshold(self, rehearsal: Rehearsal) -> float:
        number = len(rehearsal.level)
        pilot = number // 5
        never_outside = p_value_of_mean(np.zeros(number - pilot), self.allowed)
        if never_outside > self._significance:
            raise ValueError(
                f"holdout must have more episodes to show a risk of at most {self.risk} with "
                f"confidence {self.confidence}, but has {number}: not even rollouts that are never "
                "outside would do. Hold out 100 or more, or allow a higher risk."
            )
        rest = Rehearsal(*(part[pilot:] for part in rehearsal))
        chains = _proposed(rehearsal.statistic[:pilot])
        return max(self._last_proved(rest, chain) for chain in chains)

    def _last_proved(self, rehearsal: Rehearsal, chain: list[float]) -> float:
        """The last threshold before the first that fails its test."""
        found = -math.inf
        for threshold in chain:
            outside = self.outside(rehearsal, threshold)
            if p_value_of_mean(outside, self.allowed) > self._significance:
                break
            found = threshold
        return found

    def outside(self, rehearsal: Rehearsal, threshold: float) -> Float[np.ndarray, " rollouts"]:
        """How often what came was outside, over the trusted part of each rollout that has one."""
        trusted = np.mean(rehearsal.statistic <= threshold, axis=1)
        there = ~np.isnan(rehearsal.level)
        weight = np.where(there, trusted, 0.0)
        total = weight.sum(axis=1)
        missed: Bool[np.ndarray, "episodes horizon"] = rehearsal.level > self.level
        return (weight * missed).sum(axis=1)[total > 0] / total[total > 0]


def _proposed(statistic: Float[np.ndarray, "episodes particles horizon"]) -> list[list[float]]:
    """Chains of thresholds, each up to the one that trusts everything.

    They begin where half or most of the first steps are trusted, or half of all steps: a strict
    threshold leaves few steps to be judged by, and a chain ends with the first test that fails.
    """
    first = statistic[:, :, 0]
    begins = (np.quantile(first, 0.5), np.quantile(first, 0.9), np.median(statistic))
    later = np.quantile(statistic, np.linspace(0, 1, 41)[1:])
    return [[float(b), *map(float, later[later > b]), math.inf] for b in begins]


def _open_unit(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, but is {value}.")
    return float(value)


def _checked(horizon: int) -> int:
    if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
        raise ValueError(f"horizon must be a whole number of steps, at least 1, but is {horizon}.")
    return horizon
