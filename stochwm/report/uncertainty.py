"""Known unknowns along imagined futures: chance, and disagreement of the members."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_KINDS = ("epistemic", "aleatoric")
_BANDS = ((0.05, 0.95, 0.14), (0.25, 0.75, 0.2))
_TOP = 0.95  # the quantile over futures that the vertical axis reaches at every step


@style.styled
def uncertainty_ribbons(
    epistemic: Any,
    aleatoric: Any,
    *,
    names: Sequence[str],
    dims: Sequence[int] | None = None,
    max_dims: int = 4,
    trusted: Any = None,
    ylabel: str = "standard deviation of one step",
) -> "matplotlib.figure.Figure":
    """How uncertain each next prediction is along imagined futures, and of which kind.

    A panel a dimension. Lines are medians over futures; the bands hold half of the futures, and 90
    % of them. The square of a standard deviation is a diagonal entry of
    `stochwm.drift.split_variance`.

    Args:
        epistemic: standard deviation of the members' means, `[futures, horizon, dim]`. Take futures
            that no guard cuts. NaN where a future has ended.
        aleatoric: root mean variance of the members, of the same shape.
        names: one a dimension.
        dims: which dimensions to draw; otherwise those that are most uncertain.
        max_dims: how many are picked at most when `dims` is not given.
        trusted: how many steps a guard trusts of each future, `[futures]`: their median is marked.
        ylabel: what the numbers are, with their unit.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    kinds = dict(zip(_KINDS, (epistemic, aleatoric), strict=True))
    kinds = {name: _deviations(name, value) for name, value in kinds.items()}
    shape = kinds["epistemic"].shape
    if kinds["aleatoric"].shape != shape:
        raise ValueError(
            "epistemic and aleatoric must have the same shape, but have "
            f"{shape} and {kinds['aleatoric'].shape}."
        )
    checks.check_names(names, shape[2])
    median = None if trusted is None else _median("trusted", trusted, shape[0])
    spread = np.nanmean([np.nanmean(kind, axis=(0, 1)) for kind in kinds.values()], axis=0)
    shown = checks.largest(spread, max_dims) if dims is None else checks.check_dims(dims, shape[2])
    label = f"Epistemic and aleatoric standard deviations of {', '.join(names[d] for d in shown)}."
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    figure = style.new_figure({1: 6.2, 2: 8.2}[columns], 1.3 + 2.0 * rows, label=label)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    tints = style.colours(_KINDS)
    for axes, dim in zip(grid.ravel(), shown, strict=False):
        _draw_panel(axes, {k: v[..., dim] for k, v in kinds.items()}, tints, median)
        axes.set_title(names[dim])
    for axes in grid.ravel()[len(shown) :]:
        axes.remove()
    for axes in grid.ravel()[max(len(shown) - columns, 0) : len(shown)]:  # nothing below
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    figure.supylabel(ylabel, fontsize=8.5)
    picked = dims is None and len(shown) < shape[2]
    subset = f": the {len(shown)} of {shape[2]} most uncertain" if picked else ""
    style.titled(figure, f"What the model does not know{subset}")
    style.legend_below(figure, _handles(tints, median), columns=2)
    return figure


def _deviations(name: str, value: Any) -> np.ndarray:
    array = checks.array(name, value, 3, "[futures, horizon, dim]", nan=True)
    if (array < 0).any():
        raise ValueError(f"{name} must be standard deviations, but its least is {np.nanmin(array)}")
    return array


def _median(name: str, value: Any, futures: int) -> float:
    steps = checks.array(name, value, 1, "[futures]")
    if len(steps) != futures:
        raise ValueError(f"{name} must have one number for each of {futures}, but has {len(steps)}")
    return float(np.median(steps))


def _draw_panel(
    axes: "matplotlib.axes.Axes",
    kinds: dict[str, np.ndarray],
    tints: dict[str, str],
    median: float | None,
) -> None:
    alive = np.all([~np.isnan(kind).all(axis=0) for kind in kinds.values()], axis=0)
    steps, top = np.flatnonzero(alive) + 1, 0.0
    for name, kind in kinds.items():
        quantile = lambda q, kind=kind: np.nanquantile(kind[:, alive], q, axis=0)  # noqa: E731
        for low, high, alpha in _BANDS:
            ends = (quantile(low), quantile(high))
            axes.fill_between(steps, *ends, color=tints[name], alpha=alpha, lw=0)
        axes.plot(steps, quantile(0.5), color=tints[name], lw=1.8, gid=f"median {name}")
        top = max(top, float(quantile(_TOP).max()))
    axes.set_ylim(0, 1.05 * top if top > 0 else 1.0)
    if median is not None:
        axes.axvline(median + 0.5, color=style.INK, lw=0.9, ls=(0, (4, 3)), gid="trusted")
    axes.set_xlim(1, max(steps[-1], 2) + (0.5 if median is not None else 0))
    axes.grid(True)
    style.whole_numbers(axes)


def _handles(tints: dict[str, str], median: float | None) -> list:
    matplotlib = style.require_matplotlib()
    line, patch = matplotlib.lines.Line2D, matplotlib.patches.Patch
    meaning = {"epistemic": "members disagree", "aleatoric": "chance"}
    handles: list = [
        line([], [], color=tint, lw=1.8, label=f"{name}: {meaning[name]}")
        for name, tint in tints.items()
    ]
    handles.append(patch(color=style.MUTED, alpha=0.3, label="50 % and 90 % of futures"))
    if median is not None:
        text = f"half of the futures trusted to step {median:g}"
        handles.append(line([], [], color=style.INK, lw=0.9, ls=(0, (4, 3)), label=text))
    return handles
