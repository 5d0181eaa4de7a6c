"""Pictures and moving pictures as files."""

import os
from typing import Any

import numpy as np

from . import style

_SMALLEST = 240  # pixels of the longer side; smaller pictures are enlarged by a whole factor


def write_gif(path: str | os.PathLike, frames: Any, *, fps: float = 10.0) -> None:
    """Write frames as an animated GIF, which plays for ever.

    Args:
        path: of the file.
        frames: uint8, `[time, height, width, 3]`. Small ones are enlarged, pixel by pixel.
        fps: frames a second, up to 50, the most that viewers play.

    Raises:
        ValueError: no frames, or frames of another kind.
        ImportError: matplotlib, which brings Pillow, is missing.
    """
    if not 0 < fps <= 50:
        raise ValueError(f"fps must be above 0 and at most 50, but is {fps}.")
    array = checked_frames(frames)
    # One palette for all: what does not change between two frames then takes no room.
    known = np.concatenate([array[0], array[len(array) // 2], array[-1]])
    palette = _to_image(known).quantize(256, method=2)  # octree: white stays white
    first, *rest = [_to_image(frame).quantize(palette=palette, dither=0) for frame in array]
    duration = 10 * round(100 / fps)  # milliseconds; the format counts hundredths of a second
    first.save(path, save_all=True, append_images=rest, duration=duration, loop=0)


def write_png(path: str | os.PathLike, frame: Any) -> None:
    """Write one frame, uint8 `[height, width, 3]`.

    Raises:
        ValueError: another kind of frame.
        ImportError: matplotlib, which brings Pillow, is missing.
    """
    _to_image(checked_frames(np.asarray(frame)[None])[0]).save(path)


def checked_frames(frames: Any) -> np.ndarray:
    """Frames as an array; raises `ValueError` where they are none."""
    array = np.asarray(frames)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            "frames must be uint8 of the shape [time, height, width, 3], at least one, but are "
            f"{array.dtype} of {array.shape}."
        )
    return array


def _to_image(frame: np.ndarray) -> Any:
    style.require_matplotlib()
    from PIL import Image

    factor = -(-_SMALLEST // max(frame.shape[:2]))
    return Image.fromarray(frame.repeat(factor, axis=0).repeat(factor, axis=1))
