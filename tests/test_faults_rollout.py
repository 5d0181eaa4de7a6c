"""Rollouts at the edges: no step, one, a million; no particle, one; seeds; one trace a shape."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm import imagine, imagine_ts1, imagine_tsinf, replay
from stochwm.distributions import DiagNormal
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble
from tests.cases_models import Line

KEY, STATE = jax.random.key(0), jnp.zeros(1)
STEPS = 10**6


def policy(state, *, key):
    return 0.1 * jax.random.normal(key, (1,)).astype(state.dtype)


def model():
    line = eqx.tree_at(lambda m: m.weight, Line(KEY), jnp.array([0.5, 1.0]))
    return Markov(line, lambda s, a, n: jnp.sum(n), lambda s, a, n: jnp.ones(()))


def crowd():
    return Markov(Ensemble(Line, 2, key=KEY))


@pytest.mark.parametrize("length", [0, -1])
def test_no_step_is_refused(length):
    with pytest.raises(ValueError, match=f"length must be at least 1 step, but is {length}"):
        imagine(model(), policy, STATE, key=KEY, length=length)
    with pytest.raises(ValueError, match="at least 1"):
        replay(model(), STATE, jnp.zeros((0, 1)), key=KEY)


def test_one_step_is_the_first_of_many():
    """And a million steps run: memory grows by rewards, actions and keys, not by the state."""
    wide = jnp.zeros((1,))
    forget = lambda state: None  # noqa: E731

    @eqx.filter_jit
    def run(length):
        return imagine(model(), policy, wide, key=KEY, length=length, save=forget)

    many, one = run(STEPS)[1], run(1)[1]
    assert many.reward.shape == (STEPS,)
    assert np.isfinite(many.reward).all()
    assert many.reward[0] == one.reward[0]
    assert len(np.unique(many.reward[-1000:])) > 900  # keys do not repeat, nothing has stuck
    assert jax.tree.leaves(many.state) == []


def test_memory_of_a_long_rollout_does_not_hold_its_states():
    """The compiled program says what it needs: less than one more array of states would take."""
    size, length = 256, 10_000
    still = Markov(Still())

    def compiled(save):
        run = lambda state: imagine(still, hold, state, key=KEY, length=length, save=save)  # noqa: E731
        memory = jax.jit(run).lower(jnp.zeros(size)).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    states = 4 * size * length
    assert compiled(lambda state: None) < 0.2 * states
    assert compiled(lambda state: state) > states


class Still(AbstractTransition):
    """A random walk in as many dimensions as the state has."""

    def __call__(self, state, action):
        return DiagNormal(state, jnp.ones(state.shape))


def hold(state, *, key):
    return jnp.zeros(1)


@pytest.mark.parametrize("particles", [0, 1])
def test_no_particle_and_one(particles):
    states = jnp.zeros((particles, 1))
    run = eqx.filter_jit(lambda m, s: imagine_ts1(m, policy, s, key=KEY, length=2))
    if particles == 0:
        with pytest.raises(ValueError, match="states must .*(at least 1|holds 0)"):
            imagine_tsinf(crowd(), policy, states, key=KEY, length=2)
    else:
        last, trajectory = run(crowd(), states)
        assert last.shape == (1, 1)
        assert trajectory.reward.shape == (1, 2)


def test_seeds():
    run = eqx.filter_jit(lambda key: imagine(model(), policy, STATE, key=key, length=3)[0])
    same, again, other = run(jax.random.key(1)), run(jax.random.key(1)), run(jax.random.key(2))
    assert same == again
    assert same != other


def test_other_numbers_of_one_shape_are_one_trace():
    traces, still = [], model()

    @eqx.filter_jit
    def run(model, state, key):
        traces.append(1)
        return imagine(model, policy, state, key=key, length=2)[0]

    for i in range(4):
        moved = eqx.tree_at(lambda m: m.kernel.bias, still, jnp.asarray(0.1 * i))
        run(moved, STATE + i, jax.random.key(i))
    assert len(traces) == 1
