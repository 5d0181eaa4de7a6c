"""Small mistakes of people who follow the documentation: the message says how to mend them.

In a process of its own, where no types are checked: what a test would see before the library's own
words do, nobody sees who uses it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BEFORE = """
import json
import jax, jax.numpy as jnp
from stochwm import imagine, imagine_particles, observe, replay
from stochwm.calibration import diagnose_model, evaluate, mode_report, recalibrate
from stochwm.data import RandomPolicy, collect, standardisers
from stochwm.drift import DriftGuard, FalseAlarm, surprise_along
from stochwm.models import Markov
from stochwm.planning import cem
from stochwm.training import Fitted, fit
from stochwm.transitions import Ensemble, Gaussian, Standardised

found = {}


def attempt(name):
    try:
        eval(name, globals())
        found[name] = "no error"
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"


env_id, key, promise = "stochwm/Fork-v0", jax.random.key(0), FalseAlarm(0.5, horizon=2)
attempt("collect(env_id, steps=4, seed=0, progress=False)")
from stochwm import learn
from stochwm.agents import train_dreamer, train_ppo, v3_tiny
from stochwm.envs import DreamEnv, Fork

episodes = collect(env_id, steps=110, seed=0, progress=False)
spaces = episodes.observation_space, episodes.action_space
rows, state = episodes.transitions(), jnp.array([0.0, 0.5])
make = lambda key: Standardised(
    Gaussian(2, 1, width=4, key=key), *standardisers(rows, *spaces)
)
one, kernel = make(key), Ensemble(make, 2, key=key)
model, fitted, policy = Markov(kernel), Fitted(kernel, [], 1), RandomPolicy(spaces[1])
of_state = lambda state, *, key: jnp.zeros(())
"""
MISTAKES = {
    "collect(env_id, steps=4, seed=0, progress=False)": "import stochwm.envs first",
    "collect(Fork(), steps=4, seed=0)": r"WorldEnv\(world\) makes an environment",
    "standardisers(episodes, *spaces)": "pass train.transitions()",
    "Ensemble(one, 2, key=key)": "make must be a function .* but is a Standardised",
    "Ensemble([one, one], 2, key=key)": "make must be a function .* but is a list",
    "fit(one, rows, 'nll', key=key)": "loss must be a function .* but is 'nll'",
    "imagine(kernel, policy, state, key=key, length=2)": r"an Ensemble: pass Markov\(model\)",
    "imagine(fitted, policy, state, key=key, length=2)": r"Markov\(fitted\.model\)",
    "imagine(Markov, policy, state, key=key, length=2)": r"the class Markov: make one, Markov\(",
    "imagine(model, spaces[1], state, key=key, length=2)": "FlatSpace; .*RandomPolicy",
    "imagine(model, of_state, state, key=key, length=2)": r"action .* but has shape \(\)\.$",
    "imagine(model, policy, rows.state, key=key, length=2)": "state must .* vmap over batch axes",
    "imagine(model, policy, [0.0, 0.5], key=key, length=2)": "state .* is a list of numbers",
    "imagine(model, lambda s, *, key: None, state, key=key, length=2)": "but returned None",
    "imagine_particles(model, None, rows.state, key=key, length=2)": "policy must be a function",
    "replay(fitted, state, rows.action[:2], key=key)": r"Markov\(fitted\.model\)",
    "observe(model, rows.state, rows.action, rows.reward > 9, key=key)": "must be a filter",
    "cem(kernel, state, key=key, horizon=2, action_low=[-1], action_high=[1])": r"Markov\(model\)",
    "evaluate(fitted, episodes, key=key)": r"Markov\(fitted\.model\)",
    "diagnose_model(fitted, episodes, key=key)": r"Markov\(fitted\.model\)",
    "diagnose_model(model, rows, key=key)": r"pass whole Episodes, not their transitions\(\)",
    "recalibrate(model, rows, key=key)": "pass whole Episodes",
    "surprise_along(model, rows, key=key)": "pass whole Episodes",
    "DriftGuard.fit(model, rows, promise=promise, key=key)": "pass whole Episodes",
    "DreamEnv(fitted, episodes, max_steps=2)": r"Markov\(fitted\.model\)",
    "Markov(fitted)": r"kernel must be a transition, but is a Fitted.*Markov\(fitted\.model\)",
    "Markov(Gaussian)": "but is the class Gaussian",
    "Markov(kernel, 1.0)": "reward_head must be a function of .* but is a float",
    "RandomPolicy(Fork().action_space)": r"but is Box.*pass flat_space\(space\)",
    "collect('CartPole-v1', lambda s, *, key: jnp.array(1), steps=4, seed=0)": "are one-hot",
    "mode_report(model, Fork().law, rows.state, rows.action, tolerance=0.1, key=key)": (
        r"pass model\.transition"
    ),
    "train_dreamer(env_id, v3_tiny, steps=1)": r"such as v3_tiny\(\), but is the function v3_tiny",
    "train_dreamer(env_id, 'v3-tiny', steps=1)": "must be a DreamerConfig.* but is 'v3-tiny'",
    "train_ppo(env_id, v3_tiny(), steps=1)": r"such as PPOConfig\(\)",
    "learn(env_id, 'run')": r"pass LearnConfig\('stochwm/Fork-v0'\)",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each mistake says."""
    code = BEFORE + "".join(f"attempt({mistake!r})\n" for mistake in list(MISTAKES)[1:])
    result = subprocess.run(
        [sys.executable, "-c", code + "print(json.dumps(found))"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path_factory.mktemp("here"),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_says_how_it_is_mended(found, mistake):
    assert found[mistake] != "no error"
    kind, _, message = found[mistake].partition(": ")
    assert kind in ("TypeError", "ValueError"), found[mistake]
    assert re.search(MISTAKES[mistake], message), found[mistake]
