"""A score card as a figure, without pyplot: nothing is left behind, no window opens."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .card_text import title
from .metrics import METRICS

if TYPE_CHECKING:
    import matplotlib.figure

# As in reports: after Okabe & Ito, told apart with every kind of colour vision.
COLOURS = {
    "model": "#0B6FB8",
    "gaussian": "#D55E00",
    "law": "#00916A",
    "persistence": "#868E99",
    "climatology": "#B5478F",
}
RIGHT = {"coverage90": 0.9}  # what a calibrated model has


def card_figure(scores: Sequence[Any]) -> "matplotlib.figure.Figure":
    """One panel a metric: score by horizon with intervals; the excess is left to the table.

    Args:
        scores: `Score` rows.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: there is no score to show.
    """
    shown = [score for score in scores if score.of != "excess"]
    metrics = list(dict.fromkeys(score.metric for score in shown))
    if not metrics:
        raise ValueError("the card holds no score to plot; see what was skipped.")
    figure = _empty_figure(3.3 * len(metrics))
    sources = list(dict.fromkeys(score.of for score in shown))
    lines = {}
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for i, of in enumerate(sources):
            rows = sorted((s.horizon, s) for s in shown if (s.metric, s.of) == (metric, of))
            if rows:
                lines[of] = _line(axes, [row for _, row in rows], 0.97 + 0.02 * i)
        _label(axes, metric, sorted({s.horizon for s in shown if s.metric == metric}))
    handles = [lines[of] for of in sources]
    names = [title(of) for of in sources]
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def _empty_figure(width: float) -> "matplotlib.figure.Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Figures need matplotlib, which is an optional extra: pip install 'stochwm[plots]'"
        ) from error
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _line(axes: Any, rows: Sequence[Any], beside: float) -> Any:
    """One source; a little beside the others, so that intervals do not hide each other."""
    at, value = [row.horizon * beside for row in rows], [row.value for row in rows]
    below, above = (
        [0.0 if math.isnan(end) else abs(end - row.value) for row, end in pairs]
        for pairs in ([(r, r.low) for r in rows], [(r, r.high) for r in rows])
    )
    return axes.errorbar(
        at, value, [below, above], color=COLOURS.get(rows[0].of), marker="o", ms=3.5, lw=1.5
    )


def _label(axes: Any, metric: str, horizons: Sequence[int]) -> None:
    if metric in RIGHT:
        axes.axhline(RIGHT[metric], color="#69717D", lw=0.8, ls="--")
    axes.set_xscale("log")
    axes.set_xticks(horizons, [str(horizon) for horizon in horizons])
    axes.minorticks_off()
    says = METRICS[metric].says if metric in METRICS else ""
    axes.set_title(metric, loc="left", fontsize=10, fontweight="bold")
    axes.set_ylabel(textwrap.fill(says, 34), fontsize=7)
    axes.set_xlabel("steps ahead")
    axes.spines[["top", "right"]].set_visible(False)
