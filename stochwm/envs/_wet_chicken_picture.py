"""What Wet-Chicken looks like."""

import functools

import numpy as np
from jaxtyping import UInt8

from ._draw import canvas, disc, lens, line, rgb, slab, to_uint8

HEIGHT, WIDTH = 340, 320
BANK, TOP, FALL = 36, 22, 292  # pixels: width of a bank, the row of y = 0, the waterfall's row


def draw_wet_chicken(x: float, y: float) -> UInt8[np.ndarray, "height width 3"]:
    """The canoe at `x` across and `y` along the river, both from 0 to 1."""
    image = _background().copy()
    left, right = BANK + 12, WIDTH - BANK - 12
    _canoe(image, (left + (right - left) * x, TOP + (FALL - TOP) * y))
    return to_uint8(image)


@functools.cache
def _background():
    image = canvas(HEIGHT, WIDTH, "7fb069", "6a994e")
    _river(image)
    _waterfall(image)
    return image


def _river(image):
    # Slow and turbulent on the left, swift and smooth on the right.
    columns = np.linspace(0.0, 1.0, WIDTH - 2 * BANK, dtype=np.float32)[None, :, None]
    slow, swift = rgb("73bdd9"), rgb("216ba8")
    image[:, BANK : WIDTH - BANK] = slow * (1 - columns) + swift * columns
    slab(image, (BANK, HEIGHT / 2), (8, HEIGHT + 20), "e9d8a6", rounding=3)
    slab(image, (WIDTH - BANK, HEIGHT / 2), (8, HEIGHT + 20), "e9d8a6", rounding=3)
    draw = np.random.default_rng(7)  # always the same ripples
    for share in np.linspace(0.05, 0.95, 13):
        column = BANK + (WIDTH - 2 * BANK) * share
        for row in np.arange(draw.uniform(0, 30), FALL - 8, 34 + 14 * share):
            length, sway = 12 + 16 * share, 4.5 * (1 - share)
            t = np.linspace(0.0, 1.0, 14)
            bend = sway * np.sin(2 * np.pi * t + draw.uniform(0, 6.3))
            path = np.stack([column + bend, np.minimum(row + length * t, FALL)], axis=-1)
            line(image, path, 1.6, "ffffff", 0.42)
            if draw.uniform() > 0.2 + share:
                eddy = (column + draw.uniform(-9, 9), row - 7)
                disc(image, eddy, draw.uniform(3, 6), "ffffff", 0.3)
                disc(image, eddy, 2, "6fb3cc", 0.8)


def _waterfall(image):
    middle, span = WIDTH / 2, WIDTH - 2 * BANK
    slab(image, (middle, (FALL + HEIGHT) / 2 + 4), (span, HEIGHT - FALL), "0b3954")
    for column in np.arange(BANK + 6, WIDTH - BANK, 9):
        line(image, [(column, FALL), (column, HEIGHT + 5)], 3.4, "d7eef7", 0.55)
    draw = np.random.default_rng(3)
    for column in np.arange(BANK + 2, WIDTH - BANK, 6):
        disc(image, (column, FALL + draw.uniform(-4, 3)), draw.uniform(4, 7), "ffffff", 0.8, 3.0)
        disc(image, (column, HEIGHT - draw.uniform(-4, 5)), draw.uniform(5, 9), "ffffff", 0.7, 4.0)


def _canoe(image, centre):
    x, y = centre
    lens(image, (x + 3, y + 4), (21, 56), "06283d", opacity=0.3)
    lens(image, (x, y), (20, 54), "7f4f24")
    lens(image, (x, y), (13, 43), "dda15e")
    line(image, [(x - 19, y + 5), (x + 19, y - 5)], 2.6, "fefae0")
    for side in (-1, 1):
        lens(image, (x + side * 19, y - side * 5), (7, 14), "d62828", turn=1.3)
    disc(image, (x, y), 6.5, "bc3908")
    disc(image, (x, y), 3.8, "f6c9a0")
