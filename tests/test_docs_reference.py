"""Every public name stands in the reference."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stochwm

PAGES = {
    page.stem: page.read_text("utf-8")
    for page in (Path(__file__).parent.parent / "docs" / "api").glob("*.md")
}
FLOORS = [m.name for m in pkgutil.iter_modules(stochwm.__path__) if m.ispkg and m.name[0] != "_"]


def lacking(name: str, page: str) -> Iterator[str]:
    """Public names of a module that its page does not show.

    `automodule` finds classes and functions that were imported if it is told to, and never data,
    whose text stands in the module that they came from.
    """
    module = importlib.import_module(name)
    source = Path(inspect.getfile(module)).read_text("utf-8")
    names = re.findall(r"^from \S+ import \w+ as (\w+)$", source, re.M)
    directive = rf"automodule:: {re.escape(name)}\n +:imported-members:"
    found = re.search(directive, page)
    written = set(re.findall(rf":: {re.escape(name)}\.(\w+)", page))
    written |= set(re.findall(rf"py:data:: (\w+)\n +:module: {re.escape(name)}\n", page))
    for public in names:
        thing = getattr(module, public)
        if public not in written and not (found and is_documented(thing)):
            yield public


def is_documented(thing: Any) -> bool:
    return inspect.isclass(thing) or inspect.isfunction(inspect.unwrap(thing))


@pytest.mark.parametrize("floor", FLOORS)
def test_every_public_name_of_a_floor_is_on_its_page(floor):
    assert list(lacking(f"stochwm.{floor}", PAGES[floor])) == []


def test_every_public_name_of_the_package_is_on_some_page():
    assert list(lacking("stochwm", "\n".join(PAGES.values()))) == []


def test_what_a_page_lacks_is_found():
    page = ".. automodule:: stochwm.agents\n   :imported-members:\n"
    assert list(lacking("stochwm.agents", page)) == ["PRESETS"]
    assert "check_transition" in lacking("stochwm.testing", ".. automodule:: stochwm.testing\n")
