"""Lines over training and over the horizon."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, style

if TYPE_CHECKING:
    import matplotlib.figure

# Rows of the first steps of training do not set the range: losses of untrained models are huge.
_WARM_UP = 0.05


@style.styled
def learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    ylabel: str = "negative log-likelihood (nats)",
) -> "matplotlib.figure.Figure":
    """Loss over training: thin for training, bold for validation.

    Args:
        histories: rows by model name; a row has `step` and may have `loss` and `validation_loss`
            (missing, None or NaN where not measured).
        ylabel: what the loss is, with its unit.

    Raises:
        ValueError: naming the argument, when there are no rows, no finite loss or no step
        ImportError: matplotlib is missing.
    """
    checks.check_dict("histories", histories)
    label = f"Learning curves of {', '.join(histories)}: {ylabel} over update steps."
    curves = {name: _curves(name, rows) for name, rows in histories.items()}
    figure = style.new_figure(7.2, 3.4, label=label)
    axes = figure.subplots()
    tints = style.colours(curves)
    for name, (train, held_out) in curves.items():
        bold = held_out if len(held_out[0]) else train
        marker = "o" if len(bold[0]) == 1 else None
        axes.plot(*train, color=tints[name], lw=0.7, alpha=0.55, gid=f"train {name}")
        if len(held_out[0]):
            axes.plot(*held_out, color=tints[name], lw=2.2, marker=marker, gid=f"held-out {name}")
    axes.set_ylim(*readable(curves))
    axes.set(xlabel="update steps", ylabel=ylabel)
    axes.grid(True)
    style.whole_numbers(axes)
    axes.margins(x=0.01)
    style.titled(figure, "Learning curves")
    style.legend_below(figure, _curve_handles(curves, tints), columns=5)
    return figure


def _curves(name: str, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation as `[2, points]` (steps, finite losses)."""
    where = f"histories[{name!r}]"
    if isinstance(rows, str | Mapping) or not len(rows):
        raise ValueError(f"{where} must be a list of at least one row, but is {rows!r}.")
    if any("step" not in row for row in rows):
        raise ValueError(f"{where} must have a step in every row, but one has none.")
    train, held_out = (column(rows, key) for key in ("loss", "validation_loss"))
    if not len(train[0]) and not len(held_out[0]):
        raise ValueError(f"{where} must have a finite loss or validation_loss, but has none.")
    return train, held_out


def column(rows: Sequence[Mapping[str, Any]], key: str, step: str = "step") -> np.ndarray:
    """What is known and finite of one entry, `[2, points]`: the steps, and the values."""
    pairs = [(row[step], row[key]) for row in rows if row.get(key) is not None]
    points = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return points[np.isfinite(points).all(axis=1)].T


def readable(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """From the lowest loss up to what the models have after the warm-up."""
    lows, highs = [], []
    for pair in curves.values():
        for steps, losses in (points for points in pair if len(points[0])):
            start = steps.min() + _WARM_UP * (steps.max() - steps.min())
            settled = losses[steps >= start]
            lows.append(np.quantile(settled, 0.005))
            highs.append(np.quantile(settled, 0.985))
    return checks.padded(float(min(lows)), float(max(highs)), 0.08)


def _curve_handles(curves: Mapping[str, Any], tints: dict[str, str]) -> list:
    line = style.require_matplotlib().lines.Line2D
    handles = [line([], [], color=tints[name], lw=2.2, label=name) for name in curves]
    handles.append(line([], [], color=style.MUTED, lw=0.7, label="training"))
    if any(len(held_out[0]) for _, held_out in curves.values()):
        handles.append(line([], [], color=style.MUTED, lw=2.2, label="validation"))
    return handles


@style.styled
def score_by_horizon(
    scores: Mapping[str, Mapping[str, Any]], *, ylabel: str
) -> "matplotlib.figure.Figure":
    """A score against the horizon, with its confidence band; log axis for long horizons.

    Args:
        scores: by model name: `horizon` (increasing, at least 1) and `value`, and either both of
            `low` and `high` or neither; all of one length. NaN leaves a gap.
        ylabel: what the score is, with its unit, and which direction is better.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    checks.check_dict("scores", scores)
    columns = {name: _score(f"scores[{name!r}]", entry) for name, entry in scores.items()}
    label = f"{ylabel} by horizon for {', '.join(columns)}."
    figure = style.new_figure(6.6, 3.3, label=label)
    axes = figure.subplots()
    tints = style.colours(columns)
    for name, entry in columns.items():
        at = entry["horizon"]
        if "low" in entry:
            band = (entry["low"], entry["high"])
            axes.fill_between(at, *band, color=tints[name], alpha=0.16, lw=0)
        axes.plot(at, entry["value"], color=tints[name], lw=1.8, marker="o", ms=3.5, label=name)
    horizon_axis(axes, np.unique(np.concatenate([e["horizon"] for e in columns.values()])))
    axes.set(xlabel="horizon (steps)", ylabel=ylabel)
    axes.grid(True)
    style.titled(figure, "Score by horizon")
    style.legend_below(figure, axes.get_legend_handles_labels()[0], columns=5)
    return figure


def _score(where: str, entry: Any) -> dict[str, np.ndarray]:
    checks.check_dict(where, entry)
    missing = {"horizon", "value"} - set(entry)
    if missing or ("low" in entry) != ("high" in entry):
        raise ValueError(
            f"{where} must have horizon and value, and both of low and high or neither, but has "
            f"{sorted(entry)}."
        )
    keys = [key for key in ("horizon", "value", "low", "high") if key in entry]
    columns = {
        key: checks.array(f"{where}[{key!r}]", entry[key], 1, "[horizons]", nan=key != "horizon")
        for key in keys
    }
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where} must have columns of one length, but they are {lengths}.")
    at = columns["horizon"]
    if at[0] < 1 or (np.diff(at) <= 0).any():
        raise ValueError(f"{where}['horizon'] must increase from at least 1, but is {at}.")
    return columns


def horizon_axis(axes: Any, horizons: np.ndarray) -> None:
    """Ticks at the horizons that were scored, on a log axis where they span more than tenfold."""
    ticker = style.require_matplotlib().ticker
    if horizons[-1] <= 10 * horizons[0]:
        style.whole_numbers(axes)
        return
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    gaps = np.r_[np.inf, np.diff(np.log(horizons))]
    far_enough = 0.055 * np.log(horizons[-1] / horizons[0])
    axes.set_xticks([h for h, gap in zip(horizons, gaps, strict=True) if gap > far_enough])
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
