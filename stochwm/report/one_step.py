"""Many draws of one next state, source beside source."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, style

if TYPE_CHECKING:
    import matplotlib.figure

_BINS = 60
_MAX_POINTS = 3000
_FEW = 20


@style.styled
def one_step_scatter(
    draws: Mapping[str, Any], *, names: Sequence[str], dims: Sequence[int] | None = None
) -> "matplotlib.figure.Figure":
    """Draws of the next state from one state and action: how many modes, where, how heavy.

    Two dimensions: a panel a source, all on the same axes, points with marginal histograms. One
    dimension (or only one that moves): one histogram a source on one axes; a source of fewer than
    20 draws is drawn as ticks, since a histogram of them would say little.

    Args:
        draws: by source, such as "real", "true law", "mixture", "Gaussian": each `[n, dim]`.
        names: one a dimension.
        dims: the one or two dimensions to draw; otherwise the two of largest spread.

    Raises:
        ValueError, TypeError: naming the argument, for wrong shapes or NaN
        ImportError: matplotlib is missing.
    """
    clouds = checks.arrays("draws", draws, 2, "[n, dim]")
    size = next(iter(clouds.values())).shape[-1]
    checks.check_names(names, size)
    chosen = _widest(clouds) if dims is None else checks.check_dims(dims, size)
    if len(chosen) > 2:
        raise ValueError(f"dims must be one or two dimensions, but is {chosen}.")
    clouds = {label: cloud[:, chosen] for label, cloud in clouds.items()}
    shown = [names[d] for d in chosen]
    figure = _draw_histograms(clouds, shown) if len(chosen) == 1 else _draw_panels(clouds, shown)
    picked = dims is None and len(chosen) < size
    some = f": {' and '.join(shown)}, of {size} dimensions those that spread most" if picked else ""
    style.titled(figure, f"Draws of the next state{some}")
    return figure


def _widest(clouds: dict[str, np.ndarray]) -> tuple[int, ...]:
    """The two dimensions of largest spread, or one where nothing else moves."""
    spread = np.max([cloud.std(axis=0) for cloud in clouds.values()], axis=0)
    pair = checks.largest(spread, 2)
    moving = tuple(d for d in pair if spread[d] > 1e-6 * spread.max())
    return moving or pair[:1]


def _range(clouds: dict[str, np.ndarray], dim: int) -> tuple[float, float]:
    """Nearly all points of every source; a source far wider than the others does not set it."""
    ends = np.array([np.quantile(cloud[:, dim], [0.002, 0.998]) for cloud in clouds.values()])
    low, high = np.quantile(ends[:, 0], 0.5), np.quantile(ends[:, 1], 0.5)
    width = high - low
    return checks.padded(
        float(max(ends[:, 0].min(), low - 2 * width)),
        float(min(ends[:, 1].max(), high + 2 * width)),
        0.06,
    )


def _draw_panels(clouds: dict[str, np.ndarray], names: list[str]) -> "matplotlib.figure.Figure":
    label = f"Scatter of {names[0]} against {names[1]}, with marginals, for {', '.join(clouds)}."
    columns = min(len(clouds), 4)
    rows = -(-len(clouds) // columns)
    width = max(0.7 + 2.4 * columns, 4.2)
    figure = style.new_figure(width, 0.6 + 2.75 * rows, label=label)
    grid = figure.add_gridspec(
        2 * rows, 2 * columns, width_ratios=[6, 1] * columns, height_ratios=[1, 6] * rows
    )
    tints = style.colours(clouds)
    ranges = [_range(clouds, 0), _range(clouds, 1)]
    tops: list[Any] = []
    rights: list[Any] = []
    for i, (source, cloud) in enumerate(clouds.items()):
        row, column = (2 * at for at in divmod(i, columns))
        main = figure.add_subplot(grid[row + 1, column])
        _draw_points(main, cloud, tints[source])
        main.set(xlim=ranges[0], ylim=ranges[1], xlabel=names[0])
        main.set_ylabel(names[1] if column == 0 else "")
        main.tick_params(labelleft=column == 0)
        tops.append(figure.add_subplot(grid[row, column]))
        rights.append(figure.add_subplot(grid[row + 1, column + 1]))
        _draw_margin(tops[-1], cloud[:, 0], ranges[0], tints[source], upright=False)
        _draw_margin(rights[-1], cloud[:, 1], ranges[1], tints[source], upright=True)
        tops[-1].set_title(source, color=tints[source])
    _same_scale(tops, rights)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.055, wspace=0.0, hspace=0.0)
    return figure


def _draw_points(axes: Any, cloud: np.ndarray, colour: str) -> None:
    # Evenly over the draws: no randomness in a picture, and no bias where draws come in blocks.
    keep = np.linspace(0, len(cloud) - 1, min(len(cloud), _MAX_POINTS)).astype(int)
    few = len(keep) < _FEW
    alpha = 0.9 if few else float(np.clip(9 / np.sqrt(len(keep)), 0.16, 0.7))
    axes.scatter(*cloud[keep].T, s=22 if few else 7, color=colour, alpha=alpha, linewidths=0)
    axes.grid(True)
    ticker = style.require_matplotlib().ticker
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))


def _draw_margin(
    axes: Any, values: np.ndarray, limits: tuple[float, float], colour: str, *, upright: bool
) -> None:
    """A histogram along the edge of a panel; ticks where it would hold too few draws."""
    if len(values) < _FEW:
        draw, across = (
            (axes.hlines, axes.get_yaxis_transform())
            if upright
            else (axes.vlines, axes.get_xaxis_transform())
        )
        draw(values, 0, 0.3, colors=colour, lw=1.2, transform=across)
    else:
        edges = np.linspace(*limits, _BINS + 1)
        share = np.histogram(values, edges)[0] / len(values)
        orientation = "horizontal" if upright else "vertical"
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.75, orientation=orientation)
    axes.set(ylim=limits) if upright else axes.set(xlim=limits)
    axes.axis("off")


def _same_scale(tops: list[Any], rights: list[Any]) -> None:
    """Marginal histograms of all sources up to one height."""
    heights = [axes.dataLim.y1 for axes in tops if axes.patches]
    widths = [axes.dataLim.x1 for axes in rights if axes.patches]
    for top, right in zip(tops, rights, strict=True):
        top.set_ylim(0, 1.05 * max(heights, default=1.0))
        right.set_xlim(0, 1.05 * max(widths, default=1.0))


def _draw_histograms(clouds: dict[str, np.ndarray], names: list[str]) -> "matplotlib.figure.Figure":
    label = f"Histograms of {names[0]} for {', '.join(clouds)}."
    figure = style.new_figure(6.6, 3.0, label=label)
    axes = figure.subplots()
    tints = style.colours(clouds)
    limits = _range(clouds, 0)
    edges = np.linspace(*limits, _BINS + 1)
    for source, cloud in clouds.items():
        if len(cloud) < _FEW:
            _draw_ticks(axes, cloud[:, 0], tints[source], source)
            continue
        share = np.histogram(cloud[:, 0], edges)[0] / len(cloud)
        axes.stairs(share, edges, fill=True, color=tints[source], alpha=0.13)
        axes.stairs(share, edges, color=tints[source], lw=1.6, label=source)
    axes.set(xlim=limits, ylim=(0, None), xlabel=names[0], ylabel="share of the draws")
    axes.yaxis.grid(True)
    style.legend_below(figure, axes.get_legend_handles_labels()[0], columns=5)
    return figure


def _draw_ticks(axes: Any, values: np.ndarray, colour: str, source: str) -> None:
    across = axes.get_xaxis_transform()
    axes.vlines(values, 0, 0.09, colors=colour, lw=1.8, transform=across, label=source, zorder=4)
