"""The examples of the pages in docs/api run as they stand, one after the other."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parent.parent / "docs" / "api").glob("*.md"))


def examples(page):
    """The Python of a page in one piece."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S))


WITH_EXAMPLES = [page for page in PAGES if examples(page)]


def test_there_are_examples():
    assert len(WITH_EXAMPLES) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what they write goes there
    exec(compile(examples(page), page.name, "exec"), {"__name__": page.stem})
