"""What Galton looks like."""

import numpy as np
from jaxtyping import Float, UInt8

from ._draw import canvas, disc, line, slab, to_uint8

HEIGHT, WIDTH = 360, 340
TOP, FLOOR, FOOT = 48, 236, 330  # rows of the first peg, of the pockets' mouths and of their floor


def draw_galton(
    rows: int, target: int, row: int, column: int, ends: Float[np.ndarray, " pockets"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The ball above the peg `row`, `column`; `ends` is how likely each pocket is."""
    image = canvas(HEIGHT, WIDTH, "2b2d42", "23253a")
    slab(image, (WIDTH / 2, HEIGHT / 2), (WIDTH - 16, HEIGHT - 16), "7f5539", rounding=16)
    slab(image, (WIDTH / 2, HEIGHT / 2), (WIDTH - 28, HEIGHT - 28), "f3e9d2", rounding=11)
    space, fall = (WIDTH - 56) / (rows + 1), (FLOOR - TOP) / rows
    radius = float(np.clip(0.17 * min(space, fall), 1.5, 8))
    _pockets(image, rows, target, space, ends)
    for peg_row in range(rows):
        for peg in range(peg_row + 1):
            centre = (_across(rows, peg_row, peg, space), TOP + fall * peg_row)
            disc(image, (centre[0] + 1.5, centre[1] + 2), radius, "6b5b45", 0.3, 3)
            disc(image, centre, radius, "577590")
            disc(image, (centre[0] - 0.3 * radius, centre[1] - 0.3 * radius), radius / 3, "c3d5e2")
    size = float(np.clip(0.32 * min(space, fall), 3, 15))
    down = FOOT - 6 - size if row == rows else TOP + fall * row - radius - size
    _ball(image, (_across(rows, row, column, space), down), size)
    return to_uint8(image)


def _across(rows, row, column, space):
    return WIDTH / 2 + space * (column - row / 2)


def _pockets(image, rows, target, space, ends):
    tallest = FOOT - FLOOR - 30
    for pocket, share in enumerate(ends):
        middle = _across(rows, rows, pocket, space)
        worth = max(1 - 0.5 * abs(pocket - target), 0.0)
        if worth:
            centre = (middle, (FLOOR + FOOT) / 2 + 5)
            slab(image, centre, (space, FOOT - FLOOR - 10), "f2cc8f", 0.9 * worth)
        if share > 1e-3:
            height = max(tallest * share / ends.max(), 1.0)
            slab(image, (middle, FOOT - height / 2), (0.56 * space, height), "e76f51", 0.85)
    for edge in range(rows + 2):
        column = _across(rows, rows, edge - 0.5, space)
        line(image, [(column, FLOOR + 10), (column, FOOT)], 3, "7f5539")
    line(image, [(24, FOOT + 2), (WIDTH - 24, FOOT + 2)], 5, "7f5539")


def _ball(image, centre, radius):
    disc(image, (centre[0] + 2, centre[1] + 3), radius, "3b2f20", 0.35, 4)
    disc(image, centre, radius, "9d0208")
    disc(image, centre, 0.84 * radius, "d00000")
    shine = (centre[0] - 0.35 * radius, centre[1] - 0.35 * radius)
    disc(image, shine, 0.28 * radius, "ffffff", 0.85, 2)
