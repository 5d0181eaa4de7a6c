"""What the threshold of a guard promises, and the promise of few false alarms."""

import abc
import math

import equinox as eqx
import numpy as np

from .._counts import checked_count
from ..calibration import fewest_scores
from .rehearsal import Rehearsal, raised

ROUNDING = 1e-9  # 0.05 * 20 must not count as a little less than 1


class AbstractPromise(eqx.Module):
    """A statement about fresh episodes, and the threshold that makes it true."""

    horizon: eqx.AbstractVar[int]

    @abc.abstractmethod
    def threshold(self, rehearsal: Rehearsal) -> float:
        """The largest threshold at which the promise holds, up to rounding; -inf if there is none.

        Raises:
            ValueError: too few held-out episodes for any such statement.
        """


class FalseAlarm(AbstractPromise):
    """Is this situation one that the model knows?

    A future from a random step of a fresh episode of the same kind, under its recorded actions,
    `horizon` steps long or until that episode ends, is flagged with probability at most `rate`. The
    step is drawn as in `rehearse`: uniformly among those with `horizon` steps to come, else the
    first. The probability is over the hold-out too. It says nothing of futures under other actions,
    or of how wrong the model is there: see `Coverage`.

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
        self.rate, self.horizon = open_unit("rate", rate), checked_count("horizon", horizon)

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
        # A threshold that is a little larger only flags less.
        return raised(float(np.sort(final, axis=None)[::-1][allowed]), rehearsal.statistic)


def open_unit(name: str, value: float) -> float:
    """The value, or `ValueError` unless it lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, but is {value}.")
    return float(value)
