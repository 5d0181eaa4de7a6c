"""Particles and members spread over devices: the same bits whatever the layout.

JAX sees one CPU as several devices only from its start, so these tests run a script in a process of
their own and read what it printed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "jax-tests" / "devices"

HEAD = """
import json, sys
import equinox as eqx, jax, jax.numpy as jnp, numpy as np
import stochwm
assert stochwm.use_host_devices(8) == 8
from stochwm import imagine_moment_matched, imagine_particles, imagine_ts1, imagine_tsinf
from stochwm.models import Markov
from stochwm.transitions import Ensemble, Gaussian, MixtureDensity, Standardised, Standardiser

def digest(tree):
    import hashlib
    leaves = [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]
    return hashlib.sha256(b"".join(leaves)).hexdigest()

def make(key):
    return MixtureDensity(3, 1, num_components=2, width=16, depth=1, key=key)

MODEL = Markov(Ensemble(make, 3, key=jax.random.key(0)))
policy = lambda s, *, key: jnp.tanh(s[:1] + jax.random.normal(key, (1,)))
"""

LAYOUTS = """
from jax.sharding import Mesh
mesh = Mesh(np.asarray(jax.devices()[:6]).reshape(2, 3), ("a", "b"))
states = jax.random.normal(jax.random.key(1), (50, 3))  # a multiple of nothing here
for way in (imagine_ts1, imagine_tsinf, imagine_moment_matched):
    for layout in ({}, {"devices": 8}, {"devices": mesh}, {"devices": 2, "chunk": 9}):
        run = eqx.filter_jit(way)
        result = run(MODEL, policy, states, key=jax.random.key(2), length=3, **layout)
        assert result[1].state.shape == (50, 3, 3)
        print(json.dumps([way.__name__, str(layout), digest(result)]))
"""


def run_script(text, **environment):
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(CACHE)} | environment,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_futures_have_the_same_bits_on_any_number_of_devices():
    bits = {}
    for way, layout, digest in run_script(HEAD + LAYOUTS):
        bits.setdefault(way, {})[layout] = digest
    assert [len(digests) for digests in bits.values()] == [4, 4, 4]
    for way, digests in bits.items():
        assert len(set(digests.values())) == 1, (way, digests)
    assert len({next(iter(d.values())) for d in bits.values()}) == 3  # the ways do differ
