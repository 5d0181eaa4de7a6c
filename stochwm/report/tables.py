"""Tables of a page, with numbers that a person can read."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Numbers are rounded to four digits and right-aligned; None and NaN become a dash.

    Attributes:
        columns: headings; the first column names the rows.
        rows: one cell a column: text, number, bool or None.
        caption: what the table shows, in plain text; may be empty.

    Raises:
        ValueError: there is no column, or a row has another number of cells.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns must hold at least one heading, but it is empty.")
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"rows[{i}] must have {len(self.columns)} cells, one a column, but has "
                    f"{len(row)}."
                )


def render_table(table: Table) -> str:
    """The table as HTML, with every text escaped."""
    numeric = [
        any(map(_is_number, cells)) and all(_is_number(c) or c is None for c in cells)
        for cells in zip(*table.rows, strict=True)
    ] or [False] * len(table.columns)
    kinds = [' class="number"' if is_number else "" for is_number in numeric]
    heads = "".join(
        f'<th scope="col"{kind}>{html.escape(name)}</th>'
        for name, kind in zip(table.columns, kinds, strict=True)
    )
    rows = "".join(f"<tr>{_row(row, kinds)}</tr>" for row in table.rows)
    caption = f"<figcaption>{html.escape(table.caption)}</figcaption>" if table.caption else ""
    return (
        f'<figure class="table"><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{html.escape(table.caption or "Table", quote=True)}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{caption}</figure>"
    )


def _row(row: Sequence[Any], kinds: Sequence[str]) -> str:
    cells = [html.escape(format_cell(cell)) for cell in row]
    first = f'<th scope="row"{kinds[0]}>{cells[0]}</th>'
    rest = zip(cells[1:], kinds[1:], strict=True)
    return first + "".join(f"<td{kind}>{cell}</td>" for cell, kind in rest)


def format_cell(cell: Any) -> str:
    """A cell as text: four digits, thousands separated, a true minus sign, a dash for nothing."""
    cell = _plain(cell)
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if not _is_number(cell):
        return str(cell)
    number = float(cell)
    if np.isnan(number):
        return "–"
    return _format_number(cell, number).replace("-", "−").replace("inf", "∞")


def _format_number(cell: Any, number: float) -> str:
    if isinstance(cell, Integral) or np.isinf(number):
        return f"{cell:,}"
    size = abs(number)
    if size and not 1e-3 <= size < 1e6:
        return f"{number:.2e}"
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    return f"{number:,.{decimals}f}"


def _is_number(cell: Any) -> bool:
    return isinstance(_plain(cell), Real) and not isinstance(_plain(cell), bool)


def _plain(cell: Any) -> Any:
    """Scalars of numpy and JAX, and arrays without axes, as the Python value that they hold."""
    return cell.item() if hasattr(cell, "item") and np.ndim(cell) == 0 else cell
