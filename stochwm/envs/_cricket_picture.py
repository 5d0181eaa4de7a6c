"""What Cricket looks like."""

import functools

import numpy as np
from jaxtyping import Float, UInt8

from ._draw import canvas, disc, line, paint, slab, to_uint8

HEIGHT, WIDTH, HORIZON = 320, 420, 96  # pixels
BACK, EYE, FOCUS = 3.0, 1.75, 330.0  # camera: metres behind the wicket and up; pixels at 1 metre
BALL, HALF_PITCH, LENGTH = 0.065, 1.5, 20.1  # metres; the ball is drawn larger than it is


def draw_cricket(
    state: Float[np.ndarray, " 6"],
    weights: Float[np.ndarray, " ways"],
    paths: Float[np.ndarray, "ways steps 6"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The ball as the wicket-keeper sees it, the bat, and where the ball may go."""
    image = _ground().copy()
    x, y, z, _, _, bat = (float(value) for value in state)
    for weight, path in zip(weights, paths, strict=True):
        ahead = np.concatenate([state[None, :3], path[:, :3]])
        points = np.array([_see(*place) for place in ahead])
        line(image, points, 3 + 16 * weight, "ffd166", 0.28 + 0.3 * weight)
    for path in paths:
        disc(image, _see(*path[-1, :3]), 5, "ef8a17", 0.9)
    shadow = _see(x, y, 0.0)
    size = BALL * _zoom(x)
    slab(image, shadow, (2.4 * size, 0.9 * size), "1b2a17", 0.45, 0.4 * size, softness=3)
    if x > 0.3:
        _ball(image, (x, y, z))
    _wicket(image, 0.0)
    _bat(image, bat)
    if x <= 0.3:
        _ball(image, (x, y, z))
    return to_uint8(image)


@functools.cache
def _ground():
    image = canvas(HEIGHT, WIDTH, "bfe0f5", "e8f4fb")
    draw = np.random.default_rng(5)  # always the same crowd
    for row in range(3):
        for column in range(0, WIDTH + 12, 12):
            centre = (column + draw.uniform(-3, 3), HORIZON - 32 + 11 * row + draw.uniform(-2, 2))
            colour = ("e76f51", "f4a261", "577590", "e9c46a", "8d99ae")[draw.integers(5)]
            disc(image, centre, 5, colour, 0.75)
    slab(image, (WIDTH / 2, HORIZON - 3), (WIDTH + 20, 12), "f8f9fa")
    far, near = _see(LENGTH, 0, 0), _see(-1.2, 0, 0)
    stripes = [(HORIZON, "5b8c4a"), (HORIZON + 26, "659a52"), (HORIZON + 62, "5b8c4a"),
               (HORIZON + 130, "659a52")]  # fmt: skip
    for top, colour in stripes:
        slab(image, (WIDTH / 2, (top + HEIGHT + 10) / 2), (WIDTH + 20, HEIGHT + 10 - top), colour)
    slope = HALF_PITCH / EYE  # a strip along the line of sight is a wedge below the horizon

    def strip(x, y):
        side = (np.abs(x - WIDTH / 2) - slope * (y - HORIZON)) / np.hypot(1, slope)
        return np.maximum(side, far[1] - y)

    paint(image, (0, far[1], WIDTH, max(near[1], HEIGHT)), strip, "d9c08c")
    for distance in (1.2, LENGTH - 1.2):
        ends = [_see(distance, side * 1.3, 0) for side in (-1, 1)]
        line(image, ends, max(0.05 * _zoom(distance), 1.2), "ffffff", 0.9)
    _wicket(image, LENGTH)
    return image


def _zoom(x):
    """Pixels a metre at distance `x` from the wicket."""
    return FOCUS / (max(float(x), -1.8) + BACK)


def _see(x, y, z):
    zoom = _zoom(x)
    return (WIDTH / 2 + zoom * y, HORIZON + zoom * (EYE - z))


def _wicket(image, x):
    for y in (-0.09, 0.0, 0.09):
        line(image, [_see(x, y, 0), _see(x, y, 0.71)], max(0.036 * _zoom(x), 1), "c68642")
        line(image, [_see(x, y - 0.006, 0), _see(x, y - 0.006, 0.71)], 0.01 * _zoom(x), "f1d3a1")
    line(image, [_see(x, -0.1, 0.715), _see(x, 0.1, 0.715)], max(0.025 * _zoom(x), 1), "8a5a2b")


def _bat(image, y):
    x = 0.6
    handle = [_see(x, y, 0.62), _see(x, y, 0.95)]
    slab(image, _see(x, y, 0.0), (0.34 * _zoom(x), 8), "1b2a17", 0.35, 4, softness=4)
    line(image, handle, 0.045 * _zoom(x), "2b2d42")
    top, bottom = _see(x, y, 0.66), _see(x, y, 0.06)
    middle, height = (top[0], (top[1] + bottom[1]) / 2), bottom[1] - top[1]
    slab(image, middle, (0.16 * _zoom(x), height), "8a6d3b", 0.95, 5)
    slab(image, middle, (0.13 * _zoom(x), height - 4), "e9cf9c", 0.95, 4)


def _ball(image, place):
    centre, size = _see(*place), max(BALL * _zoom(place[0]), 4.5)
    disc(image, centre, size, "6a040f")
    disc(image, centre, 0.88 * size, "c1121f")
    slab(image, centre, (0.2 * size, 1.5 * size), "fefae0", 0.85, 0.08 * size, turn=0.5)
    disc(image, (centre[0] - 0.35 * size, centre[1] - 0.4 * size), 0.2 * size, "ffffff", 0.7, 2)
