"""The README keeps its promises: its example runs as it stands, its names exist."""

import importlib
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
TABLE = README[README.index("## What there is") : README.index("## Where to go next")]


def python_blocks():
    return re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def rows():
    """(modules and functions of the first column, names of the second) of every row."""
    cells = re.findall(r"^\| (`stochwm.*?) \| (.*) \|$", TABLE, re.MULTILINE)
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in row) for row in cells]


def missing(homes, names):
    """Names that none of the modules has, nor a class in them."""
    modules = [importlib.import_module(home) for home in homes if home.startswith("stochwm")]
    owners = modules + [x for m in modules for x in vars(m).values() if isinstance(x, type)]
    wanted = [home for home in homes if not home.startswith("stochwm")]
    wanted += [part.removesuffix("()") for name in names for part in name.split("/")]
    owners.append(importlib.import_module("stochwm"))
    for name in wanted:
        if not any(hasattr(owner, name) for owner in owners) and not is_world(name):
            yield name


def is_world(name):
    import gymnasium

    return f"stochwm/{name}" in gymnasium.registry


def test_there_is_one_example_and_a_table():
    assert len(python_blocks()) == 1
    assert len(rows()) >= 7


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][0])
def test_names_of_the_table_exist(row):
    importlib.import_module("stochwm.envs")
    assert list(missing(*row)) == []


def test_names_that_do_not_exist_are_found():
    assert list(missing(["stochwm.models", "imagine"], ["Markov", "Semimarkov", "sample/smaple"]))


@pytest.mark.slow
def test_the_example_runs(capsys):
    names = {}
    exec(compile(python_blocks()[0], "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "imagined states: (1000, 20, 2)" in printed
    assert re.search(r"^nll +1 ", printed, re.MULTILINE)
    assert re.search(r"^energy +20 ", printed, re.MULTILINE)
    assert names["trajectory"].state.shape == (1000, 20, 2)
