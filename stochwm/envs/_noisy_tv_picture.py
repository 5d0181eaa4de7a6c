"""What NoisyTV looks like."""

import numpy as np
from jaxtyping import UInt8

from ._draw import canvas, disc, line, rgb, slab, to_uint8

SIDE, EDGE, UNIT = 340, 22, 74  # pixels; UNIT is one unit of x and y
HUES = ("e63946", "f4a261", "e9c46a", "8ab17d", "2a9d8f", "4895ef", "7b5ea7", "e5989b")
SCREEN = ((82, 126), (100, 64))  # centre and size


def draw_noisy_tv(x: float, y: float, channel: int | None) -> UInt8[np.ndarray, "height width 3"]:
    """The robot at (`x`, `y`), 4 x 4 units; the screen shows noise in a channel's hue, or None."""
    image = canvas(SIDE, SIDE, "3a2e39")
    middle = SIDE / 2
    slab(image, (middle, middle), (4 * UNIT, 4 * UNIT), "d8c3a5")
    slab(image, (middle + UNIT, middle), (2 * UNIT, 4 * UNIT), "b7c9b0")
    for mark in range(1, 16):
        row = EDGE + mark * 4 * UNIT / 16
        line(image, [(EDGE, row), (middle, row)], 1, "b89f7e", 0.5)
    for row in range(8):
        for column in range(4):
            if (row + column) % 2:
                centre = (middle + UNIT / 2 * (column + 0.5), EDGE + UNIT / 2 * (row + 0.5))
                slab(image, centre, (UNIT / 2, UNIT / 2), "a8bda0")
    _wall(image)
    _goal(image, _at(3.5, 0.5))
    _television(image, channel)
    _robot(image, _at(x, y), channel is not None)
    return to_uint8(image)


def _at(x, y):
    """Pixels of a place; the picture does not end where noise carries the robot outside."""
    return (EDGE + UNIT * np.clip(x, 0, 4), SIDE - EDGE - UNIT * np.clip(y, 0, 4))


def _wall(image):
    for low, high in ((-0.1, 3.0), (3.8, 4.1)):
        line(image, [_wall_at(low), _wall_at(high)], 9, "3a2e39")
    for end in (3.0, 3.8):
        disc(image, _wall_at(end), 6.5, "f2cc8f")


def _wall_at(y):
    return (SIDE / 2, SIDE - EDGE - UNIT * y)


def _goal(image, centre):
    disc(image, centre, 30, "ffd166", 0.45, softness=8)
    turns = np.pi * (np.arange(11) / 5 - 0.5)
    reach = np.where(np.arange(11) % 2 == 0, 17, 8)
    star = np.stack([np.cos(turns), np.sin(turns)], -1) * reach[:, None] + centre
    disc(image, centre, 8, "f77f00")
    line(image, star, 5, "f77f00")


def _television(image, channel):
    (x, y), (width, height) = SCREEN
    slab(image, (x + 3, y + 5), (width + 16, height + 16), "201a20", 0.35, 10, softness=6)
    for side in (-1, 1):
        line(image, [(x, y - 40), (x + 24 * side, y - 68)], 3, "4a4e69")
        line(image, [(x + 26 * side, y + 38), (x + 34 * side, y + 50)], 5, "5e3c23")
    slab(image, (x, y), (width + 16, height + 16), "7f5539", rounding=9)
    slab(image, (x, y), (width + 4, height + 4), "201a20", rounding=7)
    if channel is None:
        slab(image, (x, y), (width, height), "2b2d42", rounding=6)
        line(image, [(x - 36, y + 14), (x - 14, y - 22)], 5, "ffffff", 0.12)
        return
    # The same snow for the same channel: pictures are functions of the state.
    blocks = np.random.default_rng(channel).uniform(size=(height // 4, width // 4, 1))
    colours = rgb("fdfdfd") * blocks**2 + rgb(HUES[channel]) * (1 - blocks**2)
    snow = np.repeat(np.repeat(colours, 4, axis=0), 4, axis=1)
    top, left = int(y - height / 2), int(x - width / 2)
    image[top : top + snow.shape[0], left : left + snow.shape[1]] = snow


def _robot(image, centre, watches):
    x, y = centre
    disc(image, (x + 2, y + 4), 17, "201a20", 0.35, softness=6)
    for side in (-1, 1):
        slab(image, (x + 14 * side, y), (7, 20), "2b2d42", rounding=3)
    disc(image, (x, y), 15, "457b9d")
    disc(image, (x, y - 1), 12, "a8dadc")
    slab(image, (x, y - 2), (18, 9), "1d3557", rounding=4)
    for side in (-1, 1):
        disc(image, (x + 4.5 * side, y - 2), 2.4, "ffd166" if watches else "ffffff")
