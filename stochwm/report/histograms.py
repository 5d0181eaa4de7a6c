"""Histograms that are flat if predictions are right: of PIT values, and of ranks of vectors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    from ..calibration import PitHistogram

_TOP = 4.0  # times the flat height: higher bars are cut off and their height is written down


@style.styled
def pit_histograms(
    histograms: "Mapping[str, PitHistogram]",
    *,
    names: Sequence[str],
    dims: Sequence[int] | None = None,
    max_dims: int = 4,
) -> "matplotlib.figure.Figure":
    """Histograms of PIT values, a row a state dimension and a column an entry of `histograms`.

    Flat is right. A U says that predictions are too narrow, a hill that they are too wide, a slope
    that they lie too low or too high. The band is where bars lie if predictions are right, each by
    itself; that of `stochwm.calibration.pit_histogram` respects episodes.

    Args:
        histograms: by column, such as "10 steps ahead": what `pit_histogram` returns for values
            `[steps, dim]`. Its band may be NaN.
        names: one a dimension.
        dims: which dimensions to draw; otherwise those that are least flat.
        max_dims: how many are picked at most when `dims` is not given.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    shares = _shares("histograms", histograms, 2)
    size = next(iter(shares.values())).shape[1]
    checks.check_names(names, size)
    uneven = np.sum([np.var(share, axis=0) for share in shares.values()], axis=0)
    shown = checks.largest(uneven, max_dims) if dims is None else checks.check_dims(dims, size)
    rows = {
        names[d]: {column: _of_dimension(h, d) for column, h in histograms.items()} for d in shown
    }
    picked = f": {len(shown)} of {size} dimensions, the least flat" if len(shown) < size else ""
    figure = _draw_grid(rows, "PIT value")
    style.titled(figure, f"Where what happened lies in the prediction{picked}")
    return figure


@style.styled
def rank_histograms(
    histograms: "Mapping[str, Mapping[str, PitHistogram]]",
) -> "matplotlib.figure.Figure":
    """Histograms of the ranks of what happened in clouds of particles, a row a pre-rank.

    Flat is right. Each pre-rank sees other mistakes of the joint distribution: see `average_rank`,
    `band_depth`, `kernel_density` and `joint_cdf` of `stochwm.calibration`. Bands as for
    `pit_histograms`.

    Args:
        histograms: by pre-rank and column: what `stochwm.calibration.pit_histogram` returns for
            ranks `[steps]`.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    checks.check_dict("histograms", histograms)
    for name, row in histograms.items():
        _shares(f"histograms[{name!r}]", row, 1)
    columns = {tuple(row) for row in histograms.values()}
    if len(columns) > 1:
        raise ValueError(f"histograms must have the same columns in each row, but have {columns}.")
    figure = _draw_grid(histograms, "rank")
    style.titled(figure, "Ranks of what happened among the particles")
    return figure


def _shares(where: str, histograms: Any, ndim: int) -> dict[str, np.ndarray]:
    checks.check_dict(where, histograms)
    axes = "[bins, dim]" if ndim == 2 else "[bins]"
    shares = {
        name: checks.array(f"{where}[{name!r}].share", h.share, ndim, axes)
        for name, h in histograms.items()
    }
    if ndim == 2 and len({share.shape[1] for share in shares.values()}) > 1:
        raise ValueError(f"{where} must have the same dimensions in each column.")
    return shares


def _of_dimension(histogram: "PitHistogram", dim: int) -> "PitHistogram":
    share, low, high = (field[:, dim] for field in histogram[1:])
    return histogram._replace(share=share, low=low, high=high)


def _draw_grid(
    rows: "Mapping[str, Mapping[str, PitHistogram]]", xlabel: str
) -> "matplotlib.figure.Figure":
    columns = list(next(iter(rows.values())))
    label = f"Histograms of {xlabel}s of {', '.join(rows)}: {', '.join(columns)}."
    width = max(1.0 + 2.2 * len(columns), 4.4)
    figure = style.new_figure(width, 1.0 + 1.25 * len(rows), label=label)
    grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    highest = 1.5
    for line, (name, row) in zip(grid, rows.items(), strict=True):
        for axes, (column, histogram) in zip(line, row.items(), strict=True):
            highest = max(highest, _draw_bars(axes, histogram, column))
        style.name_row(line[0], name, letters=13)
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(column)
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    grid[0, 0].set(xlim=(0, 1), ylim=(0, min(1.1 * highest, _TOP)))
    grid[0, 0].set_xticks([0, 0.5, 1])
    figure.align_ylabels(grid[:, 0])
    style.legend_below(figure, _handles(rows))
    return figure


def _draw_bars(axes: "matplotlib.axes.Axes", histogram: "PitHistogram", name: str) -> float:
    """Draw densities, 1 where flat; returns the highest."""
    edges = np.asarray(histogram.edges)
    bins = len(edges) - 1
    share, low, high = (np.asarray(field) * bins for field in histogram[1:])
    colour = _colour(name)
    axes.stairs(share, edges, fill=True, color=colour, alpha=0.45, gid="bars")
    axes.stairs(share, edges, color=colour, lw=1.1)
    if np.isfinite(low).all():
        ends = {"baseline": np.maximum(low, 0), "fill": True, "lw": 0}
        axes.stairs(high, edges, color=style.INK, alpha=0.16, gid="band", zorder=2, **ends)
    axes.axhline(1.0, color=style.INK, lw=0.8, zorder=3)
    for middle, height in zip((edges[1:] + edges[:-1]) / 2, share, strict=True):
        if height > _TOP:
            axes.text(middle, 0.97 * _TOP, f"{height:.1f}", ha="center", va="top", fontsize=6.5)
    return float(share.max())


def _colour(name: str) -> str:
    """The colour of the role that the name of a column tells, that of the model where none."""
    return style.role_colour(name) or style.ROLES["model"]


def _handles(rows: Mapping[str, Any]) -> list:
    matplotlib = style.require_matplotlib()
    patch, line = matplotlib.patches.Patch, matplotlib.lines.Line2D
    handles: list = [line([], [], color=style.INK, lw=0.8, label="flat: calibrated")]
    bands = [np.isfinite(h.low).all() for row in rows.values() for h in row.values()]
    if any(bands):
        handles.append(patch(color=style.INK, alpha=0.16, label="95 % of bars if calibrated"))
    return handles
