"""The page stands alone, obeys no markup in its texts, and is written whole or not at all."""

import base64
import html.parser
import os
import re

import numpy as np
import pytest

from stochwm import report
from stochwm.report import Section, Table, tables

NASTY = "<script>alert('x')</script> & \"quoted\" {braces}"
VOID = {"meta", "img", "br", "link"}


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and texts, and complains about tags that do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def values(self, tag: str, key: str) -> list[str]:
        return [v for t, k, v in self.attributes if (t, k) == (tag, key)]


def write(folder, sections, title="Run", subtitle="of the Fork"):
    path = report.write_html(
        folder / "report.html", title=title, subtitle=subtitle, sections=sections
    )
    return path.read_text("utf-8")


def a_figure():
    pytest.importorskip("matplotlib")
    return report.learning_curves({"mixture": [{"step": s, "loss": 1.0 / s} for s in range(1, 9)]})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    table = Table(("model", "NLL"), (("mixture", -2.0), ("Gaussian", None)), caption=NASTY)
    sections = [
        Section("Curves", ("One.", NASTY), ((a_figure(), NASTY), (a_figure(), "again")), table),
        Section(NASTY, (NASTY,)),
        Section("Third"),
        Section("Fourth"),
    ]
    return write(tmp_path_factory.mktemp("page"), sections, title=NASTY, subtitle=NASTY)


def test_page_refers_to_nothing_outside(page):
    parsed = Page(page)
    sources = parsed.values("img", "src")
    assert len(sources) == 2
    bare = page
    for source in sources:
        assert source.startswith("data:image/png;base64,")
        bare = bare.replace(source, "")
        picture = base64.b64decode(source.split(",")[1], validate=True)
        assert picture.startswith(b"\x89PNG")
        assert b"http" not in picture
    for word in ("http", "//", "url(", "@import", "<script", "<link", "<iframe", "src=x"):
        assert word not in bare
    assert not {"script", "link", "iframe", "object", "form"} & set(parsed.tags)
    assert all(target.startswith("#") for target in parsed.values("a", "href"))


def test_page_shows_markup_in_texts_as_text(page):
    assert "<script" not in page
    words = "".join(Page(page).words)
    # Title twice, subtitle, contents, heading, two paragraphs, two captions.
    assert words.count("alert('x')") == 9
    assert NASTY in words


def test_page_is_for_everybody(page):
    parsed = Page(page)
    assert parsed.values("html", "lang") == ["en"]
    assert all("Learning curves" in alt for alt in parsed.values("img", "alt"))
    assert "width=device-width" in parsed.values("meta", "content")[0]
    assert "prefers-color-scheme: dark" in page
    assert {"header", "nav", "main", "section", "figure", "figcaption", "thead"} <= set(parsed.tags)
    assert parsed.values("th", "scope") == ["col", "col", "row", "row"]


def test_contents_from_four_sections_on(tmp_path, page):
    targets = [target[1:] for target in Page(page).values("a", "href")]
    assert targets == Page(page).values("section", "id")
    assert len(targets) == 4
    assert "<nav" not in write(tmp_path, [Section("a"), Section("b"), Section("c")])


def test_figure_of_another_maker_takes_its_caption_as_description(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(2, 1))
    text = write(tmp_path, [Section("a", figures=((figure, 'A "plain" one'),))])
    assert Page(text).values("img", "alt") == ['A "plain" one']


def test_pages_of_the_same_content_are_equal(tmp_path):
    sections = [Section("a", figures=((a_figure(), "curve"),))]
    assert write(tmp_path, sections) == write(tmp_path, sections)


def test_full_page_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"s{i}" for i in range(6)]
    cloud = rng.normal(size=(1000, 31, 6)).cumsum(axis=1)
    fan = report.fan_chart({"mixture": cloud, "Gaussian": -cloud}, cloud[:20], names=names)
    scatter = report.one_step_scatter({"mixture": cloud[:, 1], "real": cloud[:, 2]}, names=names)
    path = tmp_path / "report.html"
    section = Section("a", figures=((fan, "fan"), (scatter, "scatter"), (a_figure(), "curve")))
    report.write_html(path, title="t", subtitle="s", sections=[section])
    assert 50_000 < path.stat().st_size < 1_500_000


def test_page_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    write(tmp_path, [Section("old")])

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, [Section("new")])
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert "old" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (True, "yes"),
        (np.False_, "no"),
        ("a-b", "a-b"),
        (20000, "20,000"),
        (np.int64(-3), "−3"),
        (-2.07123, "−2.071"),
        (np.float32(0.5), "0.500"),
        (np.array(0.25), "0.250"),
        (0.0, "0.000"),
        (12.345, "12.35"),
        (123.45, "123.5"),
        (1234.5678, "1,235"),
        (0.000123, "1.23e−04"),
        (1.5e9, "1.50e+09"),
        (float("-inf"), "−∞"),
    ],
)
def test_cells_read_well(cell, text):
    assert tables.format_cell(cell) == text


def test_columns_of_numbers_are_aligned_right(tmp_path):
    table = Table(("model", "NLL", "note"), (("a", 1.0, "x"), ("b", None, 2)))
    text = write(tmp_path, [Section("a", table=table)])
    assert re.findall(r'<th scope="col"( class="number")?>', text) == ["", ' class="number"', ""]
    assert '<td class="number">–</td>' in text
    assert "<tbody></tbody>" in write(tmp_path, [Section("a", table=Table(("empty",), ()))])


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="sections must hold"):
        write(tmp_path, [])
    with pytest.raises(ValueError, match="path must be in an existing folder"):
        write(tmp_path / "nowhere", [Section("a")])
    with pytest.raises(ValueError, match="columns must hold"):
        Table((), ())
    with pytest.raises(ValueError, match=r"rows\[1\] must have 2 cells"):
        Table(("a", "b"), ((1, 2), (1,)))
