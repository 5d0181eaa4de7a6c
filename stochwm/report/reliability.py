"""Reliability diagrams: what was promised against what happened."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    from ..calibration import Reliability

_COLUMNS = 4


@style.styled
def reliability_diagram(
    panels: "Mapping[str, Mapping[str, Reliability]]",
    *,
    bands: Mapping[str, tuple[Any, Any]] | None = None,
    xlabel: str = "nominal mass",
    ylabel: str = "share of what happened",
) -> "matplotlib.figure.Figure":
    """Reliability curves against the diagonal: above it regions are too wide, below too narrow.

    Vertical bars are the confidence intervals of the curves. The grey band along the diagonal is
    where a curve would lie if the predictions were right.

    Args:
        panels: by panel, such as "10 steps ahead", and by name, such as "before": what
            `stochwm.calibration.reliability` returns. Its intervals may be NaN.
        bands: by panel, `(low, high)` of `stochwm.calibration.consistency_band` at the levels of
            the curves; it respects episodes. NaN draws nothing.
        xlabel, ylabel: what the levels and the shares are.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    checks.check_dict("panels", panels)
    for title, curves in panels.items():
        _check_curves(f"panels[{title!r}]", curves, (bands or {}).get(title))
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    tints = style.colours(names)
    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    label = f"Reliability diagrams of {', '.join(names)}: {', '.join(panels)}."
    width = max(0.6 + 2.45 * columns, 4.4)
    figure = style.new_figure(width, 1.3 + 2.3 * rows, label=label)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for i, (axes, (title, curves)) in enumerate(zip(grid.ravel(), panels.items(), strict=False)):
        _draw_panel(axes, curves, (bands or {}).get(title), tints)
        axes.set_title(title)
        if i + columns >= len(panels):  # nothing below
            axes.set_xlabel(xlabel)
            axes.tick_params(labelbottom=True)
    for axes in grid.ravel()[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    style.titled(figure, "Reliability")
    drawn = any(np.isfinite(low).all() for low, _ in (bands or {}).values())
    style.legend_below(figure, _handles(tints, drawn), columns=5)
    return figure


def _check_curves(where: str, curves: Any, band: Any) -> None:
    checks.check_dict(where, curves)
    for name, curve in curves.items():
        columns = {
            key: checks.array(f"{where}[{name!r}].{key}", getattr(curve, key), 1, "[levels]")
            for key in ("level", "observed")
        }
        size = len(columns["level"])
        for key, column in {"observed": columns["observed"], "band": band}.items():
            if column is not None and np.shape(column)[-1] != size:
                raise ValueError(
                    f"{where}[{name!r}] must have one {key} for each of its {size} levels, but has "
                    f"{np.shape(column)[-1]}."
                )


def _draw_panel(
    axes: "matplotlib.axes.Axes", curves: Mapping[str, Any], band: Any, tints: dict[str, str]
) -> None:
    axes.plot([0, 1], [0, 1], color=style.MUTED, lw=0.9, zorder=1)
    for i, (name, curve) in enumerate(curves.items()):
        level = np.asarray(curve.level)
        if i == 0 and band is not None:
            at = np.r_[0.0, level, 1.0]  # levels 0 and 1 hold nothing and all, whatever is true
            low, high = (np.r_[0.0, np.asarray(end), 1.0] for end in band)
            if np.isfinite(low).all():
                axes.fill_between(at, low, high, color=style.MUTED, alpha=0.22, lw=0, gid="band")
        if np.isfinite(curve.low).all():
            axes.vlines(level, curve.low, curve.high, colors=tints[name], lw=1.0, alpha=0.5)
        axes.plot(
            level,
            curve.observed,
            color=tints[name],
            lw=1.5,
            marker="o",
            ms=2.8,
            gid=f"curve {name}",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_box_aspect(1)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.grid(True)


def _handles(tints: dict[str, str], with_band: bool) -> list:
    matplotlib = style.require_matplotlib()
    line, patch = matplotlib.lines.Line2D, matplotlib.patches.Patch
    handles: list = [
        line([], [], color=tint, lw=1.5, marker="o", ms=3, label=name)
        for name, tint in tints.items()
    ]
    handles.append(line([], [], color=style.MUTED, lw=0.9, label="calibrated"))
    if with_band:
        handles.append(patch(color=style.MUTED, alpha=0.22, label="95 % if calibrated"))
    return handles
