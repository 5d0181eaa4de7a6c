"""Receiver operating characteristics: which score tells what is true from what is not."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..drift.auroc import auroc, check_scored
from . import checks, style

if TYPE_CHECKING:
    import matplotlib.figure


@style.styled
def roc_curves(
    scores: Mapping[str, Any],
    truth: Any,
    *,
    xlabel: str = "share of false cases flagged",
    ylabel: str = "share of true cases flagged",
) -> "matplotlib.figure.Figure":
    """What each threshold of a score catches, against what it flags for nothing.

    The farther a curve is above the diagonal, the better; the legend has the area under it
    (`stochwm.drift.auroc`). Cases of equal score are flagged together: a straight piece.

    Args:
        scores: by name, `[cases]`, such as a measure of disagreement at each of them.
        truth: `[cases]`, boolean, such as whether the model is wrong there.
        xlabel, ylabel: what the shares are.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    checks.check_dict("scores", scores)
    curves = {name: _curve(f"scores[{name!r}]", score, truth) for name, score in scores.items()}
    areas = {name: auroc(score, truth) for name, score in scores.items()}
    listed = ", ".join(f"{name} (area {area:.3f})" for name, area in areas.items())
    # Names differ in length: the legend stands beside the square, where every one has room.
    figure = style.new_figure(6.6, 3.5, label=f"ROC curves of {listed}.")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=style.MUTED, lw=0.9, zorder=1, label="knows nothing: 0.500")
    tints = style.colours(curves)
    for name in sorted(curves, key=lambda name: -areas[name]):
        label = f"{name}: {areas[name]:.3f}"
        axes.plot(*curves[name], color=tints[name], lw=1.6, label=label, gid=f"curve {name}")
    axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel=xlabel, ylabel=ylabel)
    axes.set_box_aspect(1)
    axes.grid(True)
    style.titled(figure, "Who finds the true cases?")
    handles = axes.get_legend_handles_labels()[0]
    figure.legend(handles=handles[1:] + handles[:1], loc="outside right center", title="AUROC")
    return figure


def _curve(where: str, score: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Shares of false and of true cases at or above each value of the score, from (0, 0) on."""
    score, truth = check_scored(score, truth, where)
    order = np.argsort(-score, kind="stable")
    score, truth = score[order], truth[order]
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    found, alarms = np.cumsum(truth)[ends], np.cumsum(~truth)[ends]
    return np.r_[0, alarms] / alarms[-1], np.r_[0, found] / found[-1]
