"""What an evaluation says: one table of scores with confidence intervals."""

import dataclasses
import json
import math
from typing import Any, NamedTuple

COLUMNS = ("metric", "horizon", "value", "low", "high", "count")


class Score(NamedTuple):
    """One score: its mean over held-out data and a 95 % interval by episode bootstrap."""

    metric: str
    horizon: int
    value: float
    low: float
    high: float
    count: int


@dataclasses.dataclass(frozen=True)
class Scorecard:
    """All scores of one model on one set of episodes.

    Attributes:
        scores: one row a metric and horizon.
        skipped: what could not be scored, and why.
    """

    scores: tuple[Score, ...]
    skipped: tuple[str, ...] = ()

    def get(self, metric: str, horizon: int = 1) -> Score:
        """One row. `KeyError` when there is none; the message lists what there is."""
        for score in self.scores:
            if (score.metric, score.horizon) == (metric, horizon):
                return score
        have = sorted({(score.metric, score.horizon) for score in self.scores})
        raise KeyError(f"no score {metric!r} at horizon {horizon}; there are {have}")

    def series(self, metric: str) -> dict[str, list[int | float]]:
        """`horizon`, `value`, `low` and `high` of one metric, for plots."""
        rows = [score for score in self.scores if score.metric == metric]
        return {name: [getattr(row, name) for row in rows] for name in COLUMNS[1:5]}

    def shifted(self, metric: str, by: float) -> "Scorecard":
        """The card with `by` added to every score of `metric`: a change of reference measure."""

        def move(score: Score) -> Score:
            moved = {name: getattr(score, name) + by for name in ("value", "low", "high")}
            return score._replace(**moved) if score.metric == metric else score

        return dataclasses.replace(self, scores=tuple(map(move, self.scores)))

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form, which `from_json` reads; NaN becomes None."""
        rows = [{k: _plain(v) for k, v in score._asdict().items()} for score in self.scores]
        return {"scores": rows, "skipped": list(self.skipped)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Scorecard":
        """The inverse of `to_json`."""
        rows: Any = (
            {k: math.nan if v is None else v for k, v in row.items()} for row in data["scores"]
        )
        return Scorecard(tuple(Score(**row) for row in rows), tuple(data["skipped"]))

    def __str__(self) -> str:
        """A table for people."""
        lines = [f"{'metric':<12}{'horizon':>8}{'value':>12}  95 % interval"]
        lines += [
            f"{s.metric:<12}{s.horizon:>8}{s.value:>12.4f}  [{s.low:.4f}, {s.high:.4f}]"
            for s in self.scores
        ]
        lines += [f"skipped: {reason}" for reason in self.skipped]
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return json.loads(json.dumps(value))
