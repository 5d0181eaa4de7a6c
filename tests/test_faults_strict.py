"""Every job once, where a leaked tracer is an error, and where it can be told, a key used twice.

Each call makes its key anew, because the check holds the caller to the same. It takes keys whose
axes are moved, and noise that is the same on purpose, for keys used twice: particles and training
run without it.
"""

import gc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stochwm.envs  # noqa: F401, registers the bundled worlds
from stochwm import imagine, imagine_ts1, imagine_tsinf, replay
from stochwm.calibration import evaluate
from stochwm.data import collect
from stochwm.models import Markov
from stochwm.training import fit, negative_log_likelihood, rollout_energy, rollout_likelihood
from stochwm.transitions import Ensemble, MixtureDensity
from tests.cases import instance, names
from tests.cases_models import Line, line_data


@pytest.fixture(autouse=True)
def no_leaks():
    # The check collects garbage time and again: not among what was there before.
    gc.freeze()
    with jax.checking_leaks():
        yield


@pytest.fixture
def keys_once():
    with jax.debug_key_reuse(True):
        yield


def crowd():
    return Markov(Ensemble(Line, 2, key=jax.random.key(0)))


def policy(state, *, key):
    return jax.random.normal(key, (1,))


@pytest.mark.usefixtures("keys_once")
def test_the_check_sees_a_key_that_is_used_twice():
    key = jax.random.key(0)
    jax.random.normal(key)
    with pytest.raises(jax.errors.KeyReuseError):
        jax.random.normal(key)


def test_the_check_sees_a_leak():
    kept = []
    with pytest.raises(Exception, match="Leaked"):
        jax.jit(lambda x: kept.append(x))(1.0)


@pytest.mark.usefixtures("keys_once")
@pytest.mark.parametrize("name", names())
def test_draws(name):
    draw = eqx.filter_jit(lambda d: d.sample(seed=jax.random.key(0)))
    assert np.isfinite(jax.tree.leaves(draw(instance(name)))[0]).all()


@pytest.mark.usefixtures("keys_once")
def test_rollouts():
    state = jnp.zeros(1)
    last = [
        imagine(crowd(), policy, state, key=jax.random.key(1), length=2)[0],
        replay(crowd(), state, jnp.zeros((2, 1)), key=jax.random.key(1))[0],
    ]
    assert all(np.isfinite(x).all() for x in last)


@pytest.mark.parametrize("loss", [negative_log_likelihood(0.1)])
def test_training(loss):
    model = Ensemble(Line, 2, key=jax.random.key(0))
    options = {"steps": 2, "batch_size": 4, "evaluate_every": 1, "progress": False}
    data = line_data(32)
    assert fit(model, data, loss, key=jax.random.key(1), validation=data, **options).steps == 2


@pytest.mark.parametrize("propagate", [imagine_ts1, imagine_tsinf])
def test_particles(propagate):
    states = jnp.zeros((4, 1))
    last, _ = propagate(crowd(), policy, states, key=jax.random.key(1), length=2)
    assert np.isfinite(last).all()


@pytest.mark.usefixtures("keys_once")
@pytest.mark.parametrize("loss", [rollout_likelihood(0.1), rollout_energy(3)])
def test_losses_over_windows(loss):
    episodes = collect("Pendulum-v1", steps=4, seed=0, progress=False)
    window = jax.tree.map(lambda x: jnp.asarray(x[0]), episodes.windows(3))
    window = eqx.tree_at(lambda w: w.state, window, window.state[:, :1])
    value = eqx.filter_jit(loss)(Line(jax.random.key(0)), window, key=jax.random.key(1))
    assert np.isfinite(value)


def test_evaluation():
    episodes = collect("stochwm/Fork-v0", steps=60, seed=0, progress=False)
    wide = lambda key: MixtureDensity(2, 1, num_components=2, width=4, depth=0, key=key)  # noqa: E731
    model = Markov(Ensemble(wide, 2, key=jax.random.key(0)))
    card = evaluate(
        model, episodes, key=jax.random.key(1), horizons=(1, 2), num_particles=4, noise=0.1
    )
    assert [score.metric for score in card.scores][0] == "nll"
