"""The promise that a trusted future rarely leaves out what really comes."""

import equinox as eqx
import numpy as np
from jaxtyping import Float

from .._counts import checked_count
from .betting import p_value_of_mean
from .learn_then_test import largest_proved, num_pilot, share_of_trusted, significance
from .promises import AbstractPromise, open_unit
from .rehearsal import Rehearsal


class Coverage(AbstractPromise):
    """Until when can this imagination be trusted?

    Over the trusted part of a fresh open-loop rollout, what really came falls outside the model's
    region of mass `level` at most `risk` more often than it should, which is `1 - level`: with
    probability `confidence` over the hold-out. Each rollout with a trusted part counts once; its
    steps count by the share of particles that are still trusted. The region is the densest of the
    cloud of all particles.

    By Learn-then-Test (`largest_proved`), each threshold by betting (`p_value_of_mean`). It holds
    for starts that the model knows, where compounding error is the whole problem, and needs no
    known law. A test takes some 60 episodes where the model is right.

    It does not see a cloud that is too wide: see `Calibration`.
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
        self.level, self.risk = open_unit("level", level), open_unit("risk", risk)
        self.confidence = open_unit("confidence", confidence)
        self.horizon = checked_count("horizon", horizon)
        if self.allowed >= 1:
            raise ValueError(f"risk must be below level, but is {risk} at a level of {level}.")

    @property
    def allowed(self) -> float:
        """How often what came may be outside the region."""
        return 1 - self.level + self.risk

    def threshold(self, rehearsal: Rehearsal) -> float:
        number = len(rehearsal.level)
        never_outside = p_value_of_mean(np.zeros(number - num_pilot(number)), self.allowed)
        if never_outside > significance(self.confidence):
            raise ValueError(
                f"holdout must have more episodes to show a risk of at most {self.risk} with "
                f"confidence {self.confidence}, but has {number}: not even rollouts that are never "
                "outside would do. Hold out 100 or more, or allow a higher risk."
            )
        test = lambda some, threshold: p_value_of_mean(  # noqa: E731
            self.outside(some, threshold), self.allowed
        )
        return largest_proved(rehearsal, test, self.confidence)

    def outside(self, rehearsal: Rehearsal, threshold: float) -> Float[np.ndarray, " rollouts"]:
        """How often what came was outside, over the trusted part of each rollout that has one."""
        return share_of_trusted(rehearsal, threshold, rehearsal.level > self.level)
