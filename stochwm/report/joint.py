"""Two dimensions together: regions of highest density, and what happened."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, clouds, style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_MAX_POINTS = 400
_MAX_REAL = 60
_COLUMNS = 4


@style.styled
def joint_regions(
    predictions: Mapping[str, Any],
    real: Any,
    *,
    names: Sequence[str],
    dims: Sequence[int] | None = None,
    levels: Sequence[float] = (0.5, 0.9),
    key: Any = None,
) -> "matplotlib.figure.Figure":
    """Regions of highest density of two dimensions, a panel a prediction, and what happened.

    See `stochwm.calibration.region_map`: exact for distributions with a density, a kernel estimate
    for particles. Dots are particles or draws.

    Args:
        predictions: by name: particles `[particles, dim]`, or a distribution over `dim` dimensions.
        real: one or more realised values, `[futures, dim]`; 60 are drawn at most.
        names: one a dimension.
        dims: which two dimensions; otherwise the two in which the particles, or where there are
            none the realised values, spread most.
        levels: masses of the regions.
        key: for draws of distributions.

    Raises:
        ValueError, TypeError: naming the argument
        NotImplementedError: a distribution without a density of these dimensions; draw its samples.
        ImportError: matplotlib is missing.
    """
    from ..calibration import region_map

    checks.check_dict("predictions", predictions)
    real = checks.array("real", real, 2, "[futures, dim]")
    size = real.shape[1]
    checks.check_names(names, size)
    particles = _clouds(predictions, size)
    chosen = _widest(particles, real) if dims is None else checks.check_dims(dims, size)
    if len(chosen) != 2:
        raise ValueError(f"dims must be two different dimensions, but is {chosen}.")
    levels = tuple(sorted(levels))
    maps = {
        name: region_map(particles.get(name, law), levels, dims=chosen, key=key)
        for name, law in predictions.items()
    }
    figure = _draw_panels(maps, real[:, list(chosen)], [names[d] for d in chosen], levels)
    picked = f": the two of {size} dimensions that spread most" if dims is None and size > 2 else ""
    style.titled(figure, f"Predicted regions and what happened{picked}")
    return figure


def _clouds(predictions: Mapping[str, Any], size: int) -> dict[str, np.ndarray]:
    found = {
        name: checks.array(f"predictions[{name!r}]", value, 2, "[particles, dim]")
        for name, value in predictions.items()
        if not hasattr(value, "sample")
    }
    for name, cloud in found.items():
        if cloud.shape[1] != size:
            raise ValueError(
                f"predictions[{name!r}] must have the {size} dimensions of real, but has "
                f"{cloud.shape[1]}."
            )
    return found


def _widest(particles: dict[str, np.ndarray], real: np.ndarray) -> tuple[int, ...]:
    spread = [cloud.std(axis=0) for cloud in particles.values()] or [real.std(axis=0)]
    return checks.largest(np.max(spread, axis=0), 2)


def _draw_panels(
    maps: Mapping[str, Any], real: np.ndarray, names: list[str], levels: tuple[float, ...]
) -> "matplotlib.figure.Figure":
    columns = min(len(maps), _COLUMNS)
    rows = -(-len(maps) // columns)
    masses = ", ".join(f"{100 * level:g} %" for level in levels)
    label = f"Highest-density regions ({masses}) of {names[0]} and {names[1]}: {', '.join(maps)}."
    figure = style.new_figure(max(0.7 + 3.0 * columns, 4.4), 1.0 + 2.6 * rows, label=label)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    tints = style.colours(maps)
    for axes, (name, found) in zip(grid.ravel(), maps.items(), strict=False):
        _draw_regions(axes, found, tints[name])
        keep = np.linspace(0, len(real) - 1, min(len(real), _MAX_REAL)).astype(int)
        axes.scatter(
            *real[keep].T,
            s=26,
            color=style.ROLES["data"],
            edgecolors="white",
            linewidths=0.7,
            zorder=5,
            gid="real",
        )
        axes.set_title(name, color=tints[name])
        axes.set_xlabel(names[0])
    for axes in grid.ravel()[len(maps) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(names[1])
    # Every real value, and what fits of the particles: one wild model does not rule them all.
    ranges = [
        clouds.limits({name: found.draws[:, dim] for name, found in maps.items()}, real[:, dim])
        for dim in (0, 1)
    ]
    grid[0, 0].set(xlim=ranges[0], ylim=ranges[1])
    style.legend_below(figure, _handles(tints, levels, len(real)), columns=5)
    return figure


def _draw_regions(axes: "matplotlib.axes.Axes", found: Any, colour: str) -> None:
    keep = np.linspace(0, len(found.draws) - 1, min(len(found.draws), _MAX_POINTS)).astype(int)
    axes.scatter(*found.draws[keep].T, s=4, color=colour, alpha=0.35, linewidths=0, zorder=2)
    heights = np.sort(found.heights)
    if found.density.max() > heights[0]:
        grid = (found.first, found.second, found.density)
        tops = [*np.unique(heights), np.inf]
        alphas = np.linspace(0.14, 0.34, len(tops) - 1)
        for low, high, alpha in zip(tops[:-1], tops[1:], alphas, strict=True):
            axes.contourf(*grid, levels=[low, high], colors=[colour], alpha=float(alpha), zorder=1)
        widths = np.linspace(1.0, 1.8, len(tops) - 1)
        axes.contour(*grid, levels=tops[:-1], colors=[colour], linewidths=widths, zorder=3)
    axes.grid(True)


def _handles(tints: dict[str, str], levels: tuple[float, ...], futures: int) -> list:
    matplotlib = style.require_matplotlib()
    line = matplotlib.lines.Line2D
    colour = next(iter(tints.values())) if len(tints) == 1 else style.MUTED
    dot = {"ls": "", "marker": "o"}
    # The smallest region has the heaviest line.
    widths = np.linspace(1.8, 1.0, len(levels))
    handles = [
        line([], [], color=colour, lw=width, label=f"{100 * level:g} % region")
        for level, width in zip(levels, widths, strict=True)
    ]
    handles.append(line([], [], color=colour, ms=2.5, label="particles", **dot))
    some = f" ({_MAX_REAL} of {futures})" if futures > _MAX_REAL else ""
    handles.append(
        line([], [], color=style.ROLES["data"], ms=5, label=f"what happened{some}", **dot)
    )
    return handles
