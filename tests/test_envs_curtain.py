import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stochwm.agents import WorldSource, evaluate_policy
from stochwm.data import flatten_value
from stochwm.envs import Curtain

WORLD = Curtain()
law_of = jax.jit(lambda world, state, action: world.law(state, action).mean())


def state_of(world, *places):
    return jnp.asarray(flatten_value(world.state_space, np.array(places)))


def picture(world, *places):
    shape = (world.rows, world.cell, world.columns, world.cell)
    cells = world.emit(np.asarray(state_of(world, *places))).reshape(shape)
    np.testing.assert_array_equal(cells, cells[:, :1, :, :1].repeat(2, 1).repeat(2, 3))
    return cells[:, 0, :, 0]


def test_pictures():
    expected = np.zeros((8, 8))
    expected[2:6] = 90
    top = expected.copy()
    top[0, [3, 7]], top[7, 5] = 255, 180
    np.testing.assert_array_equal(picture(WORLD, 0, 3, 1, 5), top)
    lower = expected.copy()
    lower[6, 2], lower[7, 2] = 255, 180
    np.testing.assert_array_equal(picture(WORLD, 6, 2, 0, 2), lower)
    caught = expected.copy()
    caught[7, 2] = 255
    np.testing.assert_array_equal(picture(WORLD, 7, 2, 0, 2), caught)


def test_lamp_and_ball_are_hidden():
    winds = [picture(WORLD, 1, 3, wind, 5) for wind in (0, 1)]
    np.testing.assert_array_equal(*winds)  # the lamp is out
    behind = [picture(WORLD, *place, 5) for place in itertools.product(range(2, 6), range(8), (0,))]
    assert len({seen.tobytes() for seen in behind}) == 1  # neither row nor column
    states = np.array([state_of(WORLD, 0, 3, 0, 5), state_of(WORLD, 4, 1, 1, 0)])
    of_jax = jax.jit(lambda states: WORLD.emit(states))(states)
    assert of_jax.dtype == np.float32
    np.testing.assert_array_equal(of_jax, WORLD.emit(states))
    np.testing.assert_array_equal(of_jax[1], WORLD.emit(states[1]))


@pytest.mark.parametrize(("start", "wind"), [(2, 0), (3, 1)])
def test_outcome_law_is_a_binomial_between_walls(start, wind):
    world = Curtain(gust=0.3)
    expected = np.zeros(8)
    for drifts in range(5):
        column = np.clip(start + (-drifts, drifts)[wind], 0, 7)
        expected[column] += stats.binom.pmf(drifts, 4, 0.3)
    np.testing.assert_allclose(world.outcome_law(start, wind).mean(), expected, atol=1e-6)


def test_all_chance_is_behind_the_curtain():
    """The law, followed from the top, is the outcome law on arrival below."""
    world = Curtain(gust=0.3)
    probs, columns = {3: 1.0}, []
    for row in range(6):
        after = dict.fromkeys(range(8), 0.0)
        for column, share in probs.items():
            mean = np.asarray(law_of(world, state_of(world, row, column, 0, 4), jnp.eye(3)[0]))
            np.testing.assert_allclose(mean[:8], np.eye(8)[row + 1])
            np.testing.assert_allclose(mean[16:], [1, 0, *np.eye(8)[3]])
            for there in range(8):
                after[there] += share * mean[8 + there]
        probs = {column: share for column, share in after.items() if share > 0}
        columns.append(len(probs))
    assert columns == [1, 1, 2, 3, 4, 4]  # the wall stops the last drift
    expected = np.asarray(world.outcome_law(3, 0).mean())
    np.testing.assert_allclose([probs.get(c, 0.0) for c in range(8)], expected, atol=1e-6)
    np.testing.assert_allclose(
        world.entropy(state_of(world, 4, 3, 0, 4), jnp.eye(3)[0]),
        -0.3 * np.log(0.3) - 0.7 * np.log(0.7),
        rtol=1e-5,
    )


def test_a_catch_pays_once():
    above, landed = state_of(WORLD, 6, 2, 0, 1), state_of(WORLD, 7, 2, 0, 2)
    missed, stays = state_of(WORLD, 7, 2, 0, 1), jnp.eye(3)[1]
    assert WORLD.reward(above, stays, landed) == 1.0
    assert WORLD.reward(above, stays, missed) == 0.0
    assert WORLD.reward(landed, stays, landed) == 0.0
    assert WORLD.discount(above, stays, landed) == WORLD.discount(above, stays, missed) == 0.0
    assert WORLD.discount(None, stays, above) == 1.0
    assert WORLD.state_names[16:19] == ("wind left", "wind right", "paddle 0")


def best_return(world, blind):
    """The best expected return over all histories of pictures, from the law alone."""
    grid = itertools.product(*(range(int(n)) for n in world.state_space.nvec))
    places = np.array(list(grid))
    states = np.array([state_of(world, *place) for place in places])
    seen = world.emit(states)
    if blind:
        seen[:, [0, world.columns - 1]] = 0  # one pixel a place
    pictures = np.unique(seen, axis=0, return_inverse=True)[1].ravel()

    @jax.jit
    def tables(states):
        mean = lambda s, a: world.law(s, a).mean()  # noqa: E731
        pay = lambda s, t: (world.reward(s, None, t), world.discount(s, None, t))  # noqa: E731
        every = lambda f, xs: jax.vmap(lambda x: jax.vmap(lambda y: f(x, y))(xs))(states)  # noqa: E731
        return every(mean, jnp.eye(3)), every(pay, states), world.initial().mean()

    means, (reward, goes_on), start = jax.tree.map(np.asarray, tables(states))
    blocks = np.cumsum([0, *world.state_space.nvec[:-1]]) + places
    follows = means[..., blocks].prod(-1).transpose(1, 0, 2)  # [action, state, next]
    earns, live = (follows * reward).sum(-1), follows * goes_on

    def best(belief):
        if not belief.any():
            return 0.0
        return max(
            e @ belief + spread(belief @ after) for e, after in zip(earns, live, strict=True)
        )

    def spread(belief):
        return sum(best(belief * (pictures == k)) for k in set(pictures[belief > 0]))

    return spread(start[blocks].prod(-1))


@pytest.mark.parametrize("blind", [False, True])
def test_best_returns_are_those_over_all_histories(blind):
    world = Curtain(columns=4, hidden=2, gust=0.3, cell=1)
    known = world.value_without_lamp() if blind else world.optimal_value()
    np.testing.assert_allclose(known, best_return(world, blind), rtol=1e-5)


def test_best_returns_of_the_default_world():
    np.testing.assert_allclose(WORLD.optimal_value(), 59 / 64, rtol=1e-6)
    np.testing.assert_allclose(WORLD.value_without_lamp(), 0.5, rtol=1e-6)


def remember_the_lamp(agent, target, observation, is_first, *, key):
    """Wait two columns downwind, and go below the ball when it is out; from pixels."""
    image = observation.reshape(8, 2, 8, 2)[:, 0, :, 0]
    start, wind = 1 + jnp.argmax(image[0, 1:-1]), jnp.where(image[0, 0] > 0, -1, 1)
    target = jnp.where(is_first, jnp.clip(start + 2 * wind, 1, 6), target)
    target = jnp.where(image[6].max() > 0, jnp.argmax(image[6]), target)
    step = jnp.sign(target - jnp.argmax(image[7]))
    return target, jax.nn.one_hot(1 + step, 3), None


def test_the_best_return_can_be_had():
    source, number = WorldSource(WORLD, 500), 4000
    played = evaluate_policy(
        source,
        remember_the_lamp,
        None,
        episodes=number,
        key=jax.random.key(0),
        memory=jnp.zeros(500, int),
    )
    best = 59 / 64
    error = np.sqrt(best * (1 - best) / number)
    assert abs(np.mean([episode.total for episode in played]) - best) < 4 * error
    assert {episode.length for episode in played} == {7}


def test_gradient_of_the_best_return_is_finite_where_nothing_is_left_to_chance():
    for gust in (0.0, 1.0):
        assert np.isfinite(jax.grad(lambda g: Curtain(gust=g).optimal_value())(gust))
