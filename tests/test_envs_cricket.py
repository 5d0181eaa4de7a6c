import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.envs import Cricket

LEVEL = jnp.zeros(1)
STANDARD = 0.5 * np.log(2 * np.pi * np.e)


def test_in_the_air():
    law = Cricket().law(jnp.array([10.0, 0.1, 1.5, -0.02, -0.3, 0.58]), jnp.array([1.0]))
    mean = [8.3, 0.08, 1.5 - 0.3 - 0.01225, -0.02, -0.3245, 0.6]  # the bat stops at .6
    np.testing.assert_allclose(law.loc, np.tile(mean, (3, 1)), rtol=1e-5)
    swing = 0.001 + 0.006 * (1 - 10 / 17.7)
    np.testing.assert_allclose(law.scale[0], [0.01, 0.004, 0.004, swing, 0.002, 0.002], rtol=1e-5)


def test_at_the_pitch():
    state = jnp.array([7.0, 0.1, 0.1, 0.02, -0.3, 0.0])
    law = Cricket(seam=0.04).law(state, jnp.array([-0.5]))
    drop, share = 0.1 - 0.31225, (0.1 - 0.31225) / -0.31225
    kick = 0.04 * np.array([-1, 0, 1])
    np.testing.assert_allclose(law.loc[:, 1], 0.12 + share * kick, rtol=1e-4)
    np.testing.assert_allclose(law.loc[:, 2], -0.55 * drop, rtol=1e-4)
    np.testing.assert_allclose(law.loc[:, 3], 0.02 + kick, rtol=1e-4)
    np.testing.assert_allclose(law.loc[:, 4], 0.55 * 0.3245, rtol=1e-4)
    np.testing.assert_allclose(law.loc[:, 5], -0.02, rtol=1e-4)
    weights = np.array([0.3, 0.4, 0.3]) * np.exp([-0.4, 0, 0.4])
    np.testing.assert_allclose(law.weights(), weights / weights.sum(), rtol=1e-4)


def test_a_dead_ball_stays():
    state = jnp.array([-0.5, 0.1, 0.05, 0.02, -0.3, 0.2])
    law = Cricket().law(state, jnp.array([1.0]))
    np.testing.assert_allclose(law.loc, np.tile(state, (3, 1)))


def test_entropy_of_the_phases():
    world = Cricket()
    rising = jnp.array([3.0, 0.1, 0.4, 0.02, 0.2, 0.0])
    after = world.entropy(rising, LEVEL)
    noise = np.log([0.01, 0.004, 0.004, 0.001, 0.002, 0.002]).sum()
    np.testing.assert_allclose(after, 6 * STANDARD + noise, atol=1e-4)
    by_state = jax.grad(lambda state: world.entropy(state, LEVEL))(rising.at[4].set(-0.01))
    np.testing.assert_allclose(
        by_state[0], -0.006 / 17.7 / (0.001 + 0.006 * (1 - 3 / 17.7)), rtol=1e-3
    )
    # Far apart, the three ways add the entropy of choosing one.
    wide = Cricket(seam=0.5, swing=1e-6)
    pitching = jnp.array([7.0, 0.1, 0.1, 0.0, -0.3, 0.0])
    choice = -np.sum(np.array([0.3, 0.4, 0.3]) * np.log([0.3, 0.4, 0.3]))
    np.testing.assert_allclose(
        wide.entropy(pitching, LEVEL), 6 * STANDARD + noise + choice, atol=1e-3
    )


def test_entropy_where_the_ways_overlap():
    """Against Monte Carlo, where means are about two deviations apart: the line is not obvious."""
    world = Cricket(seam=0.01, swing=0.006)
    state = jnp.array([7.0, 0.1, 0.1, 0.02, -0.3, 0.0])

    @eqx.filter_jit
    def run(world):
        law = world.law(state, LEVEL)
        estimate = law.entropy_estimate(key=jax.random.key(0), num_samples=40_000)
        return world.entropy(state, LEVEL), *estimate

    exact, estimate, error = run(world)
    assert error < 0.02
    assert abs(exact - estimate) < 4 * error


def test_reward_is_paid_on_arrival():
    world = Cricket()
    before = jnp.array([1.0, 0, 0, 0, 0, 0])

    def pay(line, height, bat, before=before, x=-0.7):
        after = jnp.array([x, line, height, 0, 0, bat])
        return float(world.reward(before, LEVEL, after))

    assert pay(0.2, 0.5, 0.2) == 1.0
    np.testing.assert_allclose(pay(0.2, 0.5, 0.26), np.exp(-0.5), rtol=1e-4)
    assert pay(0.1, 0.5, 0.5) == pytest.approx(-1.0, abs=1e-4)  # bowled
    assert pay(0.1, 0.8, 0.5) == pytest.approx(0.0, abs=1e-4)  # over the bails
    assert pay(0.2, 0.5, 0.5) == pytest.approx(0.0, abs=1e-4)  # outside
    assert pay(-0.2, 0.5, 0.5) == pytest.approx(0.0, abs=1e-4)  # on the other side
    for off, bowled in ((0.0, 0), (0.11, 0), (0.13, 1)):  # the edge of the bat, before the stumps
        paid = np.exp(-0.5 * (off / 0.06) ** 2) - bowled
        assert pay(0.1, 0.5, 0.1 - off) == pytest.approx(paid, rel=1e-3)
    assert pay(0.2, 0.5, 0.2, x=0.7) == 0.0
    assert pay(0.2, 0.5, 0.2, before=before.at[0].set(-0.1)) == 0.0
    assert world.discount(None, None, jnp.array([-0.1, 0, 0, 0, 0, 0])) == 0.0
    assert world.discount(None, None, jnp.array([0.1, 0, 0, 0, 0, 0])) == 1.0


@pytest.fixture(scope="module")
def deliveries():
    """1,000 deliveries: states, whether play goes on, and rewards of three batsmen."""
    world = Cricket()

    def still(state):
        return jnp.zeros(1)

    def follow(state):  # where the ball would arrive if it went straight on
        steps = jnp.maximum(state[0], 0.0) / world.speed
        return jnp.clip((state[1] + steps * state[3] - state[5]) / 0.04, -1, 1)[None]

    def ball(key, act):
        key_start, key_steps = jax.random.split(key)
        start = world.initial().sample(seed=key_start)

        def step(carry, key):
            state, alive = carry
            action = act(state)
            after = world.law(state, action).sample(seed=key)
            paid = alive * world.reward(state, action, after)
            going = alive * world.discount(state, action, after)
            return (after, going), (after, going, paid)

        _, record = jax.lax.scan(step, (start, 1.0), jax.random.split(key_steps, 13))
        return record

    @jax.jit
    def run(keys):
        return [jax.vmap(lambda key, act=act: ball(key, act))(keys) for act in (still, follow)]

    return jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(0), 1000)))


def test_a_delivery_pitches_once_and_arrives(deliveries):
    states, going, _ = deliveries[0]
    np.testing.assert_array_equal(going.sum(axis=1) + 1, 11)
    x, z, vz = states[..., 0], states[..., 2], states[..., 4]
    bounces = ((vz[:, 1:] > 0) & (vz[:, :-1] < 0)) * going[:, 1:]
    np.testing.assert_array_equal(bounces.sum(axis=1), 1)
    pitch = np.take_along_axis(x[:, 1:], bounces.argmax(axis=1)[:, None], axis=1)
    assert 4 < pitch.mean() < 7
    arrived = z[:, 10]
    assert 0.3 < np.median(arrived) < 0.9
    assert (z[going > 0] > -0.05).all()


def test_the_seam_spreads_what_swing_did_not(deliveries):
    states = deliveries[0][0]
    line = states[:, 10, 1]
    assert 0.1 < line.std() < 0.4


def test_watching_the_ball_pays_but_not_in_full(deliveries):
    still, follow = (record[2].sum(axis=1).mean() for record in deliveries)
    assert follow > still + 0.2
    assert follow < 0.95
