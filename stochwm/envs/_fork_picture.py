"""What Fork looks like."""

import numpy as np
from jaxtyping import UInt8

from ._draw import canvas, curve, disc, line, slab, to_uint8

HEIGHT, WIDTH, UNIT = 300, 400, 84  # pixels; UNIT is one road spacing
JUNCTION, CAR = 120, 236  # rows where the roads have parted, and of the vehicle
LEFTMOST = 2.1  # the picture ends here, in road spacings


def draw_fork(
    y: float, speed: float, targets: np.ndarray, weights: np.ndarray
) -> UInt8[np.ndarray, "height width 3"]:
    """The vehicle at `y` (road spacings), what its next positions are, and how likely."""
    image = canvas(HEIGHT, WIDTH, "8fbf86", "6fa56b")
    car = (_column(y), CAR)
    ends = [(_column(road), JUNCTION) for road in (-1.5, -0.5, 0.5, 1.5)]
    paths = [
        np.concatenate([[(car[0], HEIGHT + 30)], curve(car, end), [(end[0], -20)]]) for end in ends
    ]
    for width, colour in ((46, "f3f1e7"), (42, "4a4e57")):
        for path in paths:
            line(image, path, width, colour)
    for end in ends:
        _dashes(image, end[0])
    arrivals = [(_column(float(target)), JUNCTION) for target in targets]
    for arrival, weight in zip(arrivals, weights, strict=True):
        line(image, curve(car, arrival), 2 + 26 * weight, "ffd166", 0.35 + 0.5 * weight)
    for arrival, weight in zip(arrivals, weights, strict=True):
        disc(image, arrival, 3 + 13 * np.sqrt(weight), "fff3d1", 0.95)
        disc(image, arrival, 1.5 + 11 * np.sqrt(weight), "ef8a17")
    _vehicle(image, car, speed)
    return to_uint8(image)


def _column(y: float) -> float:
    return WIDTH / 2 + UNIT * float(np.clip(y, -LEFTMOST, LEFTMOST))


def _dashes(image, column):
    for row in range(4, JUNCTION - 44, 22):
        line(image, [(column, row), (column, row + 9)], 2.0, "f3f1e7", 0.8)


def _vehicle(image, car, speed):
    x, y = car
    for offset in (-9, 0, 9):
        length = 34 * float(np.clip(speed, 0.05, 1.5))
        line(image, [(x + offset, y + 27), (x + offset, y + 27 + length)], 2.2, "ffffff", 0.75)
    slab(image, (x + 2, y + 3), (27, 46), "202020", 0.35, rounding=9, softness=5)
    for side in (-1, 1):
        for row in (-13, 13):
            slab(image, (x + side * 12, y + row), (5, 11), "1d1f24", rounding=2)
    slab(image, (x, y), (24, 44), "c8313b", rounding=8)
    slab(image, (x, y - 8), (18, 10), "bfe3f2", rounding=3)
    slab(image, (x, y + 13), (16, 6), "8fb9c9", rounding=2)
    slab(image, (x, y + 3), (17, 11), "e0525b", rounding=3)
    for side in (-1, 1):
        disc(image, (x + side * 7, y - 20), 2.2, "fff6c9")
