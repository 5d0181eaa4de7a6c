"""Checkpoints: an interrupted run ends with the bits of an uninterrupted one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

from stochwm._storage import StorageError, latest_step
from stochwm.training import fit
from tests.cases_models import line_data, same_bits, three_lines

ROOT = Path(__file__).parent.parent
KEY = jax.random.key(7)


class Interrupted(Exception):
    pass


def run(folder=None, *, rows=None, key=KEY, data=None, held_out=1, **options):
    """40 steps in 4 chunks; interrupted after `rows` of them."""
    seen = []

    def log(row):
        seen.append(row)
        if len(seen) == rows:
            raise Interrupted

    options = {"steps": 40, "batch_size": 16, "evaluate_every": 10, **options}
    data = line_data() if data is None else data
    optimizer = optax.adamw(optax.cosine_decay_schedule(0.03, 40))
    return fit(
        three_lines(),
        data,
        None,
        optimizer,
        key=key,
        validation=line_data(64, seed=held_out),
        checkpoint=folder,
        log=log,
        progress=False,
        **options,
    )


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


def assert_same_fit(one, other):
    assert same_bits(one.model, other.model)
    assert one.history == other.history
    assert one.steps == other.steps


def test_a_checkpoint_changes_nothing(uninterrupted, tmp_path):
    assert_same_fit(run(tmp_path), uninterrupted)
    assert latest_step(tmp_path) == 40


@pytest.mark.parametrize("rows", [1, 3])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(uninterrupted, tmp_path, rows):
    with pytest.raises(Interrupted):
        run(tmp_path, rows=rows)
    assert latest_step(tmp_path) == 10 * rows
    assert_same_fit(run(tmp_path), uninterrupted)


def test_half_the_steps_first_and_the_others_later(uninterrupted, tmp_path):
    assert run(tmp_path, steps=20).steps == 20
    assert_same_fit(run(tmp_path), uninterrupted)


def test_more_steps_after_an_end_between_evaluations(tmp_path):
    """Evaluated where an uninterrupted fit is, and once more where the shorter one ended."""
    whole = run(patience=None)
    run(tmp_path, steps=25, patience=None)
    longer = run(tmp_path, patience=None)
    assert [row["step"] for row in longer.history] == [10, 20, 25, 30, 40]
    assert longer.history[-1]["validation_loss"] == whole.history[-1]["validation_loss"]


def test_fewer_steps_than_were_done_are_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match=r"steps is 20, but the checkpoint .* trained for 40"):
        run(tmp_path, steps=20)


def test_a_killed_process_is_resumed_to_the_bit(uninterrupted, tmp_path):
    code = (
        "import os, signal, sys, tests.test_training_resume as t\n"
        "class Kill(Exception):\n"
        "    def __init__(self): os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.Interrupted = Kill\n"
        "t.run(sys.argv[1], rows=2)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert killed.returncode == -signal.SIGKILL
    assert latest_step(tmp_path) == 20
    assert_same_fit(run(tmp_path), uninterrupted)


def test_a_finished_run_is_returned_as_it_is(uninterrupted, tmp_path):
    run(tmp_path)
    assert_same_fit(run(tmp_path, rows=1), uninterrupted)  # no row is logged, none interrupts


OTHERS = {
    "seed": {"key": jax.random.key(8)},
    "batch_size": {"batch_size": 8},
    "evaluate_every": {"evaluate_every": 5},
    "bootstrap": {"bootstrap": False},
    "data": {
        "data": eqx.tree_at(lambda d: d.next_state, line_data(), line_data(seed=9).next_state)
    },
    "validation": {"held_out": 2},
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_checkpoint_of_another_fit_is_refused(tmp_path, name):
    with pytest.raises(Interrupted):
        run(tmp_path, rows=1)
    with pytest.raises(StorageError, match="belongs to another fit.*another folder"):
        run(tmp_path, **OTHERS[name])
    assert latest_step(tmp_path) == 10


def test_a_damaged_checkpoint_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, rows=2)
    newest = sorted(tmp_path.iterdir())[-1]
    largest = max((f for f in newest.iterdir() if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-1] ^= 1
    largest.write_bytes(content)
    with pytest.raises(StorageError):
        run(tmp_path)


def test_best_parameters_survive_the_interruption(tmp_path):
    """The best evaluation may lie before it: a resumed run must not forget."""
    target = eqx.tree_at(lambda d: d.next_state, line_data(), 9 * np.ones((256, 1), "float32"))
    whole = run(data=target)
    losses = [row["validation_loss"] for row in whole.history]
    assert int(np.argmin(losses)) < 2
    with pytest.raises(Interrupted):
        run(tmp_path, rows=3, data=target)
    assert_same_fit(run(tmp_path, data=target), whole)
