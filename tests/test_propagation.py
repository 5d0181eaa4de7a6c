"""Ways through an ensemble, told apart by members whose shifts are known and far apart."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from stochwm import imagine_moment_matched, imagine_ts1, imagine_tsinf
from stochwm.distributions import DiagNormal
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble

KEY = jax.random.key(0)
SHIFTS = np.array([-10.0, 0.0, 10.0])
SCALE, LENGTH = 0.1, 4


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


def run(propagate, particles, **options):
    states = jnp.zeros((particles, 1))
    go = eqx.filter_jit(propagate)
    last, trajectory = go(MODEL, still, states, key=KEY, length=LENGTH, **options)
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


def test_tsinf_keeps_each_block_with_one_member():
    which = members_of(run(imagine_tsinf, 12)[0])
    want = np.repeat(np.arange(3), 4)[:, None] * np.ones((1, LENGTH), int)
    np.testing.assert_array_equal(which, want)


def test_tsinf_particles_have_noise_of_their_own():
    states, _ = run(imagine_tsinf, 12)
    assert np.unique(states).size == states.size


def test_ts1_draws_a_new_member_at_every_step():
    which = members_of(run(imagine_ts1, 600)[0])
    # All 81 sequences of members are alike probable: chi-squared with 80 degrees of freedom.
    counts = np.bincount(which @ 3 ** np.arange(LENGTH), minlength=81)
    expected = 600 / 81
    assert np.sum((counts - expected) ** 2 / expected) < 150  # p about 4e-6


def test_moment_matching_keeps_mean_and_covariance_and_loses_the_modes():
    states, _ = run(imagine_moment_matched, 4_000)
    variance = np.var(SHIFTS) + SCALE**2
    steps = np.diff(states, axis=1, prepend=0.0)
    assert abs(steps.mean()) < 5 * np.sqrt(variance / steps.size)
    np.testing.assert_allclose(steps.var(axis=0), variance, rtol=5 * np.sqrt(2 / 4_000))
    between = (np.abs(steps) > 3) & (np.abs(steps) < 7)  # where no member ever goes
    assert between.mean() > 0.2


@pytest.mark.parametrize("propagate", [imagine_ts1, imagine_tsinf, imagine_moment_matched])
def test_options_reach_imagine(propagate):
    record = lambda state, action, prediction, next_state: next_state - state  # noqa: E731
    states, trajectory = run(propagate, 6, record=record)
    np.testing.assert_allclose(
        trajectory.aux[..., 0], np.diff(states, axis=1, prepend=0.0), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("particles", [0, 2, 4, 7])
def test_tsinf_wants_a_multiple_of_the_members(particles):
    with pytest.raises(ValueError, match=f"multiple of the 3 members, but holds {particles} "):
        imagine_tsinf(MODEL, still, jnp.zeros((particles, 1)), key=KEY, length=LENGTH)


@pytest.mark.parametrize("propagate", [imagine_ts1, imagine_tsinf, imagine_moment_matched])
def test_a_model_without_an_ensemble_is_refused(propagate):
    alone = Markov(Shift(jnp.zeros(1)))
    with pytest.raises(TypeError, match="kernel is an Ensemble, but its kernel is Shift"):
        propagate(alone, still, jnp.zeros((3, 1)), key=KEY, length=LENGTH)
