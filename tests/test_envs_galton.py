import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stochwm.envs import Galton


@pytest.mark.parametrize("tilt", [-1.0, 0.0, 0.35])
def test_final_law_is_binomial(tilt):
    world = Galton(slant=0.2)
    right = 1 / (1 + np.exp(-(0.2 + 1.5 * tilt)))
    expected = stats.binom.pmf(np.arange(9), 8, right)
    np.testing.assert_allclose(world.final_law(tilt).mean(), expected, rtol=2e-4, atol=1e-7)
    plan = jnp.full((8, 1), tilt)
    whole = jax.jit(lambda world, plan: world.law_after(jnp.eye(45)[0], plan).mean())(world, plan)
    np.testing.assert_allclose(whole[-9:], expected, rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(whole[:-9], 0.0, atol=1e-7)


@jax.jit
def fall(world, tilts):
    """Columns after each row of many balls, `[balls, rows]`, and what they earned."""

    def one(key):
        def step(state, inputs):
            after = world.law(state, inputs[0]).sample(seed=inputs[1])
            return after, (after, world.reward(state, inputs[0], after))

        _, (states, rewards) = jax.lax.scan(
            step, jnp.eye(45)[0], (tilts, jax.random.split(key, len(tilts)))
        )
        return jnp.argmax(states, axis=-1), rewards.sum()

    return jax.vmap(one)(jax.random.split(jax.random.key(0), 4000))


def test_final_law_of_a_high_board():
    """Its binomial coefficients are beyond 64 bits."""
    law = Galton(rows=80).final_law(0.1).mean()
    expected = stats.binom.pmf(np.arange(81), 80, 1 / (1 + np.exp(-0.15)))
    np.testing.assert_allclose(law, expected, rtol=1e-3, atol=1e-7)


def test_rollouts_follow_the_laws():
    world = Galton()
    tilts = jnp.array([1.0, 1.0, -0.5, 0.0, 0.3, 1.0, -1.0, 0.2])[:, None]
    cells, earned = (np.asarray(x) for x in fall(world, tilts))
    rows = np.searchsorted(np.cumsum(np.arange(1, 10)), cells, side="right")
    np.testing.assert_array_equal(rows, np.arange(1, 9)[None].repeat(len(cells), 0))
    law = np.asarray(world.law_after(jnp.eye(45)[0], tilts).mean())
    counts = np.bincount(cells[:, -1], minlength=45)
    np.testing.assert_array_less(np.abs(counts / 4000 - law), 4.5 * np.sqrt(law / 4000) + 1e-3)
    prize = np.array([0, 0, 0, 0, 0, 0.5, 1, 0.5, 0])
    assert abs(earned.mean() - law[-9:] @ prize) < 4.5 * earned.std() / np.sqrt(4000)
    np.testing.assert_array_equal(earned, prize[cells[:, -1] - 36])


def test_one_step():
    world = Galton()
    eye, level = jnp.eye(45), jnp.zeros(1)
    here, right = world.cell(3, 1), 1 / (1 + np.exp(-0.75))
    probs = world.law(eye[here], jnp.array([0.5])).mean()
    np.testing.assert_allclose(probs[world.cell(4, 2)], right, rtol=1e-5)
    np.testing.assert_allclose(probs[world.cell(4, 1)], 1 - right, rtol=1e-5)
    np.testing.assert_allclose(world.entropy(eye[here], level), np.log(2), rtol=1e-6)
    last = world.cell(8, 6)
    np.testing.assert_allclose(world.law(eye[last], level).mean()[last], 1.0)
    assert world.entropy(eye[last], level) == 0.0
    assert world.reward(eye[last], level, eye[last]) == 0.0  # paid once, on arrival
    assert world.discount(None, None, eye[last]) == 0.0
    assert world.discount(None, None, eye[here]) == 1.0
    assert world.state_names[here] == "3: column 1"


def test_looking_pays():
    """The best tilt of each cell, by backward induction, beats the best constant tilt."""
    world = Galton()
    grid, eye = jnp.linspace(-1, 1, 21)[:, None], jnp.eye(45)

    @jax.jit
    def step(world):
        probs = jax.vmap(lambda a: jax.vmap(lambda s: world.law(s, a).mean())(eye))(grid)
        pay = jax.vmap(lambda s: jax.vmap(lambda t: world.reward(s, grid[0], t))(eye))(eye)
        constant = jax.vmap(lambda a: world.final_law(a[0]).mean())(grid)
        return probs, pay, constant

    probs, pay, constant = (np.asarray(x) for x in step(world))
    value = np.zeros(45)
    for _ in range(8):
        value = np.max((probs * (pay + value[None, None])).sum(-1), axis=0)
        value[-9:] = 0.0
    prize = np.array([0, 0, 0, 0, 0, 0.5, 1, 0.5, 0])
    assert value[0] > np.max(constant @ prize) + 0.1
