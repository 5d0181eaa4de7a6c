"""Which of two models is better? Their scores at the same starts, in pairs."""

from typing import NamedTuple

from .bootstrap import episode_interval
from .scorecard import Sample, Scorecard


class Comparison(NamedTuple):
    """The mean difference of two scores, first minus second, with a 95 % interval."""

    metric: str
    horizon: int
    difference: float
    """Negative where the first is lower, which for a score is better."""
    low: float
    high: float
    """NaN, as the lower end, with a single episode."""
    count: int
    """How many starts."""

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.metric} at horizon {self.horizon}: difference {self.difference:.4f} "
            f"[{self.low:.4f}, {self.high:.4f}]"
        )


def compare(
    card_a: Scorecard, card_b: Scorecard, metric: str, horizon: int = 1, *, seed: int = 0
) -> Comparison:
    """The score of a model minus that of another, from their values at the same starts.

    Hard starts are hard for both, so that differences scatter less than the scores do: two
    intervals may overlap where the difference is plain. The interval is by bootstrap over episodes.
    Log scores compare only where both are of one measure: under the same noise, or `shifted`.
    What stands beside a model is compared as `compare(card.only("model"), card.only("law"), ...)`.

    Args:
        card_a, card_b: of `evaluate`, on the same episodes with the same key, num_starts and scale.
        metric: whose values are compared, any but "pit".
        horizon: steps ahead.
        seed: for the resamples.

    Raises:
        KeyError: a card without that score.
        ValueError: a card from JSON, which holds no values, other starts, or a metric without
            values of single starts.
    """
    a = _sample("card_a", card_a, metric, horizon)
    b = _sample("card_b", card_b, metric, horizon)
    if a.starts != b.starts:
        raise ValueError(
            f"card_a and card_b must be of the same starts to be compared in pairs, but their "
            f"{metric} at horizon {horizon} is of other targets: evaluate both on the same "
            "episodes, with the same num_starts and scale."
        )
    if a.values.ndim != 1:
        raise ValueError(f"{metric} is a number of all starts together, so there are no pairs.")
    interval = episode_interval(a.values - b.values, a.episode, seed=seed)
    return Comparison(metric, horizon, *interval, len(a.values))


def _sample(name: str, card: Scorecard, metric: str, horizon: int) -> Sample:
    card.get(metric, horizon)  # a missing score is told apart from missing values
    try:
        return card.samples["model", metric, horizon]
    except KeyError:
        raise ValueError(
            f"{name} holds no values of single starts: JSON keeps scores only. Score the "
            "model again with evaluate to compare it."
        ) from None
