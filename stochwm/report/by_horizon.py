"""Coverage over the horizon."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import checks, style
from .series import horizon_axis

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    from ..calibration import Reliability

_LEVELS = (0.5, 0.9)


@style.styled
def coverage_by_horizon(
    curves: "Mapping[str, Mapping[int, Reliability]]",
    *,
    levels: Sequence[float] = _LEVELS,
    ylabel: str = "share of what happened inside",
) -> "matplotlib.figure.Figure":
    """How much of what happened lies in regions of given masses, over the horizon.

    A panel a model. Dashes are the nominal levels, where a calibrated model is; shading is the
    confidence interval of `stochwm.calibration.reliability`, by episode bootstrap.

    Args:
        curves: by model name and horizon (at least 1): the coverage, such as
            `HorizonDiagnosis.coverage`. Its intervals may be NaN.
        levels: which masses to draw; each must be among the levels of every curve.
        ylabel: what the shares are.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    checks.check_dict("curves", curves)
    tables = {name: _table(f"curves[{name!r}]", rows, levels) for name, rows in curves.items()}
    label = (
        f"Coverage of {', '.join(f'{100 * x:g} %' for x in levels)} regions of {', '.join(curves)}."
    )
    width = 6.6 if len(tables) == 1 else 1.2 + 3.6 * len(tables)
    figure = style.new_figure(width, 3.3, label=label)
    panels = figure.subplots(1, len(tables), sharex=True, sharey=True, squeeze=False)[0]
    tints = style.colours(tables)
    for axes, (name, (horizons, table)) in zip(panels, tables.items(), strict=True):
        _draw_levels(axes, horizons, table, levels, tints[name])
        if len(tables) > 1:
            axes.set_title(name, color=tints[name])
        axes.set_xlabel("horizon (steps)")
    panels[0].set_ylabel(ylabel)
    every = np.unique(np.concatenate([horizons for horizons, _ in tables.values()]))
    horizon_axis(panels[0], every)
    lowest = min(float(np.nanmin(table)) for _, table in tables.values())
    panels[0].set_ylim(min(max(0.0, lowest - 0.05), min(levels) - 0.1), 1.0)
    style.titled(figure, "Coverage by horizon")
    return figure


def _table(
    where: str, rows: "Mapping[int, Reliability]", levels: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Horizons, and observed, low and high of each level, `[3, horizons, levels]`."""
    checks.check_dict(where, rows)
    horizons = checks.array(where, list(rows), 1, "[horizons]")
    if horizons[0] < 1 or (np.diff(horizons) <= 0).any():
        raise ValueError(f"{where} must have horizons that increase from at least 1: {horizons}.")
    found = []
    for curve in rows.values():
        apart = np.abs(np.asarray(levels)[:, None] - np.asarray(curve.level)[None])
        if apart.size == 0 or (apart.min(axis=1) > 1e-9).any():
            raise ValueError(
                f"levels must be among those of the curves, {np.asarray(curve.level).tolist()}, at "
                f"least one, but are {tuple(levels)}."
            )
        found.append([np.asarray(field)[apart.argmin(axis=1)] for field in curve[1:]])
    return horizons, np.swapaxes(np.asarray(found, float), 0, 1)


def _draw_levels(
    axes: "matplotlib.axes.Axes",
    horizons: np.ndarray,
    table: np.ndarray,
    levels: Sequence[float],
    colour: str,
) -> None:
    for i, level in enumerate(levels):
        observed, low, high = table[:, :, i]
        axes.axhline(level, color=style.INK, lw=0.8, ls=(0, (4, 3)), zorder=1, gid="nominal")
        axes.fill_between(horizons, low, high, color=colour, alpha=0.16, lw=0)
        axes.plot(horizons, observed, color=colour, lw=1.8, marker="o", ms=3.5, gid="coverage")
        # Written on the nominal line, which is what the observed one is to be compared with.
        axes.annotate(
            f"{100 * level:g} %",
            (1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.0,
        )
    axes.grid(True, axis="x")
