"""Imagined against real futures, over the horizon."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, clouds, style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_BINS = 64
_LEVELS = (0.05, 0.5, 0.95)
_MAX_LINES = 24
_DOTS = (0, (1.2, 1.6))


@style.styled
def fan_chart(
    imagined: Mapping[str, Any],
    real: Any,
    *,
    names: Sequence[str],
    dims: Sequence[int] | None = None,
    max_dims: int = 6,
) -> "matplotlib.figure.Figure":
    """How imagined futures spread, with real futures on top.

    One row a state dimension, one column a model. At each step the shading is a histogram of the
    particles: the darker, the larger the share of them that is there, on one scale for the row, so
    that branches stay branches. Lines are the 5, 50 and 95 % quantiles of the particles.

    Args:
        imagined: particles by model name, each `[particles, horizon + 1, dim]`; particles may
            differ in number. NaN where a particle has ended.
        real: `[futures, horizon + 1, dim]`, NaN after the end of an episode, which may be the
            start; 24 are drawn at most.
        names: one a dimension.
        dims: which dimensions to draw; otherwise those whose particles vary most.
        max_dims: how many are picked at most when `dims` is not given.

    Raises:
        ValueError, TypeError: naming the argument, for wrong shapes, infinite values or unknown
            dimensions
        ImportError: matplotlib is missing.
    """
    particles, real = clouds.check_futures(imagined, real, names)
    size, known = real.shape[-1], not np.isnan(real[:, 1:]).all()
    if max_dims < 1:
        raise ValueError(f"max_dims must be at least 1, but is {max_dims}.")
    picked = dims is None and size > max_dims
    rows = (
        clouds.most_varied(particles, max_dims) if dims is None else checks.check_dims(dims, size)
    )
    height = 1.0 + (2.5 if len(rows) == 1 else 1.65) * len(rows)
    figure = style.new_figure(
        _width(len(particles)), height, label=_label(particles, names, rows, known)
    )
    panels = figure.subplots(len(rows), len(particles), sharex=True, sharey="row", squeeze=False)
    tints = style.colours(particles)
    for row, dim in zip(panels, rows, strict=True):
        draw_row(row, {k: v[..., dim] for k, v in particles.items()}, real[..., dim], tints)
        style.name_row(row[0], names[dim])
    for axes, label in zip(panels[0], particles, strict=True):
        axes.set_title(label, color=tints[label])
    for axes in panels[-1]:
        axes.set_xlabel("horizon (steps)")
        style.whole_numbers(axes)
    subset = f": the {len(rows)} of {size} state dimensions that vary most" if picked else ""
    style.titled(figure, f"Imagined{' and real' * known} futures{subset}")
    style.legend_below(figure, _handles(tints, len(real))[: None if known else -1])
    figure.align_ylabels(panels[:, 0])
    return figure


def draw_row(
    row: np.ndarray, particles: dict[str, np.ndarray], real: np.ndarray, tints: dict[str, str]
) -> None:
    """Fans of one dimension side by side, `[particles, horizon + 1]` each, on one scale."""
    low, high = clouds.limits(particles, real)
    edges = np.linspace(low, high, _BINS + 1)
    shares = {label: clouds.shares_by_step(cloud, edges) for label, cloud in particles.items()}
    # Branches of a few percent must be seen beside a first step where all particles agree.
    top = max(np.quantile(share.max(axis=1), 0.6) for share in shares.values())
    for axes, (label, cloud) in zip(row, particles.items(), strict=True):
        _shade(axes, edges, shares[label], max(top, 1e-6), tints[label])
        _draw_quantiles(axes, cloud, tints[label])
        _draw_real(axes, real)
        _note_outside(axes, cloud, low, high)
        axes.set(xlim=(-0.5, real.shape[1] - 0.5), ylim=(low, high))


def _shade(
    axes: "matplotlib.axes.Axes", edges: np.ndarray, share: np.ndarray, top: float, colour: str
) -> None:
    norm = style.require_matplotlib().colors.PowerNorm(0.55, vmin=0.0, vmax=top)
    # A light blur over neighbouring bins takes the speckle of a finite sample off, not the gaps.
    wide = np.pad(share, ((0, 0), (1, 1)))
    blurred = 0.25 * wide[:, :-2] + 0.5 * wide[:, 1:-1] + 0.25 * wide[:, 2:]
    axes.pcolormesh(
        np.arange(len(share) + 1) - 0.5,
        edges,
        np.ma.masked_equal(blurred.T, 0.0),
        cmap=style.shades(colour),
        norm=norm,
        rasterized=True,
    )


def _draw_quantiles(axes: "matplotlib.axes.Axes", cloud: np.ndarray, colour: str) -> None:
    stroke = style.require_matplotlib().patheffects.withStroke
    alive = ~np.isnan(cloud).all(axis=0)
    steps = np.flatnonzero(alive)
    for level in _LEVELS:
        line = np.nanquantile(cloud[:, alive], level, axis=0)
        dashes, casing = ("-", 2.6) if level == 0.5 else (_DOTS, 1.9)
        # A white casing, or the line drowns in shading of its own colour.
        axes.plot(
            steps,
            line,
            color=colour,
            lw=1.2,
            ls=dashes,
            gid=f"quantile {level}",
            zorder=3,
            path_effects=[stroke(linewidth=casing, foreground="white", alpha=0.75)],
        )


def _draw_real(axes: "matplotlib.axes.Axes", real: np.ndarray) -> None:
    shown = real[:_MAX_LINES]
    width, alpha = (1.5, 0.95) if len(shown) <= 3 else (0.65, 0.7)
    for future in shown:
        axes.plot(future, color=style.ROLES["data"], lw=width, alpha=alpha, gid="real", zorder=4)
        last = np.flatnonzero(~np.isnan(future))[-1:]
        if len(last) and last[0] < len(future) - 1:
            axes.plot(last, future[last], "o", color=style.ROLES["data"], ms=3, zorder=5, gid="end")


def _note_outside(axes: "matplotlib.axes.Axes", cloud: np.ndarray, low: float, high: float) -> None:
    values = cloud[~np.isnan(cloud)]
    share = np.mean((values < low) | (values > high))
    if share > 0.02:
        text = f"{100 * share:.0f} % outside the range"
        axes.text(
            0.98, 0.96, text, ha="right", va="top", transform=axes.transAxes, fontsize=7.5, zorder=6
        )


def _handles(tints: dict[str, str], futures: int) -> list:
    matplotlib = style.require_matplotlib()
    line, patch = matplotlib.lines.Line2D, matplotlib.patches.Patch
    colour = next(iter(tints.values())) if len(tints) == 1 else style.MUTED
    drawn = min(futures, _MAX_LINES)
    some = f" ({drawn} of {futures})" if drawn < futures else ""
    return [
        patch(color=colour, alpha=0.55, label="imagined (darker = more futures)"),
        line([], [], color=colour, lw=1.2, label="median"),
        line([], [], color=colour, lw=1.2, ls=_DOTS, label="5 % and 95 %"),
        line(
            [],
            [],
            color=style.ROLES["data"],
            lw=1.3,
            label=f"real future{'s'[: futures > 1]}{some}",
        ),
    ]


def _width(columns: int) -> float:
    return {1: 6.2, 2: 8.6, 3: 10.0}.get(columns, 2.0 + 2.3 * columns)


def _label(
    particles: dict[str, np.ndarray], names: Sequence[str], rows: tuple[int, ...], known: bool
) -> str:
    steps = next(iter(particles.values())).shape[1] - 1
    shown = ", ".join(names[d] for d in rows)
    models = ", ".join(particles)
    beside = ", with real futures" * known
    return f"Fan charts over {steps} steps of {shown}, imagined by {models}{beside}."
