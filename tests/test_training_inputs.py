"""What fit refuses before it compiles anything."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.data import Windows
from stochwm.training import fit
from tests.cases_models import Line, line_data, three_lines

KEY = jax.random.key(0)


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
    refuse(f"{name} must be an int of at least 1, but is {number}", **{name: number})


def test_a_model_that_cannot_learn_is_refused():
    counts = eqx.tree_at(
        lambda m: (m.weight, m.bias, m.log_scale),
        Line(KEY),
        (jnp.arange(2), None, None),
        is_leaf=lambda x: x is None,
    )
    refuse("model must hold a floating-point array that can learn", model=counts)
