"""The promise that a trusted future is neither too narrow nor too wide."""

import equinox as eqx
import numpy as np
from jaxtyping import Float

from .._counts import checked_count
from .betting import p_value_of_mean
from .learn_then_test import largest_proved, num_pilot, share_of_trusted, significance
from .promises import ROUNDING, AbstractPromise, open_unit
from .rehearsal import Rehearsal

LEVELS = (0.5, 0.9)


class Calibration(AbstractPromise):
    """Until when are the clouds as wide as the world?

    Over the trusted part of a fresh open-loop rollout, what really came falls into the model's
    region of mass `level` neither more nor less often than it should by more than `risk`, at each
    of the levels: with probability `confidence` over the hold-out. `Coverage` asks for the second
    at one level only, which a cloud that is too wide passes with ease.

    By Learn-then-Test (`largest_proved`). A threshold is proved if each of its statements is, by
    betting (`p_value_of_mean`): the largest of the p-values is one of "some statement is false"
    (an intersection-union test, Berger 1982), whatever their number.

    Calibrated is not sharp. A model that knows no more than how often each state is met is
    calibrated, and trusted for good: on a chaotic world no realised episode tells it from the law.

    A test takes some 60 episodes where rollouts are long and the world forgets; where one stays
    inside or outside for as long as it lasts, 700 at a risk of 5 points, 170 at 10.
    """

    risk: float = eqx.field(static=True)
    levels: tuple[float, ...] = eqx.field(static=True)
    confidence: float = eqx.field(static=True)
    horizon: int = eqx.field(static=True)

    def __init__(
        self,
        risk: float = 0.05,
        *,
        horizon: int,
        levels: tuple[float, ...] = LEVELS,
        confidence: float = 0.9,
    ):
        """Choose a risk.

        Args:
            risk: how far the share of what came inside may be from each level, strictly between 0
                and 1. What it cannot exceed is not tested: above 95 % at a level of .9.
            horizon: the longest rollout that is asked about, at least 1.
            levels: masses of regions, at least one, each strictly between 0 and 1.
            confidence: that the statement is true, strictly between 0 and 1.

        Raises:
            ValueError: a number out of range, no level, or a risk that forbids nothing.
        """
        self.risk, self.confidence = open_unit("risk", risk), open_unit("confidence", confidence)
        self.levels = tuple(open_unit("levels", level) for level in levels)
        self.horizon = checked_count("horizon", horizon)
        if not any(_bounds(level, risk) for level in self.levels):
            raise ValueError(f"risk must forbid something at a level of {levels}, but is {risk}.")

    def threshold(self, rehearsal: Rehearsal) -> float:
        number = len(rehearsal.level)
        tested = np.ones(number - num_pilot(number))
        ideal = max(self._p_value(level, level * tested) for level in self.levels)
        if ideal > significance(self.confidence):
            raise ValueError(
                f"holdout must have more episodes to show a risk of at most {self.risk} with "
                f"confidence {self.confidence}, but has {number}: not even rollouts that are "
                "exactly as often inside as they should would do. Hold out 100 or more, or allow "
                "a higher risk."
            )
        return largest_proved(rehearsal, self.p_value, self.confidence)

    def p_value(self, rehearsal: Rehearsal, threshold: float) -> float:
        """Of "at some level what came is too often or too rarely inside"."""
        return max(
            self._p_value(level, self.inside(rehearsal, threshold, level)) for level in self.levels
        )

    def inside(
        self, rehearsal: Rehearsal, threshold: float, level: float
    ) -> Float[np.ndarray, " rollouts"]:
        """How often what came was inside, over the trusted part of each rollout that has one."""
        return share_of_trusted(rehearsal, threshold, rehearsal.level <= level)

    def _p_value(self, level: float, inside: Float[np.ndarray, " rollouts"]) -> float:
        return max(
            (
                p_value_of_mean(inside if too_often else 1 - inside, bound)
                for too_often, bound in _bounds(level, self.risk)
            ),
            default=0.0,
        )


def _bounds(level: float, risk: float) -> list[tuple[bool, float]]:
    """What the share inside (True) and outside (False) must stay below, where that is below 1."""
    bounds = [(True, level + risk), (False, 1 - level + risk)]
    return [(too_often, bound) for too_often, bound in bounds if bound < 1 - ROUNDING]
