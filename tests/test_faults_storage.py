"""Hostile and unlucky saves: refused with bounded memory, and a full disk harms nothing.

One process of its own runs all cases, because a process's highest memory never falls again.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from stochwm import _storage as storage
from stochwm._storage import StorageError
from stochwm.training import JsonlLogger, fit
from tests.cases_models import Line, line_data, same_bits
from tests.test_storage import edit_manifest

ROOT = Path(__file__).parent.parent
MIB = 2**20

BOMBS = """
    import hashlib, json, os, resource, sys
    from pathlib import Path
    import numpy as np
    from stochwm._storage import StorageError, load_metadata, load_tree, save_tree
    from tests.test_storage import edit_manifest

    root, like = Path(sys.argv[1]), {"a": np.zeros(3, np.float32)}

    def arrays(path, blob, size=None):
        (path / "arrays.safetensors").write_bytes(blob)
        if size is not None:
            os.truncate(path / "arrays.safetensors", size)  # a hole: takes no disk
        digest = hashlib.sha256(blob).hexdigest()
        edit_manifest(path, arrays_bytes=size or len(blob), arrays_sha256=digest)

    def header(path, entries, size=None, data=b""):
        text = json.dumps(entries).encode()
        arrays(path, len(text).to_bytes(8, "little") + text + data, size)

    def replaced(path, name, device):
        (path / name).unlink()
        (path / name).symlink_to(device)

    def entry(size):
        return {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}

    def manifest(path, text):
        (path / "manifest.json").write_text(text)

    BOMBS = {
        "a header of 2**60 bytes": lambda p: arrays(p, (2**60).to_bytes(8, "little")),
        "a tensor of 1 TiB": lambda p: header(p, {"['a']": entry(2**40)}),
        "a file of 64 GiB": lambda p: header(p, {"['a']": entry(2**36)}, 2**36),
        "a manifest of 64 GiB": lambda p: os.truncate(p / "manifest.json", 2**36),
        "arrays without an end": lambda p: replaced(p, "arrays.safetensors", "/dev/zero"),
        "a manifest without an end": lambda p: replaced(p, "manifest.json", "/dev/zero"),
        "a manifest nested without an end": lambda p: manifest(p, "[" * 2**22),
        "a manifest of lists": lambda p: manifest(p, "[" + "[]," * 5_000_000 + "[]]"),
        "a name that climbs": lambda p: header(p, {"../../climbed": entry(12)}, data=bytes(12)),
        "an absolute name": lambda p: header(p, {str(root / "up"): entry(12)}, data=bytes(12)),
    }
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    report = {}
    for i, (name, damage) in enumerate(BOMBS.items()):
        path = root / "saves" / str(i)
        save_tree(path, like, {"note": "x"})
        damage(path)
        before = peak()
        try:
            load_tree(path, like)
            report[name] = ["loaded", 0]
        except StorageError as error:
            report[name] = [str(error), peak() - before]
    print(json.dumps(report))
"""


def run(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_bombs_are_refused_in_bounded_memory(tmp_path):
    report = run(BOMBS, tmp_path)
    assert len(report) == 10
    for name, (message, growth) in report.items():
        assert str(tmp_path / "saves") in message, f"{name}: {message}"
        assert growth < 600, f"{name}: {growth} MiB"  # JSON of 16 MiB, at its worst
    for name in ("a name that climbs", "an absolute name"):
        assert "leaves that were not expected" in report[name][0]
    assert os.listdir(tmp_path) == ["saves"]


def test_names_are_never_paths(tmp_path):
    """A forged manifest with right checksums, naming files elsewhere in every field of names."""
    path, climbed = tmp_path / "in" / "x", tmp_path / "climbed"
    for name in ("../../climbed", str(climbed)):
        storage.save_tree(path, {"a": np.zeros(3)})
        edit_manifest(
            path,
            views={name: "float16"},
            keys={name: "threefry2x32"},
            scalars={name: ["float", "1.0"]},
        )
        with pytest.raises(StorageError, match="leaves that were not expected"):
            storage.load_tree(path, {"a": np.zeros(3)})
    assert not climbed.exists()


def test_a_manifest_that_could_not_be_read_again_is_not_written(tmp_path):
    storage.save_tree(tmp_path / "x", {"a": np.zeros(3)})
    with pytest.raises(StorageError, match="store large things as arrays"):
        storage.save_tree(tmp_path / "x", {"a": np.ones(3)}, {"text": "x" * 17 * MIB})
    assert os.listdir(tmp_path) == ["x"]
    assert storage.load_tree(tmp_path / "x", {"a": np.ones(3)})["a"][0] == 0


FULL_DISK = """
    import errno, json, os, resource, sys
    import numpy as np
    from stochwm._storage import latest_step, load_step, load_tree, save_step, save_tree
    root = sys.argv[1]
    one, steps = os.path.join(root, "one"), os.path.join(root, "steps")
    tree = lambda value: {"x": np.full(500_000, value)}  # 4 MB
    save_tree(one, tree(1))
    save_step(steps, 1, tree(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    errors = []
    for save in (lambda: save_tree(one, tree(2)), lambda: save_step(steps, 2, tree(2))):
        try:
            save()
        except OSError as error:
            errors.append(errno.errorcode[error.errno])
    left = sorted(os.listdir(root) + os.listdir(steps))
    good = [bool((t["x"] == 1).all()) for t in (load_tree(one, tree(0)), load_step(steps, tree(0)))]
    print(json.dumps([errors, left, good, latest_step(steps)]))
"""


def test_a_write_that_fails_midway_leaves_the_old_save(tmp_path):
    """The system stops each file at half its size, as a full disk does."""
    errors, left, good, latest = run(FULL_DISK, tmp_path)
    assert errors == ["EFBIG", "EFBIG"]
    assert left == ["one", f"step_{1:012d}", "steps"]
    assert good == [True, True]
    assert latest == 1


def test_training_goes_on_from_the_checkpoint_before_the_disk_was_full(tmp_path, monkeypatch):
    def train(folder=None):
        return fit(
            Line(jax.random.key(1)), line_data(32), None, optax.adam(0.01), key=jax.random.key(0),
            steps=9, batch_size=8, evaluate_every=3, checkpoint=folder, progress=False,
        )  # fmt: skip

    flushes, fsync = [], os.fsync

    def full(handle):
        flushes.append(handle)
        if len(flushes) > 6:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path)
    assert os.listdir(tmp_path) == [f"step_{3:012d}"]
    resumed, whole = train(tmp_path), train()
    assert same_bits(resumed.model, whole.model)
    assert resumed.history == whole.history


def test_a_log_that_ends_in_half_a_row_is_mended(tmp_path):
    log = JsonlLogger(tmp_path / "log.jsonl")
    log({"step": 1})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    log({"step": 3})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 3]
