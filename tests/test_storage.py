"""Checkpoints: exact round trips, and no way to load anything else."""

import errno
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stochwm import _storage as storage
from stochwm._storage import StorageError

TREE = {
    "a": jnp.arange(3, dtype="f4"),
    "b": [jnp.int32(7), np.arange(4.0)],
    "rate": 0.1,
    "on": True,
}


def assert_equal(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert type(x) is type(y)
        if hasattr(x, "dtype"):
            assert x.dtype == y.dtype
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                x, y = jax.random.key_data(x), jax.random.key_data(y)
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        else:
            assert x == y or x != x


def edit_manifest(path, **changes):
    """Change a manifest and make its checksum right again, as a forger would."""
    file = path / "manifest.json"
    body = json.loads(file.read_text())
    del body["checksum"]
    body.update(changes)
    text = json.dumps(body, sort_keys=True)
    body["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(body))


def test_round_trip_is_exact(tmp_path):
    model = eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(0))
    weights = eqx.filter(model, eqx.is_array)
    tree = {
        "model": model,
        "optimiser": optax.adamw(optax.linear_schedule(1e-2, 0.0, 9)).init(weights),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 2),
        "half": jnp.array([1.5, -jnp.inf], jnp.bfloat16),
        "complex": np.array([1 + 2j], np.complex64),
        "none": np.zeros((0, 3)),
        "strided": np.arange(12.0).reshape(3, 4).T[::2],
        "bytes": np.arange(3, dtype=">i4"),
        "scalar": np.float32(3.5),
        "numbers": (0.1, float("nan"), float("inf"), 2**70, -1, False),
        "name": "not stored",
    }
    storage.save_tree(tmp_path / "x", tree, {"best": np.float32(0.5), "list": [1, None]})
    loaded = storage.load_tree(tmp_path / "x", tree)
    native = {**tree, "bytes": tree["bytes"].astype("=i4")}
    assert_equal(loaded, native)
    assert storage.load_metadata(tmp_path / "x") == {"best": 0.5, "list": [1, None]}
    np.testing.assert_array_equal(loaded["strided"], tree["strided"])
    assert loaded["strided"].flags.writeable


def test_like_may_be_shapes_only(tmp_path):
    def make(seed):
        return eqx.nn.Linear(2, 3, key=jax.random.key(seed)), jax.random.key(seed)

    storage.save_tree(tmp_path / "x", make(5))
    assert_equal(storage.load_tree(tmp_path / "x", eqx.filter_eval_shape(make, 0)), make(5))


class Scaled(eqx.Module):
    weight: jax.Array
    activation: Any
    smallest: float = eqx.field(static=True)
    kinds: tuple[Any, ...] = eqx.field(static=True)


def scaled(activation=jax.nn.relu, smallest=1e-3, kinds=(1, "a", eqx.nn.Linear)):
    return {"part": [Scaled(jnp.ones(2), activation, smallest, kinds)]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"activation": jax.nn.tanh}, "activation = relu, but `like` has tanh"),
        ({"smallest": 0.5}, "smallest = 0.001, but `like` has 0.5"),
        ({"smallest": None}, "smallest = 0.001, but `like` has None"),
        ({"kinds": (1, "b", eqx.nn.Linear)}, "kinds = (1, 'a', Linear), but"),
        ({"kinds": (1, "a", eqx.nn.MLP)}, "kinds = (1, 'a', Linear), but"),
    ],
)
def test_a_tree_of_other_settings_is_refused(tmp_path, change, named):
    storage.save_tree(tmp_path / "x", scaled())
    assert_equal(storage.load_tree(tmp_path / "x", scaled()), scaled())
    with pytest.raises(StorageError, match=re.escape("['part'][0]." + named)):
        storage.load_tree(tmp_path / "x", scaled(**change))


def test_settings_that_differ_late_are_told_apart(tmp_path):
    """Only the beginning of a long one is written down."""
    storage.save_tree(tmp_path / "x", scaled(kinds=(300 * "x" + "a",)))
    storage.load_tree(tmp_path / "x", scaled(kinds=(300 * "x" + "a",)))
    with pytest.raises(StorageError, match="kinds = "):
        storage.load_tree(tmp_path / "x", scaled(kinds=(300 * "x" + "b",)))


def test_what_only_one_side_knows_of_settings_is_passed(tmp_path):
    """Files of before settings were saved, and settings that a later version adds."""
    storage.save_tree(tmp_path / "x", scaled())
    file = tmp_path / "x" / "manifest.json"
    kept = json.loads(file.read_text())["statics"]
    edit_manifest(tmp_path / "x", statics={name: kept[name] for name in sorted(kept)[:1]})
    storage.load_tree(tmp_path / "x", scaled(smallest=0.5))
    body = json.loads(file.read_text())
    del body["statics"]
    file.write_text(json.dumps(body))
    edit_manifest(tmp_path / "x")
    storage.load_tree(tmp_path / "x", scaled(jax.nn.tanh, 0.5))
    edit_manifest(tmp_path / "x", statics=[])
    with pytest.raises(StorageError, match="altered or damaged"):
        storage.load_tree(tmp_path / "x", scaled())


@pytest.mark.parametrize("tree", [{}, jnp.ones(2), 3])
def test_degenerate_trees(tmp_path, tree):
    storage.save_tree(tmp_path / "x", tree)
    assert_equal(storage.load_tree(tmp_path / "x", tree), tree)


def flip_bit(path):
    blob = bytearray((path / "arrays.safetensors").read_bytes())
    blob[-3] ^= 1
    (path / "arrays.safetensors").write_bytes(blob)


def flip_bit_in_manifest(path):
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"0.1"', '"0.2"'))


def truncate(path):
    blob = (path / "arrays.safetensors").read_bytes()
    (path / "arrays.safetensors").write_bytes(blob[:-5])


def append(path):
    with (path / "arrays.safetensors").open("ab") as stream:
        stream.write(b"more")


def truncate_manifest(path):
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text[:50])


def pickle_inside(path):
    (path / "arrays.safetensors").write_bytes(pickle.dumps({"a": 1}))


def newer_format(path):
    edit_manifest(path, format=99, library="9.9")


def other_program(path):
    (path / "manifest.json").write_text('{"name": "an app"}')


def no_manifest(path):
    (path / "manifest.json").unlink()


def no_arrays(path):
    (path / "arrays.safetensors").unlink()


def forged_header(path):
    """A checksum that fits a file which declares a tensor of 1 TiB."""
    header = json.dumps(
        {"['a']": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}
    ).encode()
    blob = len(header).to_bytes(8, "little") + header
    (path / "arrays.safetensors").write_bytes(blob)
    digest = hashlib.sha256(blob).hexdigest()
    edit_manifest(path, arrays_bytes=len(blob), arrays_sha256=digest)


def forged_scalars(path):
    edit_manifest(path, scalars={"['rate']": ["float", "1e"], "['on']": ["bool", "True"]})


def forged_views(path):
    edit_manifest(path, views={"['a']": "nonsense"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_bit, "checksum mismatch"),
        (flip_bit_in_manifest, "checksum mismatch"),
        (truncate, "truncated"),
        (append, "at most"),
        (truncate_manifest, "not JSON"),
        (pickle_inside, "truncated"),
        (newer_format, r"format 99, written by stochwm 9\.9"),
        (other_program, "not written by stochwm"),
        (no_manifest, "cannot be read"),
        (no_arrays, "cannot be read"),
        (forged_header, "not a readable safetensors file"),
        (forged_scalars, "contradicts itself"),
        (forged_views, "contradicts itself"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    path = tmp_path / "x"
    storage.save_tree(path, TREE)
    damage(path)
    with pytest.raises(StorageError, match=message):
        storage.load_tree(path, TREE)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({**TREE, "a": jnp.zeros(4, "f4")}, r"leaf \['a'\] .* shape \(3,\) .* expected \(4,\)"),
        ({**TREE, "a": jnp.zeros(3, jnp.int32)}, r"float32, expected \(3,\) and int32"),
        ({**TREE, "a": 1.0}, r"leaf \['a'\] in .* is array, expected float"),
        ({**TREE, "rate": 1}, "is float, expected int"),
        ({**TREE, "rate": jnp.ones(())}, "is float, expected array"),
        ({**TREE, "a": jax.random.key(0)}, "is an array, expected a PRNG key"),
        ({**TREE, "c": jnp.zeros(1)}, r"missing leaves \[\['c'\]\]"),
        (
            {"z": TREE["a"], **{k: TREE[k] for k in ("b", "rate", "on")}},
            r"missing leaves \[\['z'\]\], leaves that were not expected \[\['a'\]\]",
        ),
    ],
)
def test_tree_that_does_not_fit(tmp_path, like, message):
    storage.save_tree(tmp_path / "x", TREE)
    with pytest.raises(StorageError, match=message):
        storage.load_tree(tmp_path / "x", like)


def test_key_of_another_kind(tmp_path):
    storage.save_tree(tmp_path / "x", jax.random.key(0))
    with pytest.raises(StorageError, match="is a PRNG key"):
        storage.load_tree(tmp_path / "x", jax.random.key(0, impl="rbg"))
    with pytest.raises(StorageError, match="is a PRNG key, expected an array"):
        storage.load_tree(tmp_path / "x", jnp.zeros(2, jnp.uint32))


def test_nothing_or_a_file_at_the_path(tmp_path):
    with pytest.raises(StorageError, match="nothing at"):
        storage.load_tree(tmp_path / "x", TREE)
    (tmp_path / "x").write_bytes(pickle.dumps(1))
    with pytest.raises(StorageError, match="is a file"):
        storage.load_tree(tmp_path / "x", TREE)


@pytest.mark.parametrize("foreign", ["file", "folder"])
def test_saving_never_replaces_what_it_did_not_write(tmp_path, foreign):
    path = tmp_path / "x"
    mine = path if foreign == "file" else path / "thesis.txt"
    if foreign == "folder":
        path.mkdir()
    mine.write_text("mine")
    with pytest.raises(StorageError, match="left as it is"):
        storage.save_tree(path, TREE)
    assert mine.read_text() == "mine"
    assert os.listdir(tmp_path) == ["x"]


def test_what_cannot_be_stored(tmp_path):
    with pytest.raises(StorageError, match=r"leaf \['o'\] has dtype object"):
        storage.save_tree(tmp_path / "x", {"o": np.array([None])})
    with pytest.raises(StorageError, match="metadata must hold only"):
        storage.save_tree(tmp_path / "x", TREE, {"f": print})
    assert os.listdir(tmp_path) == []


def test_disk_full_leaves_the_old_tree(tmp_path, monkeypatch):
    path = tmp_path / "x"
    storage.save_tree(path, TREE)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            storage.save_tree(path, {**TREE, "a": TREE["a"] + 1})
    assert os.listdir(tmp_path) == ["x"]
    assert_equal(storage.load_tree(path, TREE), TREE)


def test_crash_between_the_renames(tmp_path):
    """The process dies right after the n-th rename, so that no clean-up code runs."""
    newer = {**TREE, "a": TREE["a"] + 1}
    for after in (1, 2, 3):
        storage.save_tree(tmp_path / f"x{after}", TREE)
    program = f"""
        import os, numpy as np
        from stochwm._storage import save_tree
        tree = {{"a": np.arange(3.0, dtype=np.float32) + 1,
                "b": [np.array(7, np.int32), np.arange(4.0)], "rate": 0.1, "on": True}}
        rename = os.rename
        for after in (1, 2, 3):
            calls = []
            def dying(*names):
                rename(*names)
                calls.append(names)
                if len(calls) == after:
                    os._exit(9)
            child = os.fork()
            if child == 0:
                os.rename = dying
                save_tree({str(tmp_path)!r} + f"/x{{after}}", tree)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    """
    assert run(program).wait() == 0
    for after in (1, 2, 3):
        path = tmp_path / f"x{after}"
        assert path.exists() == (after > 1)
        assert_equal(storage.load_tree(path, TREE), TREE if after == 1 else newer)
        storage.save_tree(path, newer)
        assert_equal(storage.load_tree(path, TREE), newer)
    assert sorted(os.listdir(tmp_path)) == ["x1", "x2", "x3"]


def run(program, **options):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], **options)


def test_kill_at_random_moments(tmp_path):
    """Each killed writer leaves a complete latest step, and no acknowledged save is lost.

    One process imports the library and forks the writers: no import per kill. STOCHWM_KILLS=100
    kills as often.
    """
    program = f"""
        import itertools, os, signal, sys, time
        import numpy as np
        from stochwm._storage import latest_step, load_step, load_tree, save_step, save_tree
        steps, one = {str(tmp_path / "s")!r}, {str(tmp_path / "one")!r}

        def write(pipe, start):
            for step in itertools.count(start):
                tree = {{"x": np.full(200_000, step), "step": step}}
                save_tree(one, tree)
                save_step(steps, step, tree, keep=2)
                os.write(pipe, step.to_bytes(8, "little"))

        rng, reached = np.random.default_rng(0), -1
        like = {{"x": np.zeros(200_000, int), "step": 0}}
        for _ in range({os.environ.get("STOCHWM_KILLS", "20")}):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                write(writer, reached + 1)
            os.close(writer)
            first = os.read(reader, 8)
            time.sleep(rng.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            rest = first + b"".join(iter(lambda: os.read(reader, 4096), b""))
            acknowledged, latest = int.from_bytes(rest[-8:], "little"), latest_step(steps)
            assert latest in (acknowledged, acknowledged + 1), (latest, acknowledged)
            for loaded in (load_step(steps, like), load_tree(one, like)):
                assert loaded["step"] in (latest, latest + 1), (loaded["step"], latest)
                assert (loaded["x"] == loaded["step"]).all()
            reached = latest
        save_step(steps, reached + 1, like)
        save_tree(one, like)
    """
    assert run(program).wait() == 0
    left = [*os.listdir(tmp_path), *os.listdir(tmp_path / "s")]
    assert [name for name in left if name.startswith(".")] == []
    assert sorted(os.listdir(tmp_path)) == ["one", "s"]


def test_leftovers_are_removed_but_not_those_of_neighbours(tmp_path):
    mine, neighbour = f".tmp-x-{'0' * 32}", f".tmp-x-y-{'0' * 32}"
    for name in (mine, neighbour, ".tmp-x-notes"):
        (tmp_path / name).mkdir()
    storage.save_tree(tmp_path / "x", TREE)
    assert set(os.listdir(tmp_path)) == {"x", neighbour, ".tmp-x-notes"}


def test_steps_are_kept_and_pruned(tmp_path):
    assert storage.latest_step(tmp_path / "s") is None
    with pytest.raises(
        StorageError, match=re.escape("holds no checkpoint; the steps there are: []")
    ):
        storage.load_step(tmp_path / "s", TREE)
    for step in (3, 20, 100, 7):
        storage.save_step(tmp_path / "s", step, {"x": np.array(step)}, {"step": step}, keep=2)
    assert sorted(os.listdir(tmp_path / "s")) == [f"step_{i:012d}" for i in (7, 20, 100)]
    like = {"x": np.array(0)}
    assert storage.latest_step(tmp_path / "s") == 100
    assert storage.load_step(tmp_path / "s", like)["x"] == 100
    assert storage.load_step(tmp_path / "s", like, step=7)["x"] == 7
    assert storage.load_step_metadata(tmp_path / "s") == {"step": 100}
    with pytest.raises(StorageError, match=re.escape("no checkpoint 3; the steps there are: [7,")):
        storage.load_step(tmp_path / "s", like, step=3)
    flip_bit(tmp_path / "s" / f"step_{100:012d}")
    with pytest.raises(StorageError, match=re.escape("checksum mismatch") + ".*20, 100"):
        storage.load_step(tmp_path / "s", like)
    assert storage.load_step(tmp_path / "s", like, step=20)["x"] == 20


@pytest.mark.parametrize(("step", "keep"), [(-1, 3), (10**12, 3), (True, 3), (1, 0)])
def test_bad_step_or_keep(tmp_path, step, keep):
    with pytest.raises(ValueError, match="must be"):
        storage.save_step(tmp_path / "s", step, TREE, keep=keep)
