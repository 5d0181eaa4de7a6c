"""Discrete futures: how often each named outcome comes, after one step and over the horizon."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, clouds, style

if TYPE_CHECKING:
    import matplotlib.figure

_MAX_BARS = 12
_MAX_ROWS = 20


@style.styled
def outcome_bars(
    probabilities: Mapping[str, Any], *, names: Sequence[str]
) -> "matplotlib.figure.Figure":
    """How often each outcome comes, as grouped bars, one group an outcome, one bar a source.

    Args:
        probabilities: by source, `[n, dim]`: one-hot draws or probabilities; their mean is drawn.
        names: one an outcome. Only outcomes that occur are drawn, at most the 12 most frequent.

    Raises:
        ValueError, TypeError: naming the argument, for wrong shapes or values outside 0 to 1
        ImportError: matplotlib is missing.
    """
    rows = checks.arrays("probabilities", probabilities, 2, "[n, dim]")
    for label, values in rows.items():
        _check_shares(f"probabilities[{label!r}]", values)
    frequency = {label: values.mean(axis=0) for label, values in rows.items()}
    checks.check_names(names, len(next(iter(frequency.values()))))
    shown, left_out = most_frequent(np.stack(list(frequency.values())), _MAX_BARS)
    width = min(max(5.0, 1.8 + 0.28 * len(shown) * (1 + len(rows))), 10.5)
    label = f"Bars: frequency of {len(shown)} outcomes for {', '.join(rows)}."
    figure = style.new_figure(width, 3.0, label=label)
    axes = figure.subplots()
    tints = style.colours(rows)
    thick = 0.8 / len(rows)
    for i, (source, values) in enumerate(frequency.items()):
        at = np.arange(len(shown)) + (i - (len(rows) - 1) / 2) * thick
        axes.bar(at, values[shown], thick * 0.92, color=tints[source], label=source)
    axes.set_xticks(np.arange(len(shown)), [names[d] for d in shown])
    _tilt_if_crowded(axes, [names[d] for d in shown], width)
    axes.tick_params(axis="x", length=0)
    axes.yaxis.grid(True)
    axes.set_ylabel("share")
    axes.set_ylim(0, None)
    rest = f" ({left_out} rarer ones left out)" if left_out else ""
    style.titled(figure, f"Outcomes of one step{rest}")
    style.legend_below(figure, axes.get_legend_handles_labels()[0], columns=5)
    return figure


@style.styled
def outcome_fan(
    imagined: Mapping[str, Any], real: Any, *, names: Sequence[str]
) -> "matplotlib.figure.Figure":
    """The fan chart of discrete states: share of the futures in each outcome, at each step.

    One panel a model and one for the real futures, on one scale: outcomes downwards, the horizon to
    the right, the darker the more futures are there.

    Args:
        imagined: one-hot particles (or probabilities) by model name, each
            `[particles, horizon + 1, dim]`, NaN where a particle has ended.
        real: `[futures, horizon + 1, dim]`, NaN after the end of an episode.
        names: one a dimension. Only those that occur are drawn, at most the 20 most frequent.

    Raises:
        ValueError, TypeError: naming the argument, for wrong shapes or values outside 0 to 1
        ImportError: matplotlib is missing.
    """
    particles, real = clouds.check_futures(imagined, real, names)
    panels = {**particles, f"real ({len(real)} future{'s'[: len(real) > 1]})": real}
    for label, cloud in panels.items():
        _check_shares("real" if cloud is real else f"imagined[{label!r}]", cloud)
    shares = {label: share_by_step(cloud) for label, cloud in panels.items()}
    mean = np.stack([np.nan_to_num(s).max(axis=0) for s in shares.values()])
    shown, left_out = most_frequent(mean, _MAX_ROWS)
    label = f"Heat maps: share of {len(shown)} outcomes by step for {', '.join(panels)}."
    figure = style.new_figure(
        min(1.6 + 2.8 * len(panels), 11.0), 1.5 + 0.2 * max(len(shown), 6), label=label
    )
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    tints = style.colours(panels)
    for axes, (source, share) in zip(grid, shares.items(), strict=True):
        draw_map(axes, share[:, shown], tints[source])
        axes.set_title(source, color=tints[source])
    grid[0].set_yticks(np.arange(len(shown)), [names[d] for d in shown])
    rest = f", the {len(shown)} most frequent of {len(shown) + left_out}" if left_out else ""
    style.titled(figure, f"Outcomes by step{rest} (darker: larger share of the futures)")
    return figure


def _check_shares(name: str, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    if known.min() < -1e-6 or known.max() > 1 + 1e-6:
        raise ValueError(
            f"{name} must hold one-hot values or probabilities from 0 to 1, but ranges from "
            f"{known.min():.4g} to {known.max():.4g}."
        )


def most_frequent(frequency: np.ndarray, count: int) -> tuple[list[int], int]:
    """Outcomes that any source has, in their own order, and how many of them are left out."""
    best = frequency.max(axis=0)
    occurring = int((best > 0).sum())
    return list(checks.largest(best, min(count, max(occurring, 1)))), max(occurring - count, 0)


def share_by_step(cloud: np.ndarray) -> np.ndarray:
    """`[steps, dim]`, among futures that go on; NaN where none does."""
    alive = ~np.isnan(cloud)
    count = alive.sum(axis=0)
    total = np.where(alive, cloud, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def draw_map(axes: Any, share: np.ndarray, colour: str) -> None:
    """Shares `[steps, outcomes]`, outcomes downwards."""
    norm = style.require_matplotlib().colors.PowerNorm(0.6, vmin=0.0, vmax=1.0)
    steps, count = share.shape
    axes.pcolormesh(
        np.arange(steps + 1) - 0.5,
        np.arange(count + 1) - 0.5,
        np.ma.masked_where(~(share.T > 0), share.T),
        cmap=style.shades(colour),
        norm=norm,
    )
    axes.set(xlim=(-0.5, steps - 0.5), ylim=(count - 0.5, -0.5), xlabel="horizon (steps)")
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(True, axis="y", which="minor")
    axes.tick_params(axis="y", which="minor", length=0)
    style.whole_numbers(axes)


def _tilt_if_crowded(axes: Any, labels: list[str], width: float) -> None:
    if sum(len(text) + 2 for text in labels) * 0.075 > width - 1.0:
        axes.tick_params(axis="x", rotation=35)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
