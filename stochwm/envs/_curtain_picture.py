"""What Curtain looks like."""

import numpy as np
from jaxtyping import UInt8

from ._draw import canvas, disc, line, slab, to_uint8

CELL, MARGIN, FLOOR = 34, 30, 34  # pixels


def draw_curtain(
    rows: int, columns: int, behind: range, row: int, column: int, wind: int, paddle: int
) -> UInt8[np.ndarray, "height width 3"]:
    """A stage with the ball at `row`, `column`; `wind` is 0 to the left, 1 to the right."""
    height, width = rows * CELL + MARGIN + FLOOR, columns * CELL + 2 * MARGIN
    image = canvas(height, width, "22223b", "4a4e69")
    side = (-1, 1)[wind]
    for end in (-1, 1):
        _lamp(image, width / 2 + end * (width / 2 - MARGIN - CELL / 2), row == 0 and end == side)
    slab(image, (width / 2, height - FLOOR / 2 + 6), (width + 20, FLOOR), "9c6644", rounding=4)
    line(image, [(-5, height - FLOOR + 7), (width + 5, height - FLOOR + 7)], 3, "7f5539")
    centre = _place(row, column)
    _paddle(image, *_place(rows - 1, paddle))
    hidden = row in behind
    if hidden:
        _ball(image, centre)
    _curtain(image, width, behind, 0.72 if hidden else 1.0)
    _wind(image, width, behind, side)
    if not hidden:
        _ball(image, centre)
    return to_uint8(image)


def _place(row, column):
    return MARGIN + (column + 0.5) * CELL, MARGIN + (row + 0.5) * CELL


def _lamp(image, x, shines):
    y = MARGIN + CELL / 2
    line(image, [(x, -5), (x, y - 10)], 2.5, "9a8c98")
    if shines:
        disc(image, (x, y), 44, "ffe8a3", 0.55, softness=60)
    disc(image, (x, y), 10, "ffd166" if shines else "3d3f5c")
    slab(image, (x, y - 11), (16, 6), "9a8c98", rounding=2)


def _ball(image, centre):
    x, y = centre
    disc(image, (x, y), 12.5, "f4a261")
    disc(image, (x - 4, y - 4), 4, "ffe5cc", 0.8, softness=3)


def _curtain(image, width, behind, opacity):
    """Folds of cloth on a rail."""
    top, bottom = MARGIN + behind.start * CELL, MARGIN + behind.stop * CELL
    left, right, middle = MARGIN - 12, width - MARGIN + 12, (top + bottom) / 2
    slab(image, (width / 2, middle), (right - left, bottom - top), "9b2226", opacity, rounding=3)
    for number, x in enumerate(np.arange(left + 8, right - 4, 16)):
        dark = number % 2
        size = (9, bottom - top - 4)
        slab(
            image, (x, middle), size, "7f1d1d" if dark else "bb3e3e", 0.55 * opacity, 4, softness=5
        )
    line(image, [(left - 6, top), (right + 6, top)], 5, "c9a227")
    for x in (left - 6, right + 6):
        disc(image, (x, top), 6, "f2cc8f")


def _wind(image, width, behind, side):
    """Arrows downwind, one a row that the ball may drift on."""
    for row in behind:
        x, y = width / 2 + (14 if row % 2 else -40) * side, MARGIN + (row + 0.5) * CELL
        tip = x + 38 * side
        line(image, [(x - 24 * side, y), (tip, y)], 2.4, "f2e9e4", 0.45)
        head = [(tip - 7 * side, y - 5), (tip, y), (tip - 7 * side, y + 5)]
        line(image, head, 2.4, "f2e9e4", 0.45)


def _paddle(image, x, y):
    slab(image, (x, y + 20), (CELL + 6, 8), "14141f", 0.4, rounding=4, softness=6)
    slab(image, (x, y + 13), (CELL - 2, 9), "2a9d8f", rounding=4)
    for end in (-1, 1):
        slab(image, (x + end * (CELL / 2 - 3), y + 7), (5, 18), "2a9d8f", rounding=2)
