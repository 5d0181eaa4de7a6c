"""What HiddenSwitch looks like."""

import numpy as np
from jaxtyping import UInt8

from ._draw import canvas, disc, hill, line, slab, to_uint8

HEIGHT, WIDTH, UNIT = 260, 420, 66  # pixels; UNIT is one unit of x
SEA = 178
FURTHEST = 2.9  # the picture ends here


def draw_hidden_switch(x: float, wind: float) -> UInt8[np.ndarray, "height width 3"]:
    """The boat at `x` and the buoy at 0; `wind` is from -1 (to the left) to 1 (to the right)."""
    image = canvas(HEIGHT, WIDTH, "a9d6e5", "e9f5db")
    disc(image, (356, 46), 23, "ffd166", 0.9)
    _clouds(image, wind)
    _wave(image, SEA - 4, 5.0, 62.0, 0.0, "89c2d9")
    _buoy(image)
    _boat(image, WIDTH / 2 + UNIT * float(np.clip(x, -FURTHEST, FURTHEST)), wind)
    _wave(image, SEA + 10, 5.0, 74.0, 20.0, "468faf")
    _wave(image, SEA + 34, 6.0, 96.0, 55.0, "2a6f97")
    _wave(image, SEA + 60, 7.0, 130.0, 5.0, "01497c")
    return to_uint8(image)


def _wave(image, row, height, length, shift, colour):
    columns = np.arange(WIDTH, dtype=np.float32)
    crest = HEIGHT + 5 - row + height * np.sin(2 * np.pi * (columns + shift) / length)
    hill(image, HEIGHT + 5, crest.astype(np.float32), colour)


def _clouds(image, wind):
    """Streaks as long as the wind is strong, with a head where they go."""
    for column, row in ((70, 34), (196, 58), (120, 92), (318, 104)):
        for dx, size in ((-16, 10), (0, 14), (16, 10)):
            disc(image, (column + dx, row), size, "ffffff", 0.85)
        if abs(wind) < 0.05:
            continue
        side = np.sign(wind)
        start, tip = column + 30 * side, column + (38 + 46 * abs(wind)) * side
        line(image, [(start, row + 3), (tip, row + 3)], 3.2, "577590", 0.8)
        head = [(tip - 9 * side, row - 4), (tip, row + 3), (tip - 9 * side, row + 10)]
        line(image, head, 3.2, "577590", 0.8)


def _buoy(image):
    x = WIDTH / 2
    line(image, [(x, SEA - 26), (x, SEA - 58)], 3, "343a40")
    slab(image, (x + 10, SEA - 52), (20, 12), "ffd166", rounding=2)
    slab(image, (x, SEA - 8), (26, 42), "d62828", rounding=9)
    slab(image, (x, SEA - 12), (26, 10), "f8f9fa")


def _boat(image, x, wind):
    tilt = 0.12 * wind
    mast = (x + 90 * np.sin(tilt), SEA - 96)
    line(image, [(x, SEA - 8), mast], 4, "5e3c23")
    belly = 30 * (wind if abs(wind) > 0.05 else 0.12)
    for share in np.linspace(0.08, 1, 24):
        row = SEA - 22 - 70 * (1 - share)
        column = x + (mast[0] - x) * (1 - share)
        swell = belly * np.sin(np.pi * (0.25 + 0.6 * share))
        line(image, [(column, row), (column + swell, row + 1)], 4.5, "fefae0")
    hull = [(-36, -10), (36, -10), (26, 10), (-26, 10)]
    for share in np.linspace(0, 1, 12):
        left, right = (np.array(hull[0]) * (1 - share) + np.array(hull[3]) * share,
                       np.array(hull[1]) * (1 - share) + np.array(hull[2]) * share)  # fmt: skip
        colour = "bc4749" if share > 0.25 else "f4a261"
        line(image, [(x + left[0], SEA + left[1]), (x + right[0], SEA + right[1])], 3.4, colour)
