"""Particles and members spread over devices: the same numbers whatever the layout.

To the bit where each future or member is worked out by itself; up to rounding where a CPU may sum
over members in another order.

JAX sees one CPU as several devices only from its start, so these tests run a script in a process of
their own and read what it printed.
"""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm import use_host_devices
from stochwm._devices import in_chunks

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "jax-tests" / "devices"

HEAD = """
import json, sys
import equinox as eqx, jax, jax.numpy as jnp, numpy as np
import stochwm
assert stochwm.use_host_devices(8) == 8
from stochwm import imagine_moment_matched, imagine_ts1, imagine_tsinf
from stochwm.models import Markov
from stochwm.transitions import Ensemble, MixtureDensity

def numbers(tree):
    return np.concatenate([np.ravel(np.asarray(x, float)) for x in jax.tree.leaves(tree)]).tolist()

def make(key):
    return MixtureDensity(3, 1, num_components=2, width=16, depth=1, key=key)

MODEL = Markov(Ensemble(make, 3, key=jax.random.key(0)))
policy = lambda s, *, key: jnp.tanh(s[:1] + jax.random.normal(key, (1,)))
"""

LAYOUTS = """
from jax.sharding import Mesh
mesh = Mesh(np.asarray(jax.devices()[:6]).reshape(2, 3), ("a", "b"))
states = jax.random.normal(jax.random.key(1), (403, 3))  # a multiple of nothing here
for way in (imagine_ts1, imagine_tsinf, imagine_moment_matched):
    for layout in ({}, {"chunk": 9}, {"devices": mesh}, {"devices": 2, "chunk": 90}):
        run = eqx.filter_jit(way)
        result = run(MODEL, policy, states, key=jax.random.key(2), length=3, **layout)
        assert result[1].state.shape == (403, 3, 3)
        print(json.dumps([way.__name__, str(layout), numbers(result)]))
"""


def optimised():
    """The environment without the flag that lets the other tests compile quickly."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def run_script(text):
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=optimised() | {"JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_futures_are_the_same_on_any_number_of_devices():
    found = {}
    for way, layout, values in run_script(HEAD + LAYOUTS):
        found.setdefault(way, {})[layout] = np.asarray(values)
    assert [len(layouts) for layouts in found.values()] == [4, 4, 4]
    for way, layouts in found.items():
        # Moments are taken over members, which some CPUs sum in another order.
        tolerance = 1e-5 if way == "imagine_moment_matched" else 0.0
        first, *others = layouts.values()
        for other in others:
            np.testing.assert_allclose(other, first, rtol=tolerance, atol=tolerance)
    ways = [next(iter(layouts.values())) for layouts in found.values()]
    assert all(np.abs(a - b).max() > 0.1 for a, b in itertools.combinations(ways, 2))


def test_the_number_of_host_devices_is_checked_and_cannot_change_later():
    with pytest.raises(ValueError, match="number must be at least 1 device, but is 0"):
        use_host_devices(0)
    there = jax.local_device_count("cpu")  # JAX runs from here on
    assert use_host_devices(there + 1) == there


FIT = """
from stochwm.data import Transitions
from stochwm.training import fit

rng = np.random.default_rng(0)
state, change, action = (rng.normal(size=(200, n)).astype("float32") for n in (3, 3, 1))
zeros = np.zeros(200, "float32")
DATA = Transitions(state, action, zeros, zeros + 1, state + 0.1 * change, np.zeros(200, int))

def fitted(devices):
    options = {"steps": 20, "evaluate_every": 10, "batch_size": 32, "progress": False}
    key = jax.random.key(4)
    result = fit(MODEL.kernel, DATA, key=key, validation=DATA, devices=devices, **options)
    return numbers(eqx.filter(result.model, eqx.is_array)), result.history
"""


def test_members_are_the_same_on_any_number_of_devices():
    layouts = "for devices in (None, 2, 8):\n    print(json.dumps(fitted(devices)))"
    (first, history), *others = run_script(HEAD + FIT + layouts)
    assert len(others) == 2
    for values, rows in others:
        np.testing.assert_allclose(values, first, rtol=1e-5, atol=1e-6)
        assert len(rows) == len(history)
        for row, expected in zip(rows, history, strict=True):
            assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)


RANK = """
import jax
options = {"initialization_timeout": 120, "heartbeat_timeout_seconds": 10}
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]), **options)
"""

WORK = """
assert jax.device_count() == 4 and jax.local_device_count() == 2
states = np.asarray(jax.device_get(jax.random.normal(jax.random.key(1), (48, 3))))
run = eqx.filter_jit(imagine_tsinf)
options = {"key": jax.random.key(2), "length": 3}
alone = np.asarray(run(MODEL, policy, states, **options)[1].state)
states = np.asarray(states)
together = run(MODEL, policy, states, **options, devices=4)[1].state
equal = [np.array_equal(alone[shard.index], shard.data) for shard in together.addressable_shards]
print(json.dumps([equal, fitted(None)[0] == fitted(4)[0]]))
"""


def start_ranks(text, *more):
    """Two processes of two devices each that find each other over loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    text = HEAD.replace("(8) == 8", "(2) == 4") + FIT + text
    text = text.replace("assert stochwm.use_host_devices(2) == 4\n", "")
    text = "import sys, jax\njax.config.update('jax_num_cpu_devices', 2)\n" + RANK + text
    return [
        subprocess.Popen(
            [sys.executable, "-c", text, address, str(rank), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=optimised() | {"JAX_COMPILATION_CACHE_DIR": str(CACHE)},
        )
        for rank in range(2)
    ]


def outcomes(ranks):
    """Exit code, output and errors of each rank."""
    try:
        outputs = [rank.communicate(timeout=600) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, *output) for rank, output in zip(ranks, outputs, strict=True)]


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_share_the_work():
    for code, out, err in outcomes(start_ranks(WORK)):
        assert code == 0, err
        assert json.loads(out.splitlines()[-1]) == [[True, True], True]


DIE = """
import os, signal

def log(row):
    print(json.dumps(row["step"]), flush=True)
    if sys.argv[4] == "die" and jax.process_index() == 1 and row["step"] == 15:
        os.kill(os.getpid(), signal.SIGKILL)

options = {"steps": 30, "evaluate_every": 5, "batch_size": 32, "progress": False}
options |= {"key": jax.random.key(4), "log": log}
result = fit(MODEL.kernel, DATA, devices=4, checkpoint=sys.argv[3], **options)
print(json.dumps(numbers(eqx.filter(result.model, eqx.is_array))))
if sys.argv[4] == "compare":
    options["log"] = None
    alone = fit(MODEL.kernel, DATA, **options)
    print(json.dumps(numbers(eqx.filter(alone.model, eqx.is_array))))
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_killed_rank_ends_the_other_and_both_resume(tmp_path):
    (code, _, err), (killed, *_) = outcomes(start_ranks(DIE, str(tmp_path), "die"))
    assert killed == -signal.SIGKILL
    assert code != 0, err
    for code, out, err in outcomes(start_ranks(DIE, str(tmp_path), "compare")):
        assert code == 0, err
        *lines, resumed, alone = out.splitlines()
        assert resumed == alone
        # It went on behind step 15, and did not start again; Gloo prints lines of its own.
        assert [line for line in lines if line.isdigit()] == ["20", "25", "30"]


def test_chunks_of_few_rows_are_as_many_as_their_rounded_size_asks_for():
    """50 rows, 16 at a time where one is asked for."""
    run = jax.make_jaxpr(lambda rows: in_chunks(lambda some: some + 1, rows, 1))(jnp.zeros(50))
    lengths = [e.params["length"] for e in run.eqns if e.primitive.name == "scan"]
    assert lengths == [4]
