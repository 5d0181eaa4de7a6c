"""What MixtureWalk looks like."""

import numpy as np
from jaxtyping import Float, UInt8

from ._draw import canvas, disc, hill, line, slab, to_uint8

HEIGHT, WIDTH, UNIT = 280, 420, 62  # pixels; UNIT is one unit of x
GROUND = 214


def draw_mixture_walk(
    x: float,
    weights: Float[np.ndarray, " components"],
    loc: Float[np.ndarray, " components"],
    scale: Float[np.ndarray, " components"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The walker at `x`, always in the middle, and the density of where he goes next."""
    image = canvas(HEIGHT, WIDTH, "fdf6e3", "f3dfc1")
    _hill(image, x, weights, loc, scale)
    slab(image, (WIDTH / 2, (GROUND + HEIGHT) / 2 + 2), (WIDTH + 40, HEIGHT - GROUND), "52796f")
    line(image, [(-5, GROUND + 2), (WIDTH + 5, GROUND + 2)], 4, "354f52")
    _ruler(image, x)
    _home(image, x)
    _walker(image)
    return to_uint8(image)


def _hill(image, x, weights, loc, scale):
    places = x + (np.arange(WIDTH) - WIDTH / 2) / UNIT
    wide = np.maximum(scale, 2 / UNIT)  # the narrowest peak is still some pixels wide
    bells = np.exp(-0.5 * ((places[:, None] - loc) / wide) ** 2) * weights / wide
    density = bells.sum(axis=1)
    heights = (118 * density / density.max()).astype(np.float32)
    hill(image, GROUND, heights, "f4a261", 0.55)
    top = np.stack([np.arange(WIDTH), GROUND - heights], axis=-1)[::2]
    line(image, top, 2.2, "e76f51")


def _ruler(image, x):
    reach = WIDTH / 2 / UNIT + 1
    for mark in np.arange(np.floor(4 * (x - reach)), np.ceil(4 * (x + reach)) + 1):
        column = _column(mark / 4, x)
        whole = mark % 4 == 0
        length, colour = (16, "f1faee") if whole else (8, "a3b8aa")
        line(image, [(column, GROUND + 8), (column, GROUND + 8 + length)], 2.4, colour)
        for dot in range(int(min(abs(mark) / 4, 8)) if whole else 0):
            disc(image, (column, GROUND + 32 + 5 * dot), 1.8, "f1faee")


def _home(image, x):
    column = _column(0.0, x)
    if not -40 < column < WIDTH + 40:
        # An arrow at the edge says where home is.
        side = 1 if column > 0 else -1
        tip = WIDTH / 2 + side * (WIDTH / 2 - 12)
        wings = [(tip - 12 * side, 18), (tip, 28), (tip - 12 * side, 38)]
        line(image, wings, 4, "2a9d8f")
        return
    slab(image, (column, GROUND - 17), (34, 34), "e9edc9", rounding=2)
    slab(image, (column, GROUND - 10), (11, 20), "7f5539", rounding=2)
    line(image, [(column - 23, GROUND - 33), (column, GROUND - 53)], 6, "bc4749")
    line(image, [(column + 23, GROUND - 33), (column, GROUND - 53)], 6, "bc4749")


def _walker(image):
    x = WIDTH / 2
    slab(image, (x, GROUND + 2), (30, 7), "1d3a34", 0.5, rounding=3, softness=4)
    for side in (-1, 1):
        line(image, [(x, GROUND - 20), (x + 8 * side, GROUND - 1)], 5, "264653")
        line(image, [(x, GROUND - 36), (x + 12 * side, GROUND - 25)], 4, "264653")
    line(image, [(x, GROUND - 20), (x, GROUND - 38)], 10, "2a6f97")
    disc(image, (x, GROUND - 52), 9, "f6d7b0")
    slab(image, (x, GROUND - 59), (19, 6), "bc4749", rounding=3)


def _column(place, x):
    return WIDTH / 2 + UNIT * (place - x)
