"""The report as one page that needs nothing else: no network, no script, no second file."""

import base64
import contextlib
import html
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import style
from .page import CSS
from .tables import Table, render_table

if TYPE_CHECKING:
    import matplotlib.figure

_DPI = 110
_MANY_SECTIONS = 3


@dataclass(frozen=True)
class Section:
    """A part of a page: heading, paragraphs, then the table, then the figures.

    Attributes:
        title: the heading, plain text.
        text: paragraphs of plain text; markup in it is shown, not obeyed.
        figures: pairs of a figure and its caption (plain text).
        table: a table, or None.
    """

    title: str
    text: tuple[str, ...] = ()
    figures: tuple[tuple["matplotlib.figure.Figure", str], ...] = ()
    table: Table | None = None


def write_html(
    path: str | os.PathLike, *, title: str, subtitle: str, sections: Sequence[Section]
) -> Path:
    """Write one self-contained page, whole or not at all.

    Pictures are inside the page; it loads nothing, runs nothing, and follows the reader's choice of
    light or dark. A table of contents appears from four sections on.

    Args:
        path: of the file, replaced if present; its folder must exist.
        title, subtitle: plain text.
        sections: in order.

    Returns:
        the path.

    Raises:
        ValueError: there is no section or the folder does not exist
        ImportError: there are figures and matplotlib is missing.
    """
    path = Path(path)
    if not sections:
        raise ValueError("sections must hold at least one section, but it is empty.")
    if not path.parent.is_dir():
        raise ValueError(f"path must be in an existing folder, but {path.parent} is none.")
    body = "\n".join(_section(i, section) for i, section in enumerate(sections, 1))
    page = _PAGE.format(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        css=CSS,
        contents=_contents(sections) if len(sections) > _MANY_SECTIONS else "",
        body=body,
    )
    _replace(path, page.encode())
    return path


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{subtitle}</p>
</header>
{contents}
<main>
{body}
</main>
</body>
</html>
"""


def _contents(sections: Sequence[Section]) -> str:
    items = (
        f'<li><a href="#section-{i}">{html.escape(section.title)}</a></li>'
        for i, section in enumerate(sections, 1)
    )
    return f'<nav aria-label="Contents"><ol>{"".join(items)}</ol></nav>'


def _section(number: int, section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.text]
    if section.table is not None:
        parts.append(render_table(section.table))
    parts += [_figure(figure, caption) for figure, caption in section.figures]
    inside = "\n".join(parts)
    return f'<section id="section-{number}">\n{inside}\n</section>'


def _figure(figure: "matplotlib.figure.Figure", caption: str) -> str:
    picture = base64.b64encode(_png(figure)).decode()
    wide, high = (round(inches * _DPI) for inches in figure.get_size_inches())
    described = html.escape(str(figure.get_label()) or caption, quote=True)
    return (
        f'<figure><div class="scroll"><img src="data:image/png;base64,{picture}" '
        f'width="{wide}" height="{high}" style="--w:{wide}px" alt="{described}"></div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _png(figure: "matplotlib.figure.Figure") -> bytes:
    buffer = io.BytesIO()
    with style.house_style():
        # Without the note on the software, which holds an address and a version.
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _replace(path: Path, content: bytes) -> None:
    """Write beside the file and rename, so that a reader sees the old page or the new one."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files for their owner only; a report is there to be read.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
