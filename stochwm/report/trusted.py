"""How long imagined futures are trusted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_BARS = 40  # at most


@style.styled
def trusted_horizon_histogram(
    horizons: Mapping[str, Any], *, length: int
) -> "matplotlib.figure.Figure":
    """How many steps of imagined futures a guard trusts, a panel an entry.

    Bars are the shares of futures whose trust ends after so many steps; the last bar, with a frame,
    holds those that are trusted to the end. The line is the share that is still trusted.

    Args:
        horizons: by name: `Trajectory.trusted_horizon()` of many futures, `[futures]`, whole
            numbers from 0 to `length`.
        length: of the futures, in steps, at least 1.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1 step, but is {length}.")
    checks.check_dict("horizons", horizons)
    steps = {k: _steps(f"horizons[{k!r}]", v, length) for k, v in horizons.items()}
    medians = {name: float(np.median(counted)) for name, counted in steps.items()}
    listed = ", ".join(f"{name} (median {median:g})" for name, median in medians.items())
    label = f"Histograms of the trusted horizon, of {length} steps: {listed}."
    figure = style.new_figure(6.6, 1.3 + 1.5 * len(steps), label=label)
    panels = figure.subplots(len(steps), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    tints = style.colours(steps)
    for axes, (name, counted) in zip(panels, steps.items(), strict=True):
        _draw(axes, counted, length, tints[name])
        text = f"{name}: half are trusted for {_plural(medians[name])} or more"
        axes.set_title(text, color=tints[name])
        axes.set(xlim=(-0.5, length + 0.5), ylim=(0, 1.02), ylabel="share of futures")
        axes.grid(True, axis="y")
    panels[-1].set_xlabel("trusted steps")
    style.whole_numbers(panels[-1])
    style.titled(figure, "How long the futures are trusted")
    style.legend_below(figure, _handles())
    return figure


def _steps(name: str, value: Any, length: int) -> np.ndarray:
    steps = checks.array(name, value, 1, "[futures]")
    if (steps != np.round(steps)).any() or steps.min() < 0 or steps.max() > length:
        raise ValueError(
            f"{name} must be whole numbers from 0 to {length}, but lie in [{steps.min():g}, "
            f"{steps.max():g}]."
        )
    return steps.astype(int)


def _draw(axes: "matplotlib.axes.Axes", steps: np.ndarray, length: int, colour: str) -> None:
    share = np.bincount(steps, minlength=length + 1) / len(steps)
    width = -(-length // _BARS)
    edges = np.append(np.arange(0, length, width), length)  # those trusted to the end stand apart
    bars = np.add.reduceat(share[:length], edges[:-1])
    axes.stairs(bars, edges - 0.5, fill=True, color=colour, alpha=0.45, gid="bars")
    last = {"width": width, "align": "edge", "color": colour, "alpha": 0.45}
    axes.bar(length - 0.5, share[length], **last, edgecolor=style.INK, gid="to the end")
    # Trusted for t steps or more: it falls from all futures at 0 to those trusted to the end.
    still = np.append(np.cumsum(share[::-1])[::-1], share[length])
    axes.plot(
        np.arange(length + 1),
        still[:-1],
        color=style.INK,
        lw=1.2,
        gid="still",
        solid_capstyle="butt",
    )


def _plural(steps: float) -> str:
    return f"{steps:g} step{'' if steps == 1 else 's'}"


def _handles() -> list:
    matplotlib = style.require_matplotlib()
    line, patch = matplotlib.lines.Line2D, matplotlib.patches.Patch
    grey = {"facecolor": style.MUTED, "alpha": 0.45}
    return [
        patch(**grey, label="trust ends after so many steps"),
        patch(**grey, edgecolor=style.INK, label="trusted to the end"),
        line([], [], color=style.INK, lw=1.2, label="trusted for that long or longer"),
    ]
