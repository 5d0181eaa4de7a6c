"""Ways through an ensemble, told apart by members whose shifts are known and far apart."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from stochwm import (
    imagine,
    imagine_moment_matched,
    imagine_particles,
    imagine_ts1,
    imagine_tsinf,
)
from stochwm.distributions import DiagNormal
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble

KEY = jax.random.key(0)
SHIFTS = np.array([-10.0, 0.0, 10.0])
SCALE, LENGTH = 0.1, 4
WAYS = [imagine_particles, imagine_ts1, imagine_tsinf, imagine_moment_matched]


class Shift(AbstractTransition):
    """s' = s + shift + a + noise."""

    shift: Array

    def __call__(self, state, action):
        return DiagNormal(state + self.shift + action, SCALE * jnp.ones(1))


def still(state, *, key):
    return jnp.zeros(1)


def ensemble():
    made = Ensemble(lambda key: Shift(jnp.zeros(1)), 3, key=KEY)
    shifts = jnp.asarray(SHIFTS, "float32")[:, None]
    return eqx.tree_at(lambda e: e.members.shift, made, shifts)


MODEL = Markov(ensemble(), lambda s, a, n: n[0])


jitted = functools.cache(eqx.filter_jit)


def run(propagate, particles):
    states = jnp.zeros((particles, 1))
    last, trajectory = jitted(propagate)(MODEL, still, states, key=KEY, length=LENGTH)
    assert last.shape == (particles, 1)
    assert trajectory.state.shape == (particles, LENGTH, 1)
    assert trajectory.reward.shape == (particles, LENGTH)
    np.testing.assert_array_equal(trajectory.reward, trajectory.state[..., 0])
    return np.asarray(trajectory.state)[..., 0], trajectory


def members_of(states):
    """Which member took each step, read off the known shifts."""
    steps = np.diff(states, axis=1, prepend=0.0)
    which = np.abs(steps[..., None] - SHIFTS).argmin(axis=-1)
    assert np.abs(steps - SHIFTS[which]).max() < 6 * SCALE
    return which


@pytest.mark.parametrize("propagate", WAYS)
def test_a_step_is_traced_once(propagate):
    seen = []
    policy = lambda state, *, key: still(seen.append(state), key=key)  # noqa: E731
    go = jax.jit(lambda states: propagate(MODEL, policy, states, key=KEY, length=LENGTH))
    go.trace(jnp.zeros((12, 1)))
    assert len(seen) == 1


@pytest.mark.parametrize("particles", [12, 7, 2, 1])
def test_tsinf_keeps_each_particle_with_one_member(particles):
    which = members_of(run(imagine_tsinf, particles)[0])
    want = (np.arange(particles) % 3)[:, None] * np.ones((1, LENGTH), int)
    np.testing.assert_array_equal(which, want)


def test_tsinf_particles_have_noise_of_their_own():
    states, _ = run(imagine_tsinf, 12)
    assert np.unique(states).size == states.size


def test_ts1_draws_a_new_member_at_every_step():
    which = members_of(run(imagine_ts1, 3 * 600)[0]).reshape(600, 3, LENGTH)
    for of_particle in np.swapaxes(which, 0, 1):  # one of each group: those are independent
        # All 81 sequences of members are alike probable: chi-squared with 80 degrees of freedom.
        counts = np.bincount(of_particle @ 3 ** np.arange(LENGTH), minlength=81)
        expected = 600 / 81
        assert np.sum((counts - expected) ** 2 / expected) < 150  # p about 4e-6


def test_ts1_gives_each_member_one_particle_of_a_group():
    which = members_of(run(imagine_ts1, 60)[0]).reshape(20, 3, LENGTH)
    np.testing.assert_array_equal(np.sort(which, axis=1)[:, :, 0], [[0, 1, 2]] * 20)


def test_ts1_of_one_member_is_tsinf_and_both_are_imagine():
    one = eqx.tree_at(lambda m: m.kernel.members.shift, MODEL, jnp.ones((1, 1)))
    alone = Markov(one.kernel.member(0), one.reward_head)
    states = jnp.arange(4.0)[:, None]
    options = {"key": KEY, "length": LENGTH}
    last, trajectory = imagine_tsinf(one, still, states, **options)
    same = imagine_particles(alone, still, states, **options)
    assert eqx.tree_equal((last, trajectory), same)
    keys = jax.random.split(KEY, 4)
    for i in range(4):
        row = imagine(alone, still, states[i], key=keys[i], length=LENGTH)
        np.testing.assert_allclose(row[1].state, trajectory.state[i], rtol=1e-6)


def test_moment_matching_keeps_mean_and_covariance_and_loses_the_modes():
    states, _ = run(imagine_moment_matched, 4_000)
    variance = np.var(SHIFTS) + SCALE**2
    steps = np.diff(states, axis=1, prepend=0.0)
    assert abs(steps.mean()) < 5 * np.sqrt(variance / steps.size)
    np.testing.assert_allclose(steps.var(axis=0), variance, rtol=5 * np.sqrt(2 / 4_000))
    between = (np.abs(steps) > 3) & (np.abs(steps) < 7)  # where no member ever goes
    assert between.mean() > 0.2


@pytest.mark.parametrize("propagate", WAYS)
def test_options_reach_imagine(propagate):
    record = lambda state, action, prediction, next_state: (next_state, next_state - state)  # noqa: E731
    options = {"save": lambda state: {"half": state / 2}, "record": record}
    go = eqx.filter_jit(propagate)
    _, trajectory = go(MODEL, still, jnp.zeros((6, 1)), key=KEY, length=LENGTH, **options)
    states, moved = trajectory.aux
    np.testing.assert_allclose(moved, np.diff(states, axis=1, prepend=0.0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trajectory.state["half"], states / 2, rtol=1e-6)


def test_a_chunk_bounds_memory():
    """A hidden layer of 256 units for 4,096 particles at once takes 4 MB."""
    wide = lambda state, *, key: jnp.ones((1, 256)) @ jnp.tanh(jnp.ones((256, 1)) @ state)  # noqa: E731

    def compiled(chunk):
        model, options = Markov(Shift(jnp.zeros(1))), {"key": KEY, "length": 1, "chunk": chunk}
        go = jax.jit(lambda states: imagine_particles(model, wide, states, **options)[0])
        return go.lower(jnp.zeros((4096, 1))).compile().memory_analysis().temp_size_in_bytes

    assert compiled(256) < 0.5 * compiled(4096)


@pytest.mark.parametrize("propagate", WAYS)
@pytest.mark.parametrize("particles", [6, 7])
def test_particles_go_on_from_their_own_starts(propagate, particles):
    states = 1_000.0 * jnp.arange(particles)[:, None]
    last, trajectory = jitted(propagate)(MODEL, still, states, key=KEY, length=LENGTH)
    assert np.abs(trajectory.state - states[:, None]).max() < 100
    np.testing.assert_array_equal(trajectory.state[:, -1], last)


@pytest.mark.parametrize("propagate", WAYS)
def test_longer_futures_begin_like_shorter_ones(propagate):
    go, states = jitted(propagate), jnp.zeros((6, 1))
    long, short = (go(MODEL, still, states, key=KEY, length=n)[1] for n in (LENGTH, 2))
    np.testing.assert_allclose(long.state[:, :2], short.state, rtol=1e-6)


@pytest.mark.parametrize("propagate", WAYS)
def test_nan_outside_jit_is_an_error_that_names_the_step(propagate):
    broken = lambda s, *, key: jnp.where(jnp.abs(s) > 0, jnp.nan, 0.0)  # noqa: E731
    with pytest.raises(FloatingPointError, match="at step 1"):
        propagate(MODEL, broken, jnp.zeros((6, 1)), key=KEY, length=LENGTH)


@pytest.mark.parametrize(
    ("states", "options", "pattern"),
    [
        (np.zeros((0, 1)), {}, "particle axis of at least 1"),
        (np.zeros(()), {}, "particle axis of at least 1"),
        (np.zeros((3, 1)), {"chunk": 0}, "chunk must be at least 1"),
        (np.zeros((3, 1)), {"length": 0}, "length must be at least 1"),
        (np.zeros((3, 1)), {"devices": 0}, r"devices must be in \[1, "),
        (np.zeros((3, 1)), {"devices": 10_000}, "use_host_devices"),
    ],
)
@pytest.mark.parametrize("propagate", WAYS)
def test_impossible_numbers_are_refused(propagate, states, options, pattern):
    with pytest.raises(ValueError, match=pattern):
        propagate(MODEL, still, states, **({"key": KEY, "length": 2} | options))


def test_a_flag_is_not_a_number_of_devices():
    with pytest.raises(TypeError, match="number, a jax.sharding.Mesh or None"):
        imagine_ts1(MODEL, still, jnp.zeros((3, 1)), key=KEY, length=2, devices=True)


@pytest.mark.parametrize("propagate", [imagine_ts1, imagine_tsinf, imagine_moment_matched])
def test_a_model_without_an_ensemble_is_refused(propagate):
    alone = Markov(Shift(jnp.zeros(1)))
    with pytest.raises(TypeError, match="kernel is an Ensemble, but its kernel is Shift"):
        propagate(alone, still, jnp.zeros((3, 1)), key=KEY, length=LENGTH)


@pytest.mark.parametrize("propagate", WAYS)
def test_keys_are_the_same_whenever_they_are_made(propagate, monkeypatch):
    """Before the first step, or, where they would fill memory, in each."""
    ahead, _ = run(propagate, 7)
    monkeypatch.setattr("stochwm._propagation.AHEAD", 7 * LENGTH // 3)
    anew = lambda *inputs, **options: propagate(*inputs, **options)  # noqa: E731, not compiled yet
    np.testing.assert_array_equal(run(anew, 7)[0], ahead)
