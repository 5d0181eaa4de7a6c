"""Anti-aliased shapes in plain NumPy.

A shape is a signed distance in pixels, negative inside; it covers a pixel by one half minus the
distance, cut off to [0, 1]. Positions are `(x, y)` in pixels, y downwards. Images are float32
`[height, width, 3]` with values in [0, 1], and are painted in place.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8

Image = Float[np.ndarray, "height width 3"]
Number = float | int | np.number
Point = Sequence[Number] | np.ndarray


def rgb(code: str) -> np.ndarray:
    """A colour `[3]` from hexadecimal digits, such as `"1b6ca8"`."""
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255


def canvas(height: int, width: int, top: str, bottom: str | None = None) -> Image:
    """An image of one colour, or of a vertical gradient between two."""
    share = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    mixed = rgb(top) * (1 - share) + rgb(bottom or top) * share
    return np.broadcast_to(mixed, (height, width, 3)).copy()


def to_uint8(image: Image) -> UInt8[np.ndarray, "height width 3"]:
    """The image that Gymnasium expects."""
    return (np.clip(image, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)


def paint(
    image: Image,
    box: tuple[Number, Number, Number, Number],
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
    colour: str,
    opacity: Number = 1.0,
    softness: Number = 1.0,
) -> None:
    """Blend a colour where `distance(x, y)` is negative; `box` is (left, top, right, bottom)."""
    height, width, _ = image.shape
    left, top = (max(int(np.floor(v - softness)), 0) for v in box[:2])
    right, bottom = (int(np.ceil(v + softness)) + 1 for v in box[2:])
    right, bottom = min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    cover = np.clip(0.5 - distance(x, y) / softness, 0.0, 1.0)[..., None] * opacity
    patch = image[top:bottom, left:right]
    patch += cover * (rgb(colour) - patch)


def disc(
    image: Image,
    centre: Point,
    radius: Number,
    colour: str,
    opacity: Number = 1.0,
    softness: Number = 1.0,
) -> None:
    """A filled circle."""
    cx, cy = centre
    box = (cx - radius - softness, cy - radius - softness, cx + radius + softness,
           cy + radius + softness)  # fmt: skip
    paint(image, box, lambda x, y: np.hypot(x - cx, y - cy) - radius, colour, opacity, softness)


def line(
    image: Image,
    points: Sequence[Point] | np.ndarray,
    width: Number,
    colour: str,
    opacity: Number = 1.0,
) -> None:
    """A line through points, with round ends; where it crosses itself it is not darker."""
    path = np.asarray(points, np.float32)
    reach = 0.5 * width + 1
    box = (*(path.min(0) - reach), *(path.max(0) + reach))

    def distance(x, y):
        pieces = (_to_segment(x, y, a, b) for a, b in zip(path[:-1], path[1:], strict=True))
        return np.minimum.reduce(list(pieces)) - 0.5 * width

    paint(image, box, distance, colour, opacity)


def slab(
    image: Image,
    centre: Point,
    size: Point,
    colour: str,
    opacity: Number = 1.0,
    rounding: Number = 0.0,
    turn: Number = 0.0,
    softness: Number = 1.0,
) -> None:
    """A rectangle of `size` (width, height), turned by `turn` radians, with rounded corners."""
    (cx, cy), half = centre, np.asarray(size, np.float32) / 2
    reach = float(np.hypot(*half)) + softness
    cos, sin = np.cos(turn), np.sin(turn)

    def distance(x, y):
        across, along = cos * (x - cx) + sin * (y - cy), cos * (y - cy) - sin * (x - cx)
        dx, dy = np.abs(across) - half[0] + rounding, np.abs(along) - half[1] + rounding
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return outside + np.minimum(np.maximum(dx, dy), 0) - rounding

    box = (cx - reach, cy - reach, cx + reach, cy + reach)
    paint(image, box, distance, colour, opacity, softness)


def hill(
    image: Image,
    foot: Number,
    heights: Float[np.ndarray, " width"],
    colour: str,
    opacity: Number = 1.0,
) -> None:
    """The area between the row `foot` and a curve above it: one height a column, in pixels."""
    steep = np.sqrt(1 + np.gradient(heights) ** 2)  # a vertical distance is too long on a slope

    def distance(x, y):
        column = x.astype(int)
        return np.maximum((foot - heights[column] - y) / steep[column], y - foot)

    box = (0, foot - heights.max() - 1, image.shape[1], foot)
    paint(image, box, distance, colour, opacity)


def lens(
    image: Image, centre: Point, size: Point, colour: str, turn: Number = 0.0, opacity: Number = 1.0
) -> None:
    """The overlap of two circles, pointed at both ends: `size` is (width, length)."""
    (cx, cy), (width, length) = centre, (size[0] / 2, size[1] / 2)
    radius = (width**2 + length**2) / (2 * width)
    cos, sin = np.cos(turn), np.sin(turn)

    def distance(x, y):
        across, along = cos * (x - cx) + sin * (y - cy), cos * (y - cy) - sin * (x - cx)
        return np.hypot(np.abs(across) + radius - width, along) - radius

    box = (cx - length, cy - length, cx + length, cy + length)
    paint(image, box, distance, colour, opacity)


def curve(start: Point, end: Point, points: int = 24) -> np.ndarray:
    """An S-shaped path `[points, 2]` that leaves and arrives vertically."""
    share = np.linspace(0.0, 1.0, points)
    ease = share**2 * (3 - 2 * share)
    x = start[0] + (end[0] - start[0]) * ease
    y = start[1] + (end[1] - start[1]) * share
    return np.stack([x, y], axis=-1)


def _to_segment(x, y, a, b):
    d = b - a
    share = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(float(d @ d), 1e-9), 0.0, 1.0)
    return np.hypot(x - a[0] - share * d[0], y - a[1] - share * d[1])
