"""What an evaluation says: one table of scores with confidence intervals."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .card_figure import card_figure
from .card_text import card_text

if TYPE_CHECKING:
    import matplotlib.figure


class Score(NamedTuple):
    """One score: its mean over held-out data and a 95 % interval by episode bootstrap."""

    metric: str
    horizon: int
    value: float
    low: float
    high: float
    count: int
    of: str = "model"


class Sample(NamedTuple):
    """The single values behind a score."""

    values: np.ndarray
    """One a start, `[starts]`."""
    episode: np.ndarray
    """The episode of each start, `[starts]`."""
    starts: str
    """A fingerprint of what was to be predicted: only where it is equal, values are pairs."""


@dataclasses.dataclass(frozen=True)
class Scorecard:
    """All scores of one model on one set of episodes, and of what stands beside it.

    Attributes:
        scores: one row a metric and horizon, of the model and of each baseline.
        skipped: what could not be scored, and why.
        samples: the values behind the scores, by `(of, metric, horizon)`, for `compare`. Kept in
            memory only: a card that was read from JSON has none.
    """

    scores: tuple[Score, ...]
    skipped: tuple[str, ...] = ()
    samples: Mapping[tuple[str, str, int], Sample] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def get(self, metric: str, horizon: int = 1, *, of: str = "model") -> Score:
        """One row. `KeyError` when there is none; the message lists what there is."""
        for score in self.scores:
            if (score.metric, score.horizon, score.of) == (metric, horizon, of):
                return score
        have = sorted({(score.metric, score.horizon) for score in self.scores if score.of == of})
        raise KeyError(
            f"no score {metric!r} at horizon {horizon} of {of!r}; there are {have}, and scores of "
            f"{list(self.sources)}"
        )

    def series(self, metric: str, *, of: str = "model") -> dict[str, list[int | float]]:
        """`horizon`, `value`, `low` and `high` of one metric, for plots."""
        rows = [score for score in self.scores if (score.metric, score.of) == (metric, of)]
        columns = ("horizon", "value", "low", "high")
        return {name: [getattr(row, name) for row in rows] for name in columns}

    @property
    def sources(self) -> tuple[str, ...]:
        """Whose scores there are: "model", then what stands beside it."""
        return tuple(dict.fromkeys(score.of for score in self.scores))

    def only(self, of: str) -> "Scorecard":
        """The scores of one source as a card of their own, in which they are the model's.

        Raises:
            KeyError: there are no scores of it.
        """
        if of not in self.sources:
            raise KeyError(f"no scores of {of!r}; there are scores of {list(self.sources)}")
        return Scorecard(
            tuple(score._replace(of="model") for score in self.scores if score.of == of),
            tuple(self._reasons(of)),
            {("model", *key[1:]): sample for key, sample in self.samples.items() if key[0] == of},
        )

    def _reasons(self, of: str) -> list[str]:
        """Why something of this source, or a whole horizon, was skipped."""
        if of == "model":  # whose reasons do not name it
            beside = tuple(f"{name}: " for name in self.sources)
            return [reason for reason in self.skipped if not reason.startswith(beside)]
        mine = (f"{of}: ", "horizon ")
        return [r.removeprefix(mine[0]) for r in self.skipped if r.startswith(mine)]

    def shifted(self, metric: str, by: float) -> "Scorecard":
        """The card with `by` added to the model's scores of `metric`: a change of its measure.

        Their excess over the law moves with them; what else stands beside the model does not.
        """
        moved = ("model", "excess")

        def move(score: Score) -> Score:
            numbers = {name: getattr(score, name) + by for name in ("value", "low", "high")}
            return score._replace(**numbers) if (score.metric, score.of) in pairs else score

        pairs = [(metric, of) for of in moved]
        samples = {
            key: sample._replace(values=sample.values + by) if key[1::-1] in pairs else sample
            for key, sample in self.samples.items()
        }
        return dataclasses.replace(self, scores=tuple(map(move, self.scores)), samples=samples)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form, which `from_json` reads; NaN becomes None."""
        rows = [{k: _plain(v) for k, v in score._asdict().items()} for score in self.scores]
        return {"scores": rows, "skipped": list(self.skipped)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Scorecard":
        """The inverse of `to_json`, but for the samples."""
        rows: Any = (
            {k: math.nan if v is None else v for k, v in row.items()} for row in data["scores"]
        )
        return Scorecard(tuple(Score(**row) for row in rows), tuple(data["skipped"]))

    def plot(self) -> "matplotlib.figure.Figure":
        """A figure: each metric by horizon with its intervals, what stands beside the model too.

        Raises:
            ImportError: matplotlib is missing (extra `plots`).
            ValueError: there is no score to show.
        """
        return card_figure(self.scores)

    def __str__(self) -> str:
        """A table for people."""
        return card_text(self.scores, self.skipped)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return json.loads(json.dumps(value))
