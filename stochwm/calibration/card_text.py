"""A score card as a table for people."""

import math
from collections.abc import Sequence
from typing import Any

from .metrics import METRICS

TITLES = {
    "law": "true law",
    "excess": "model - true law",
    "gaussian": "Gaussian",
}


def card_text(scores: Sequence[Any], skipped: Sequence[str]) -> str:
    """Rows of metric and horizon, a column for the model and each of what stands beside it.

    Args:
        scores: `Score` rows.
        skipped: reasons, one line each.
    """
    sources = list(dict.fromkeys(score.of for score in scores))
    keys = list(dict.fromkeys((score.metric, score.horizon) for score in scores))
    cells = {(s.metric, s.horizon, s.of): s for s in scores}
    rows = [["metric", "steps ahead", *(title(of) for of in sources)]]
    for metric, horizon in keys:
        found = [cells.get((metric, horizon, of)) for of in sources]
        rows.append([metric, str(horizon), *map(score_text, found)])
    lines = aligned(rows)
    shown = dict.fromkeys(metric for metric, _ in keys if metric in METRICS)
    if any(not math.isnan(score.low) for score in scores):
        lines += ["", "[low, high]: 95 % interval, by bootstrap over episodes"]
    lines += [f"{metric}: {METRICS[metric].says}" for metric in shown]
    return "\n".join(lines + [f"skipped: {reason}" for reason in skipped])


def title(of: str) -> str:
    """What a source is called in tables and figures."""
    return TITLES.get(of, of)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of equal columns: the second one to the right, the others to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i == 1 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def number(value: float) -> str:
    """Three decimals, or an exponent where they would show nothing."""
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def score_text(score: Any) -> str:
    """A score with its interval; nothing where there is none."""
    if score is None:
        return ""
    if math.isnan(score.low):
        return number(score.value)
    return f"{number(score.value)} [{number(score.low)}, {number(score.high)}]"
