"""Boxes as transitions, and atoms that are put exactly where they are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.data import Transitions, find_pins, standardisers
from stochwm.data.spaces import flat_space
from stochwm.distributions import BoxMixture
from stochwm.training import default_optimizer, fit, smoothed_likelihood
from stochwm.transitions import (
    AbstractTransition,
    BoxMixtureDensity,
    Gaussian,
    Pinned,
    Pins,
    Standardised,
)

KEY = jax.random.key(0)
ACTION = jnp.zeros(1)


class Given(AbstractTransition):
    """Predicts the boxes it is made of."""

    boxes: BoxMixture

    def __call__(self, state, action):
        return self.boxes


def test_pinned_sides_are_points_and_free_ones_stay():
    boxes = BoxMixture([0.0, 0.0], [[-1.0, 2.0], [0.5, 3.0]], [[1.0, 2.5], [0.75, 4.0]])
    pinned = Pinned(Given(boxes), Pins([[np.nan, np.nan], [0.0, np.nan]]))(jnp.zeros(2), ACTION)
    np.testing.assert_array_equal(pinned.low, np.float32([[-1, 2], [0, 3]]))
    np.testing.assert_array_equal(pinned.high, np.float32([[1, 2.5], [0, 4]]))
    draws = jax.vmap(lambda key: pinned.sample(seed=key))(jax.random.split(KEY, 3000))
    assert abs(np.mean(np.asarray(draws[:, 0]) == 0) - 0.5) < 0.05


def test_pins_are_constants_and_pass_no_gradient():
    def low(boxes):
        return Pinned(Given(boxes), Pins([[0.0], [np.nan]]))(jnp.zeros(1), ACTION).low.sum()

    gradient = jax.grad(low)(BoxMixture([0.0, 0.0], [[0.1], [0.1]], [[0.2], [0.2]]))
    np.testing.assert_array_equal(gradient.low, [[0.0], [1.0]])


def test_only_boxes_can_be_pinned():
    model = Pinned(Gaussian(1, 1, width=2, depth=1, key=KEY), Pins([[0.0]]))
    with pytest.raises(TypeError, match="BoxMixture, but predicts a DiagNormal"):
        model(jnp.zeros(1), ACTION)


def test_pins_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        Pins([0.0])
    model = Pinned(Given(BoxMixture([0.0], [[0.1]], [[0.2]])), Pins([[0.0], [1.0]]))
    with pytest.raises(ValueError, match=r"pins must have the shape \[1, 1\]"):
        model(jnp.zeros(1), ACTION)


# --- found in data, learned from data -----------------------------------------------------------
def wall(number, seed):
    """s' = max(s + a + uniform noise, 0): a wall at 0 that about half of the steps touch."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(0, 1, size=(number, 1))
    action = rng.uniform(-1, 0.5, size=(number, 1))
    free = state + action + rng.uniform(-0.5, 0.5, size=(number, 1))
    reached = np.where(free < 0, 0.0, free)
    columns = (state, action, 0 * state[:, 0], 1 + 0 * state[:, 0], reached)
    columns = [column.astype("float32") for column in columns]
    return Transitions(*columns, episode=np.arange(number) // 50)


def test_pins_are_the_values_that_come_again():
    pins = np.asarray(find_pins(wall(1000, 0), 4).values)
    np.testing.assert_array_equal(pins, np.float32([[np.nan], [np.nan], [np.nan], [0.0]]))


def test_components_go_where_the_steps_are():
    """Patterns: (free, 0) 65 %, (free, free) 25 %, (5, 0) 9.5 %, (5, free) 0.5 %: too rare."""
    number = 2000
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, number)).astype("float32")
    kind = np.repeat([0, 1, 2, 3], [1300, 500, 190, 10])
    reached = np.stack([np.where(kind >= 2, 5, x), np.where(kind % 2 == 0, 0, y)], axis=1)
    data = eqx.tree_at(lambda d: d.next_state, wall(number, 0), reached.astype("float32"))
    pins = [tuple(row) for row in np.asarray(find_pins(data, 8).values)]
    count = lambda *row: sum(np.array_equal(pin, row, equal_nan=True) for pin in pins)  # noqa: E731
    assert (count(np.nan, 0), count(np.nan, np.nan), count(5, 0)) == (5, 2, 1)
    assert np.isnan(find_pins(data, 1).values).all()  # one that makes nothing impossible
    with pytest.raises(ValueError, match="num_components"):
        find_pins(data, 0)


@pytest.mark.parametrize(("times", "pinned"), [(9, 0), (10, 1)])
def test_of_few_steps_ten_make_an_atom(times, pinned):
    data = wall(50, 0)
    reached = np.append(np.full(times, 5.0), np.arange(times, 50.0) + 10)
    data = eqx.tree_at(lambda d: d.next_state, data, reached[:, None].astype("float32"))
    pins = np.asarray(find_pins(data, 2).values)
    assert np.sum(pins == 5) == pinned


def test_without_atoms_all_components_are_free():
    data = wall(1000, 0)
    data = eqx.tree_at(lambda d: d.next_state, data, data.next_state + data.state)
    pins = find_pins(data, 3)
    assert pins.values.shape == (3, 1)
    assert np.isnan(pins.values).all()


def test_a_wall_is_learned_as_an_atom():
    """The learned mass at the wall is that of the law, and it is exactly at the wall."""
    import gymnasium

    train, test = wall(2000, 0), wall(500, 1)
    space = flat_space(gymnasium.spaces.Box(-10, 10, (1,)))
    statistics = standardisers(train, space, space)
    inner = BoxMixtureDensity(1, 1, num_components=3, width=32, depth=2, key=KEY)
    model = Pinned(Standardised(inner, *statistics), find_pins(train, 3))
    loss, options = smoothed_likelihood(0.05), {"steps": 600, "progress": False}
    optimizer = default_optimizer(600)
    model = fit(model, train, loss, optimizer, key=KEY, **options).model
    boxes = eqx.filter_vmap(model)(jnp.asarray(test.state), jnp.asarray(test.action))
    at_wall = (boxes.low == 0) & (boxes.high == 0)
    mass = jnp.sum(jax.nn.softmax(boxes.logits) * at_wall[..., 0], axis=-1)
    edge = -(test.state + test.action)[:, 0]
    want = np.clip(edge + 0.5, 0, 1)
    assert np.mean(np.abs(np.asarray(mass) - want)) < 0.05
