"""World models: the laws for every one in the table, and what Markov passes on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.models import AbstractFilter, AbstractWorldModel, Markov, never_ends, no_reward
from stochwm.testing import check_world_model
from tests.cases_models import ACTION, STATE, WORLD_MODELS, gaussian


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_world_model_keeps_the_laws(name):
    model = WORLD_MODELS[name](jax.random.key(3))
    check_world_model(model, STATE, ACTION, key=jax.random.key(1), num_samples=512)


def test_markov_hands_its_parts_what_they_need_in_order():
    def reward(state, action, next_state):
        return state[0] + 10 * action[0] + 100 * next_state[0]

    model = Markov(gaussian(jax.random.key(0)), reward, lambda *inputs: 0.5 * reward(*inputs))
    one, two, three = (jnp.array([x]) for x in (1.0, 2.0, 3.0))
    assert model.reward(one, two, three) == 321.0
    assert model.discount(one, two, three) == 160.5
    prediction, kernel = model.transition(STATE, ACTION), model.kernel(STATE, ACTION)
    np.testing.assert_array_equal(prediction.loc, kernel.loc)


def test_defaults_are_no_reward_and_no_end():
    model = Markov(gaussian(jax.random.key(0)))
    for value, want in ((model.reward, 0.0), (model.discount, 1.0)):
        assert value(STATE, ACTION, STATE).shape == ()
        assert value(STATE, ACTION, STATE) == want
    assert no_reward(STATE, ACTION, STATE).dtype == never_ends(STATE, ACTION, STATE).dtype


@pytest.mark.parametrize("base", [AbstractWorldModel, AbstractFilter])
def test_an_abstract_model_cannot_be_made(base):
    with pytest.raises(TypeError, match="abstract"):
        base()
