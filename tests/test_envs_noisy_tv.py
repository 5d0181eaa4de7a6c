import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.envs import NoisyTV

WEST, EAST, SOUTH, NORTH, WATCH = jnp.eye(5)


def place(x, y, action):
    return np.asarray(NoisyTV().law(jnp.array([x, y, 0.0]), action).loc[0, :2])


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((1.0, 1.0), EAST, (1.5, 1.0)),
        ((1.0, 1.0), NORTH, (1.0, 1.5)),
        ((0.3, 1.0), WEST, (0.15, 1.0)),
        ((1.0, 3.7), NORTH, (1.0, 3.85)),
        ((1.7, 1.0), EAST, (1.85, 1.0)),  # the wall
        ((2.3, 1.0), WEST, (2.15, 1.0)),
        ((1.7, 3.4), EAST, (2.2, 3.4)),  # the door
        ((2.2, 3.4), WEST, (1.7, 3.4)),
        ((1.7, 3.05), EAST, (1.85, 3.05)),  # too near its post
        ((1.0, 1.0), WATCH, (1.0, 1.0)),
    ],
)
def test_walking(start, action, end):
    np.testing.assert_allclose(place(*start, action), end, atol=1e-6)


def test_watching_costs_the_entropy_of_the_channels():
    world = NoisyTV()
    state = jnp.array([1.0, 1.0, -0.7])
    walking, watching = world.entropy(state, WEST), world.entropy(state, WATCH)
    normal = 0.5 * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(walking, 3 * normal + 2 * np.log(0.02) + np.log(0.03), atol=1e-4)
    np.testing.assert_allclose(watching - walking, np.log(8), atol=1e-3)
    law = world.law(state, WATCH)
    np.testing.assert_allclose(law.loc[:, 2], np.linspace(-1, 1, 8), rtol=1e-6)
    np.testing.assert_allclose(law.weights(), 1 / 8, rtol=1e-5)
    np.testing.assert_allclose(world.law(state, WEST).loc[:, 2], 0.0)


def test_the_screen_tells_nothing():
    """Neither is it told by what was, nor does it tell what comes."""
    world = NoisyTV()
    one, other = jnp.array([1.0, 1.0, -0.7]), jnp.array([1.0, 1.0, 0.4])
    elsewhere = jnp.array([3.0, 2.0, 0.4])
    for action in (EAST, WATCH):
        laws = [world.law(state, action) for state in (one, other, elsewhere)]
        np.testing.assert_array_equal(laws[0].loc, laws[1].loc)
        np.testing.assert_array_equal(laws[0].loc[:, 2], laws[2].loc[:, 2])
    covariance = world.law(one, WATCH).covariance()
    np.testing.assert_allclose(covariance[2, :2], 0.0, atol=1e-7)


def test_the_goal_is_reached_within_its_radius():
    world = NoisyTV()
    for distance, paid in ((0.39, 1.0), (0.41, 0.0)):
        for x, y in ((3.5, 0.5 + distance), (3.5 - distance, 0.5)):
            assert world.reward(None, None, jnp.array([x, y, 0.0])) == paid


def test_the_way_to_the_goal():
    world = NoisyTV()
    plan = [NORTH] * 5 + [EAST] * 5 + [SOUTH] * 6 + [EAST]

    @jax.jit
    def walk(key):
        def step(state, inputs):
            after = world.law(state, inputs[0]).sample(seed=inputs[1])
            paid = world.reward(state, inputs[0], after)
            return after, (after, paid, world.discount(state, inputs[0], after))

        keys = jax.random.split(key, len(plan))
        start = world.initial().sample(seed=key)
        return jax.lax.scan(step, start, (jnp.stack(plan), keys))[1]

    states, rewards, discounts = jax.vmap(walk)(jax.random.split(jax.random.key(0), 200))
    reached = np.asarray(rewards).max(axis=1) > 0
    assert reached.mean() > 0.9
    np.testing.assert_array_equal(discounts, 1 - rewards)
    assert (np.asarray(states)[:, :5, 0] < 2).all()


def test_the_screen_shows_its_channel_or_is_dark(monkeypatch):
    """Noise of two deviations does not change what is shown."""
    number = lambda x, y, channel: np.full((1, 1, 3), 8 if channel is None else channel, np.uint8)  # noqa: E731
    monkeypatch.setattr("stochwm.envs.noisy_tv.draw_noisy_tv", number)
    for noise in (-0.06, 0.0, 0.06):
        screens = np.append(np.linspace(-1, 1, 8), 0.0) + noise
        shown = [NoisyTV().render(np.array([1.0, 1.0, tv], np.float32))[0, 0, 0] for tv in screens]
        np.testing.assert_array_equal(shown, range(9))
