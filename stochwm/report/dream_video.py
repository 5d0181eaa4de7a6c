"""Dreams beside what really happened, as a moving picture."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from . import checks, clouds, outcomes, pictures, style
from .futures import draw_row

if TYPE_CHECKING:
    import matplotlib.figure

_MAX_DIMS = 4
_MAX_PICTURES = 4
_MAX_OUTCOMES = 12
_FEW_STEPS = 25  # up to which each real value gets a mark
_DPI = 100
_SEEN = "#EEF1F4"
_BOTH = "(dreams, real)"


@style.styled
def dream_video(
    observations: tuple[Any, Any],
    rewards: tuple[Any, Any],
    ended: tuple[Any, int | None],
    *,
    seen: int,
    names: Sequence[str],
    one_hot: Sequence[bool] = (),
    frames: tuple[Any, Any] | None = None,
    title: str = "Dream and reality",
) -> UInt8[np.ndarray, "time height width 3"]:
    """Many dreams of one episode beside the episode, from row to row.

    At the top pictures, the real one first and then some dreams, pale after they have ended. Below,
    over the steps, what dreams say of the observation, the reward, and whether they have ended:
    shading as in `fan_chart`, and what really happened as a line. Time uncovers the charts.

    Args:
        observations: of the dreams `[dreams, time, observation]`, NaN where one is over, and the
            real one `[time, observation]`; None for both where frames say it all.
        rewards: `[dreams, time]`, NaN where one is over, and `[time]`.
        ended: whether a dream has ended, `[dreams, time]`, and the row at which the real episode
            did, None if it goes on.
        seen: rows that the dreams were shown.
        names: one an entry of the observation.
        one_hot: which entries are those of categories, one flag an entry: shares of them are drawn
            instead of numbers. By default none is.
        frames: uint8, of the dreams `[dreams, time, height, width, 3]` and the real one
            `[time, height, width, 3]`, all of one size; at most 4 dreams are drawn.
        title: the headline.

    Returns:
        A frame a row; `write_gif` and `write_png` make files of them.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    reward = checks.array("rewards[0]", rewards[0], 2, "[dreams, time]", nan=True)
    real_reward = checks.array("rewards[1]", rewards[1], 1, "[time]")
    rows: list[tuple[str, Any]] = []
    if observations[0] is not None:
        cloud, real = clouds.check_futures(
            {"dreams": observations[0]}, np.asarray(observations[1])[None], names
        )
        rows += _observation_rows(cloud["dreams"], real, names, one_hot)
    rows.append(("reward", lambda axes: _draw_fan(axes, reward, real_reward[None])))
    share = np.asarray(ended[0], float).mean(axis=0)
    rows.append(("ended", lambda axes: _draw_ends(axes, share, ended[1])))
    shown = None if frames is None else _checked(frames)
    figure, charts, slots = _layout(rows, shown, title)
    for axes, (label, draw) in zip(charts, rows, strict=True):
        axes.axvspan(-0.5, seen - 0.5, color=_SEEN, zorder=0)
        draw(axes)
        style.name_row(axes, label)
        axes.set_xlim(-0.5, len(real_reward) - 0.5)
    charts[-1].set_xlabel("step of the episode (grey: shown to the model; then it dreams)")
    style.whole_numbers(charts[-1])
    style.legend_below(figure, _handles())
    figure.align_ylabels(charts)
    shown = np.empty(0) if shown is None else shown
    return _uncover(figure, charts, slots, shown, np.asarray(ended[0], bool))


def _observation_rows(
    cloud: np.ndarray, real: np.ndarray, names: Sequence[str], one_hot: Sequence[bool]
) -> list[tuple[str, Any]]:
    """Label and drawing of each chart of the observation: categories together, then numbers."""
    if len(one_hot) not in (0, len(names)):
        raise ValueError(
            f"one_hot must have a flag for each of the {len(names)} names, but has {len(one_hot)}."
        )
    inside = np.asarray(one_hot or [False] * len(names), bool)
    categories, numbers = np.flatnonzero(inside), np.flatnonzero(~inside)
    rows = []
    if len(categories):
        labels = [names[int(d)] for d in categories]
        rows.append(_category_row(cloud[..., categories], real[..., categories], labels))
    if len(numbers):
        varied = clouds.most_varied({"dreams": cloud[..., numbers]}, _MAX_DIMS)
        fan = lambda axes, d: _draw_fan(axes, cloud[..., d], real[..., d])  # noqa: E731
        rows += [(names[d], partial(fan, d=d)) for d in (int(numbers[i]) for i in varied)]
    return rows


def _category_row(
    cloud: np.ndarray, real: np.ndarray, names: Sequence[str]
) -> tuple[str, Callable[[Any], None]]:
    """A map of the share of dreams in each category, with the real ones marked."""
    shares, truth = (outcomes.share_by_step(x) for x in (cloud, real))
    both = np.stack([np.nan_to_num(x).max(axis=0) for x in (shares, truth)])
    shown, _ = outcomes.most_frequent(both, _MAX_OUTCOMES)

    def draw(axes: Any) -> None:
        outcomes.draw_map(axes, shares[:, shown], style.ROLES["model"])
        step, row = np.nonzero(truth[:, shown] > 0.5)
        axes.plot(step, row, "o", color=style.ROLES["data"], ms=5, mfc="white")
        axes.set_yticks(np.arange(len(shown)), [names[d] for d in shown])
        axes.set_xlabel("")

    return "", draw


def _draw_fan(axes: Any, cloud: np.ndarray, real: np.ndarray) -> None:
    draw_row(np.array([axes]), {"dreams": cloud}, real, {"dreams": style.ROLES["model"]})
    if real.shape[1] <= _FEW_STEPS:
        axes.plot(real[0], "o", color=style.ROLES["data"], ms=4, mfc="white", zorder=5)


def _draw_ends(axes: Any, share: np.ndarray, real: int | None) -> None:
    """The share of dreams that have ended, and where the real episode did."""
    steps = np.arange(len(share))
    axes.fill_between(steps, share, color=style.ROLES["model"], alpha=0.25, lw=0, step="mid")
    axes.step(steps, share, color=style.ROLES["model"], lw=1.2, where="mid")
    happened = np.zeros(len(share)) if real is None else (steps >= real).astype(float)
    axes.step(steps, happened, color=style.ROLES["data"], lw=1.5, where="mid")
    axes.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
    axes.set_yticklabels(["0 %", "50 %", "100 %"])


def _checked(frames: tuple[Any, Any]) -> np.ndarray:
    """The real frames and those of a few dreams, `[1 + dreams, time, height, width, 3]`."""
    real = pictures.checked_frames(frames[1])
    dreams = [pictures.checked_frames(one) for one in np.asarray(frames[0])[:_MAX_PICTURES]]
    if any(one.shape != real.shape for one in dreams):
        raise ValueError(
            f"frames {_BOTH} must be of one size, but are {[x.shape for x in (*dreams, real)]}."
        )
    return np.stack([real, *dreams])


def _layout(
    rows: list[tuple[str, Any]], shown: np.ndarray | None, title: str
) -> tuple["matplotlib.figure.Figure", list[Any], list[Any]]:
    """The figure, the axes of its charts, and those of its pictures."""
    width, tall = 7.2, [2.4 if not label else 1.05 for label, _ in rows]
    picture = 0.0
    if shown is not None:
        picture = 0.25 + width / (len(shown) + 0.3) * shown.shape[2] / shown.shape[3]
    heights = ([picture] if shown is not None else []) + tall
    label = "Dreams of an episode beside the episode, over its steps."
    figure = style.new_figure(width, sum(heights) + 1.1, label=label)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    slots = []
    if shown is not None:
        top = grid[0].subgridspec(1, len(shown))
        slots = [figure.add_subplot(top[i]) for i in range(len(shown))]
        for i, axes in enumerate(slots):
            axes.set_title(f"dream {i}" if i else "real", fontsize=8.5, loc="center")
            axes.set(xticks=[], yticks=[])
            axes.imshow(np.full_like(shown[0, 0], 255))
            axes.spines[:].set(visible=True, color=style.HAIRLINE)
    first = len(heights) - len(rows)
    charts = [figure.add_subplot(grid[first])]
    charts += [figure.add_subplot(grid[first + i], sharex=charts[0]) for i in range(1, len(rows))]
    for axes in charts[:-1]:
        axes.tick_params(labelbottom=False)
    style.titled(figure, title)
    return figure, charts, slots


def _handles() -> list:
    matplotlib = style.require_matplotlib()
    line, patch = matplotlib.lines.Line2D, matplotlib.patches.Patch
    model, data = style.ROLES["model"], style.ROLES["data"]
    return [
        patch(color=model, alpha=0.55, label="dreams (darker = more of them)"),
        line([], [], color=model, lw=1.2, label="median, 5 and 95 %"),
        line([], [], color=data, lw=1.3, marker="o", mfc="white", ms=4, label="real"),
    ]


def _uncover(
    figure: Any,
    charts: list[Any],
    slots: list[Any],
    shown: np.ndarray,
    ended: np.ndarray,
) -> np.ndarray:
    """Frames in which charts are covered from the next row on, and pictures are those of the row.

    The figure is drawn twice, not once a frame: with everything, and with charts under a cover.
    """
    figure.set_dpi(_DPI)
    whole = _pixels(figure)
    for axes in charts:
        axes.axvspan(*axes.get_xlim(), color="white", zorder=20)
    covered, height = _pixels(figure), whole.shape[0]
    frames = []
    for t in range(ended.shape[1]):
        frame = whole.copy()
        for axes in charts:
            box = axes.get_window_extent()
            now = round(axes.transData.transform((t + 0.5, 0.0))[0])
            area = (
                slice(height - round(box.y1), height - round(box.y0)),
                slice(now, round(box.x1)),
            )
            frame[area] = covered[area]
        for i, axes in enumerate(slots):
            _paste(frame, axes, shown[i, t], pale=bool(i and t and ended[i - 1, t - 1]))
        frames.append(frame)
    return np.stack(frames)


def _pixels(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _paste(frame: np.ndarray, axes: Any, picture: np.ndarray, *, pale: bool) -> None:
    """Draw a picture, pixel by pixel, into the place of its axes."""
    box, height = axes.get_window_extent(), frame.shape[0]
    top, bottom = height - round(box.y1) + 1, height - round(box.y0) - 1
    left, right = round(box.x0) + 1, round(box.x1) - 1
    rows = (np.arange(bottom - top) * picture.shape[0]) // (bottom - top)
    columns = (np.arange(right - left) * picture.shape[1]) // (right - left)
    enlarged = picture[rows][:, columns]
    frame[top:bottom, left:right] = 255 - (255 - enlarged) // 4 if pale else enlarged
