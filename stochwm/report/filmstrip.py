"""Pictures in a row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_COLUMNS = 6


@style.styled
def filmstrip(
    frames: Sequence[Any], captions: Sequence[str], *, trusted: int | None = None
) -> "matplotlib.figure.Figure":
    """Frames from left to right, six a row, a caption above each.

    Args:
        frames: uint8 images, each `[height, width, 3]` or `[height, width]` (grey).
        captions: one a frame.
        trusted: how many of the frames a guard trusts, from 0 to all: those after them are bleached
            and framed, as a dream that is cut where it drifts. None: nobody watched.

    Raises:
        ValueError, TypeError: naming the argument
        ImportError: matplotlib is missing.
    """
    images = [_image(f"frames[{i}]", frame) for i, frame in enumerate(frames)]
    if not images:
        raise ValueError("frames must hold at least one image, but it is empty.")
    if isinstance(captions, str) or len(captions) != len(images):
        raise ValueError(
            f"captions must hold one text for each of the {len(images)} frames, but is "
            f"{captions!r}."
        )
    kept = len(images) if trusted is None else trusted
    if not 0 <= kept <= len(images):
        raise ValueError(f"trusted must be from 0 to {len(images)} frames, but is {trusted}.")
    columns = min(len(images), _COLUMNS)
    rows = -(-len(images) // columns)
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    wide = 9.6 / columns if columns > 3 else 2.4
    cut = f" Not trusted after {kept} of them." if kept < len(images) else ""
    label = f"{len(images)} frames: {'; '.join(captions)}.{cut}"
    figure = style.new_figure(
        wide * columns,
        (wide * tallest + (0.3 if kept == len(images) else 0.48)) * rows,
        label=label,
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, (axes, image, caption) in enumerate(zip(grid, images, captions, strict=False)):
        shown = image if i < kept else _bleached(image)
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        axes.set_title(caption, fontsize=8.5, fontweight="normal", pad=3)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=style.HAIRLINE)
        if i >= kept:
            _mark(axes)
    for axes in grid[len(images) :]:
        axes.remove()
    return figure


def _bleached(image: np.ndarray) -> np.ndarray:
    """Grey, and most of the way to white."""
    grey = image if image.ndim == 2 else image.mean(axis=-1)
    return (0.4 * grey + 0.6 * 255).astype(np.uint8)


def _mark(axes: "matplotlib.axes.Axes") -> None:
    """A frame and a word, so that it is not taken for a faint picture."""
    colour = style.ROLES["baseline"]
    axes.title.set_color(colour)
    axes.spines[:].set(color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlabel("not trusted", color=colour, fontsize=7.5, labelpad=2)


def _image(name: str, frame: Any) -> np.ndarray:
    image = np.asarray(frame)
    if image.dtype != np.uint8:
        raise TypeError(f"{name} must be a uint8 image, but its dtype is {image.dtype}.")
    if image.ndim not in (2, 3) or 0 in image.shape or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"{name} must have the shape [height, width, 3] or [height, width], but it is "
            f"{image.shape}."
        )
    return image
