"""What fit refuses before it compiles anything."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stochwm.data import Episodes, FlatSpace, Windows
from stochwm.models import Markov
from stochwm.training import fit, negative_log_likelihood, rollout_energy
from stochwm.training.inputs import check_call
from tests.cases_models import Line, line_data, three_lines

KEY = jax.random.key(0)
SPACE = FlatSpace(1, (-1.0,), (1.0,), (), ("x",))


def refuse(match, data=None, model=None, **options):
    def never(model, example, *, key):
        pytest.fail("the loss was traced")

    data = line_data() if data is None else data
    with pytest.raises(ValueError, match=match):
        fit(three_lines() if model is None else model, data, never, key=KEY, **options)


def with_nan(row, value=np.nan, field="next_state"):
    data = line_data()
    spoiled = getattr(data, field).copy()
    spoiled[row] = value
    return eqx.tree_at(lambda d: getattr(d, field), data, spoiled)


def test_nan_is_named_by_episode_and_step():
    # Episodes have 32 steps: row 70 is step 6 of the third one.
    where = r"must be finite, but is not in example 70: episode 2, step 6\."
    refuse(rf"data\.next_state {where}", with_nan(70))
    refuse(rf"data\.reward {where}", with_nan(70, -np.inf, "reward"))
    refuse(rf"validation\.state {where}", validation=with_nan(70, field="state"))


def test_nan_in_data_without_episodes_is_named_by_example():
    refuse(
        r"data\['x'\] must be finite, but is not in example 2\.", {"x": jnp.array([0, 1, jnp.nan])}
    )


def test_nan_in_a_window_is_named():
    state = np.zeros((4, 3, 1), "float32")
    state[3, 2] = np.nan
    flat = np.zeros((4, 2), "float32")
    windows = Windows(state, flat[..., None], flat, np.array([5, 5, 8, 8]))
    refuse(r"data\.state .* example 3: episode 8, step 1\.", windows)


def test_a_counter_is_not_checked_for_nan():
    data = {"x": jnp.zeros(3), "n": jnp.array([1, 2, 3]), "name": "kept"}
    refuse("batch_size", data, batch_size=0)  # so the data passed


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"x": np.zeros((0, 2))},
        {"x": np.zeros(3), "y": np.zeros(4)},
        {"x": np.zeros(3), "y": np.zeros(())},
        {"x": np.zeros(())},
    ],
)
def test_empty_and_ragged_data_are_refused(data):
    refuse("data must hold arrays that share one leading axis of at least 1 example", data)
    refuse("validation must hold arrays", validation=data)


@pytest.mark.parametrize(
    "name", ["steps", "batch_size", "evaluate_every", "patience", "max_bad_steps"]
)
@pytest.mark.parametrize("number", [0, -3, True])
def test_impossible_numbers_are_refused(name, number):
    refuse(f"{name} must be a whole number, at least 1, but is {number}", **{name: number})


def test_a_model_that_cannot_learn_is_refused():
    counts = eqx.tree_at(
        lambda m: (m.weight, m.bias, m.log_scale),
        Line(KEY),
        (jnp.arange(2), None, None),
        is_leaf=lambda x: x is None,
    )
    refuse("model must hold a floating-point array that can learn", model=counts)


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (lambda prediction: prediction.mean(), r"shape \(1,\)"),
        (lambda prediction: {"loss": jnp.sum(prediction.mean())}, "a dict"),
        (lambda prediction: None, "a NoneType"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(returned, what):
    def loss(model, example, *, key):
        return returned(model(example.state, example.action))

    with pytest.raises(ValueError, match=f"loss must return a scalar .* returned {what}"):
        fit(three_lines(), line_data(), loss, key=KEY)


def test_what_belongs_elsewhere_is_told_where():
    """By the check itself, since in tests the types of what is passed are checked before."""
    line, data, at = Line(KEY), line_data(8), np.arange(3)
    flat, flags = np.zeros((3, 1)), (at == 0, at == 2, at < 0)
    spaces = {"observation_space": SPACE, "action_space": SPACE}
    episodes = Episodes(flat, flat, np.zeros(3), *flags, **spaces)
    states, actions = (np.zeros((4, size, 1), "float32") for size in (4, 3))
    windows = Windows(states, actions, actions[..., 0], np.arange(4))
    for arguments, message in (
        ((line, data, optax.adam(1e-3)), "loss must be a function.*optimizer="),
        ((line, episodes, None), r"data must be single examples, but is Episodes.*transitions\(\)"),
        ((line, windows, None), "Windows has no next_state.*rollout_likelihood"),
        ((Markov(line), data, None), "a Markov cannot be: pass its kernel"),
    ):
        with pytest.raises(TypeError, match=message):
            check_call(*arguments)
    for loss in (rollout_energy(), negative_log_likelihood()):
        check_call(line, windows, loss)
