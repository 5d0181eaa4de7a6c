"""The promise that what comes is near what was imagined, for as long as that is trusted."""

import math

import equinox as eqx
import numpy as np

from .._counts import checked_count
from ..calibration import fewest_scores
from .promises import ROUNDING, AbstractPromise, open_unit
from .rehearsal import Rehearsal, raised


class Accuracy(AbstractPromise):
    """For how many steps is the imagination near what really comes?

    A future from a random step of a fresh episode of the same kind, under its recorded actions, is
    trusted longer than it is near with probability at most `rate`, which is over the hold-out too.
    It is near until the cloud of all particles is first further than `tolerance` from what came, in
    energy distance: twice its energy score, in units of the spread of the held-out observations.

    For worlds that are certain, or nearly. There the distance to what came is the distance to the
    law, so that clouds that are too wide are seen, which `Coverage` and `Calibration` let pass. In
    a random world it is that plus the law's own spread: a tolerance below it trusts nothing.

    By conformal risk control, as for `FalseAlarm`: how many are trusted too long only grows with
    the threshold, so that no episode is spent on proposing thresholds. Horizons of futures from
    split conformal prediction: "Trust horizons" (arXiv 2606.24946).
    """

    tolerance: float = eqx.field(static=True)
    rate: float = eqx.field(static=True)
    horizon: int = eqx.field(static=True)

    def __init__(self, tolerance: float, rate: float = 0.05, *, horizon: int):
        """Choose what is near enough.

        Args:
            tolerance: the largest energy distance, positive; two states are apart by twice their
                Euclidean distance.
            rate: of futures that are trusted too long, strictly between 0 and 1.
            horizon: steps of a future, at least 1.

        Raises:
            ValueError: a number out of range.
        """
        if not 0 < tolerance < math.inf:
            raise ValueError(f"tolerance must be positive and finite, but is {tolerance}.")
        self.tolerance = float(tolerance)
        self.rate, self.horizon = open_unit("rate", rate), checked_count("horizon", horizon)

    def threshold(self, rehearsal: Rehearsal) -> float:
        episodes, particles, _ = rehearsal.statistic.shape
        allowed = math.floor(particles * (self.rate * (episodes + 1) - 1) + ROUNDING)
        if allowed < 0:
            raise ValueError(
                f"holdout must have at least {fewest_scores(1 - self.rate)} episodes for a rate of "
                f"{self.rate}, but has {episodes}: hold out more, or allow a higher rate."
            )
        # A particle is trusted too long from the value on that it has where it is too far away.
        near = self.near(rehearsal)
        left = near < rehearsal.horizon
        too_long = rehearsal.statistic[left, :, near[left]]
        too_long = np.sort(too_long[~np.isnan(too_long)])  # a guard never trusts NaN
        if len(too_long) <= allowed:
            return math.inf
        first = too_long[allowed]
        # Below it, and by more than the last bits, in which another program may differ.
        below = float(np.nextafter(np.float32(first), np.float32(-np.inf)))
        return min(below, -raised(-float(first), rehearsal.statistic))

    def near(self, rehearsal: Rehearsal) -> np.ndarray:
        """How many steps there are before the first that is too far away, `[episodes]`.

        The horizon, where no step of the episode is.

        Raises:
            ValueError: a rehearsal that did not measure distances.
        """
        if rehearsal.distance is None:
            raise ValueError("rehearsal must have measured the distance to what came.")
        far = rehearsal.distance > self.tolerance  # NaN after the end is not
        return np.where(far.any(axis=1), np.argmax(far, axis=1), rehearsal.horizon)
