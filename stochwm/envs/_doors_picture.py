"""What Doors looks like."""

import numpy as np
from jaxtyping import UInt8

from ._draw import canvas, disc, line, slab, to_uint8

HEIGHT, WIDTH, FLOOR = 260, 380, 206


def draw_doors(
    stage: int, stages: int, place: int, doors: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Stage number `stage`: its lobby (place 0) or its hall with door `place - 1` open."""
    image = canvas(HEIGHT, WIDTH, "3d405b", "5a5f85")
    slab(image, (WIDTH / 2, (FLOOR + HEIGHT) / 2 + 6), (WIDTH + 40, HEIGHT - FLOOR), "b08968")
    line(image, [(-5, FLOOR + 6), (WIDTH + 5, FLOOR + 6)], 4, "7f5539")
    if stage >= stages:
        _flag(image)
    elif place == 0:
        _lobby(image)
    else:
        _hall(image, place - 1, doors)
    _progress(image, stage, stages)
    return to_uint8(image)


def _progress(image, stage, stages):
    columns = WIDTH / 2 + (np.arange(stages) - (stages - 1) / 2) * min(34, 320 / stages)
    line(image, [(columns[0], 26), (columns[-1] + 0.1, 26)], 3, "8d92b3")
    for number, column in enumerate(columns):
        radius = min(9.0, 120 / stages)
        disc(image, (column, 26), radius + 2, "f4f1de" if number == stage else "8d92b3")
        disc(image, (column, 26), radius, "81b29a" if number < stage else "2b2d42")
        if number == stage:
            disc(image, (column, 26), 0.55 * radius, "f2cc8f")


def _lobby(image):
    # Left: a wide, safe way out, with a small coin. Right: the dark entrance of the hall.
    _door(image, WIDTH * 0.3, 84, 122, "81b29a", "5f8f79")
    disc(image, (WIDTH * 0.3, FLOOR - 72), 13, "c9a227")
    disc(image, (WIDTH * 0.3, FLOOR - 72), 9.5, "f2cc8f")
    _door(image, WIDTH * 0.7, 108, 134, "14151f", "e07a5f")
    for number in range(3):
        centre = (WIDTH * 0.7, FLOOR - 30 - 30 * number)
        slab(image, centre, (60 - 14 * number, 4), "e07a5f", 0.5 - 0.12 * number, rounding=2)
    _figure(image, WIDTH * 0.5)


def _hall(image, right, doors):
    spread = min(86.0, 340 / doors)
    columns = WIDTH / 2 + (np.arange(doors) - (doors - 1) / 2) * spread
    for number, column in enumerate(columns):
        width = 0.68 * spread
        if number != right:
            _door(image, column, width, 104, "9c6644", "7f5539")
            disc(image, (column + 0.3 * width, FLOOR - 46), 3.2, "f2cc8f")
            continue
        disc(image, (column, FLOOR - 50), 74, "ffe8a3", 0.5, softness=60)
        _door(image, column, width, 104, "fff3c4", "f2cc8f")
        slab(image, (column, FLOOR + 20), (1.3 * width, 26), "ffe8a3", 0.5, 8, softness=14)
    _figure(image, WIDTH * 0.5)


def _door(image, column, width, height, colour, frame):
    middle = FLOOR + 4 - height / 2
    slab(image, (column, middle - 3), (width + 12, height + 8), frame, rounding=6)
    slab(image, (column, middle), (width, height), colour, rounding=3)


def _flag(image):
    x = WIDTH / 2
    line(image, [(x - 30, FLOOR + 10), (x - 30, FLOOR - 130)], 6, "f4f1de")
    for row in range(4):
        for column in range(6):
            colour = "f4f1de" if (row + column) % 2 else "2b2d42"
            slab(image, (x - 18 + 18 * column, FLOOR - 118 + 18 * row), (18.5, 18.5), colour)
    _figure(image, x - 64)


def _figure(image, column):
    slab(image, (column, FLOOR + 36), (30, 8), "2b2d42", 0.3, rounding=4, softness=5)
    slab(image, (column, FLOOR + 14), (22, 38), "e07a5f", rounding=10)
    disc(image, (column, FLOOR - 14), 11, "f6d7b0")
    slab(image, (column, FLOOR - 21), (21, 9), "5e3c23", rounding=4)
