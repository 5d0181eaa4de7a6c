"""What recalibration did to a run's model: its scores before and after, kept and put in words."""

import json
from typing import Any, NamedTuple

import numpy as np

from .._storage import StorageError
from ..calibration import Diagnosis, Scorecard
from ..calibration.card_text import score_text
from .calibration_words import LEVEL, at_level, percent, share, steps
from .run import Run

FILE = "recalibration.json"
METRICS = ("energy", "nll")


class Repair(NamedTuple):
    """How a model was recalibrated, and its scores on test episodes."""

    method: str
    per: str
    notes: list[str]
    """What a reader should know of how it was done."""
    before: Scorecard
    after: Scorecard

    def table(
        self, before: Diagnosis, after: Diagnosis
    ) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
        """Headings, and rows of coverage and scores before and after."""
        rows = []
        for level in (0.5, LEVEL):
            for one, other in _pairs(before, after):
                cells = (share(one.coverage, level), share(other.coverage, level))
                rows.append((f"{percent(level)} intervals held", one.horizon, *cells))
        for metric in METRICS:
            for horizon in self.before.series(metric)["horizon"]:
                cells = (
                    score_cell(card, metric, int(horizon)) for card in (self.before, self.after)
                )
                rows.append((metric, int(horizon), *cells))
        return ("", "steps ahead", "before", "after"), tuple(rows)

    def sentences(self, before: Diagnosis, after: Diagnosis) -> list[str]:
        """What changed, in plain words."""
        said = [
            f"Recalibrated by the method {self.method}, per {self.per}, on validation episodes."
        ]
        pairs = _pairs(before, after)
        if pairs:
            changes = "; ".join(_change(one, other) for one, other in pairs)
            said.append(f"Of what happened, the {percent(LEVEL)} intervals held {changes}.")
        return said + _about_energy(self) + self.notes

    def to_text(self, before: Diagnosis, after: Diagnosis) -> str:
        """The table and the sentences, for a terminal."""
        heads, rows = self.table(before, after)
        lines = [f"{heads[0]:<22}{heads[1]:>12}  {heads[2]:<26}{heads[3]}"]
        lines += [f"{name:<22}{h:>12}  {one:<26}{other}" for name, h, one, other in rows]
        return "\n".join([*lines, "", *self.sentences(before, after)])


def save_repair(run: Run, repair: Repair) -> None:
    """Keep it in the run folder."""
    data = repair._asdict()
    data |= {name: getattr(repair, name).to_json() for name in ("before", "after")}
    run.write_text(FILE, json.dumps(data, indent=1))


def forget_repair(run: Run) -> None:
    """Take away what was kept of a former one: it says nothing about another model."""
    (run.path / FILE).unlink(missing_ok=True)


def has_repair(run: Run) -> bool:
    """Whether the run was recalibrated."""
    return (run.path / FILE).is_file()


def load_repair(run: Run) -> Repair:
    """What `save_repair` kept.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        data = json.loads((run.path / FILE).read_text(encoding="utf-8"))
        data |= {name: Scorecard.from_json(data[name]) for name in ("before", "after")}
        return Repair(**data)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{run.path / FILE} is damaged: {error}") from error


def _pairs(before: Diagnosis, after: Diagnosis) -> list[tuple[Any, Any]]:
    repaired = {row.horizon: row for row in after.horizons}
    return [(r, repaired[r.horizon]) for r in before.horizons if r.horizon in repaired]


def _change(one: Any, other: Any) -> str:
    was, now = (at_level(row.coverage, LEVEL)[0] for row in (one, other))
    return f"{percent(was)} before and {percent(now)} after, {steps(one.horizon)}"


def _about_energy(repair: Repair) -> list[str]:
    was, now = (
        dict(zip(*(card.series("energy")[k] for k in ("horizon", "value")), strict=True))
        for card in (repair.before, repair.after)
    )
    common = [h for h in was if h in now]
    if not common:
        return []
    worse = [h for h in common if now[h] > 1.01 * was[h]]
    if worse:
        listed = ", ".join(str(h) for h in worse)
        return [f"The energy score is worse by more than 1 % at these steps ahead: {listed}."]
    change = np.mean([now[h] / was[h] - 1 for h in common])
    return [f"The energy score changes by {100 * change:+.1f} % on average; lower is better."]


def score_cell(card: Scorecard, metric: str, horizon: int) -> str:
    """A score with its interval as a cell of a table."""
    try:
        return score_text(card.get(metric, horizon))
    except KeyError:
        return "–"
