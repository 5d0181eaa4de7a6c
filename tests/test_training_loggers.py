"""Where metrics go."""

import json
import sys

import pytest

from stochwm.training import JsonlLogger, TensorBoardLogger

ROWS = [{"step": 10, "loss": 1.5}, {"step": 20, "loss": 0.25, "validation_loss": 0.5}]


def test_jsonl_holds_one_row_a_line(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    log = JsonlLogger(path)
    for number, row in enumerate(ROWS, start=1):
        log(row)
        assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS[:number]


def test_jsonl_adds_to_what_is_there(tmp_path):
    path = tmp_path / "metrics.jsonl"
    JsonlLogger(path)(ROWS[0])
    JsonlLogger(path)(ROWS[1])
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


@pytest.mark.extra
def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboardX")
    log = TensorBoardLogger(tmp_path)
    for row in ROWS:
        log(row)
    log.close()
    (events,) = tmp_path.iterdir()
    content = events.read_bytes()
    assert content.count(b"validation_loss") == 1
    assert content.count(b"loss") == 3
    assert b"step" not in content


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"tensorboardX: pip install 'stochwm\[tensorboard\]'"):
        TensorBoardLogger(tmp_path)
