"""A model of one environment is refused in another, before anything is compiled."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import pytest

import stochwm.envs  # noqa: F401, registers the bundled worlds
from stochwm.data import check_spaces, collect
from stochwm.distributions import Deterministic
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble, MixtureDensity
from tests.test_calibration_evaluate import EPISODES, KEY, evaluate


def model_of(state_size, action_size):
    make = lambda key: MixtureDensity(state_size, action_size, width=4, key=key)  # noqa: E731
    return Markov(Ensemble(make, 2, key=jax.random.key(0)))


@pytest.mark.parametrize("env_id", ["stochwm/Fork-v0", "CartPole-v1", "FrozenLake-v1"])
def test_a_model_fits_the_environment_it_was_made_for(env_id):
    sizes = {"stochwm/Fork-v0": (2, 1), "CartPole-v1": (4, 2), "FrozenLake-v1": (16, 4)}
    env = gym.make(env_id)
    check_spaces(model_of(*sizes[env_id]), env)
    for state, action in [(1, 0), (0, 1), (-1, 1)]:  # the last one keeps the sum
        other = model_of(sizes[env_id][0] + state, sizes[env_id][1] + action)
        with pytest.raises(ValueError, match="model does not fit .*observation_space encodes to"):
            check_spaces(other, env)


def test_the_message_names_both_spaces():
    episodes = collect("stochwm/Fork-v0", steps=4, seed=0, progress=False)
    with pytest.raises(ValueError, match=r"2 numbers .*state must have shape \(3,\)"):
        check_spaces(model_of(3, 1), episodes)


class Doubled(AbstractTransition):
    """Takes states of any size and predicts twice as many numbers."""

    def __call__(self, state, action):
        return Deterministic(jnp.concatenate([state, state]))


def test_a_prediction_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"predicts a next state of shape \(4,\)"):
        check_spaces(Markov(Doubled()), gym.make("stochwm/Fork-v0"))


def test_evaluate_refuses_a_model_of_other_spaces():
    with pytest.raises(ValueError, match="model does not fit"):
        evaluate(model_of(2, 1), EPISODES, key=KEY, horizons=(1,))
