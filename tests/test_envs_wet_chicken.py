import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.envs import WetChicken

# (x, y, ax, ay): P(y' = 0), interval, mean, variance, expected CRPS of the truth
EXACT = {
    (0, 0, 0, 0): (0.642857, (0.0, 2.5), 0.446429, 0.544749, 0.340136),
    (2, 3, 0, 0): (0.108696, (0.9, 5.0), 2.629348, 2.091675, 0.828655),
    (4.5, 4.5, 0.5, -1): (0.625, (4.4, 5.0), 1.7625, 5.188594, 1.115625),
    (1, 1, -1, -1): (0.568966, (0.0, 2.5), 0.538793, 0.607690, 0.383967),
    (5, 4, 0, 1): (1.0, None, 0.0, 0.0, 0.0),
}


@eqx.filter_jit
def describe(point):
    law = WetChicken().law(point[:2], point[2:])
    marginal = law.marginal((1,))
    y = jnp.linspace(0.0, 5.0, 5001)[:, None]
    cdf = jax.vmap(marginal.cdf)(y)[:, 0]
    crps = jnp.trapezoid(cdf * (1 - cdf), y[:, 0])
    return law, cdf[0], marginal.mean(), marginal.variance(), crps


@pytest.mark.parametrize("point", EXACT, ids=str)
def test_exact_values(point):
    at_zero, interval, mean, variance, crps = EXACT[point]
    law, mass, law_mean, law_variance, law_crps = describe(jnp.array(point, float))
    np.testing.assert_allclose(mass, at_zero, atol=1e-5)
    np.testing.assert_allclose(law_mean, [mean], atol=2e-6)
    np.testing.assert_allclose(law_variance, [variance], atol=1e-5)
    np.testing.assert_allclose(law_crps, crps, atol=5e-4)
    if interval is None:
        np.testing.assert_allclose(law.mean(), [0.0, 0.0], atol=1e-6)
    else:
        np.testing.assert_allclose([law.low[2, 1], law.high[2, 1]], interval, atol=1e-5)


def test_falling_decides_where_he_starts_again():
    after = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [2.0, 3.0]])
    law = WetChicken().law(jnp.array([2.0, 3.0]), jnp.zeros(2))
    prob = jnp.exp(
        eqx.filter_jit(eqx.filter_vmap(lambda law, x: law.log_prob(x), in_axes=(None, 0)))(
            law, after
        )
    )
    np.testing.assert_allclose(prob, [0.108696, 0.0, 0.0, (1 - 0.108696) / 4.1], atol=1e-5)


def test_another_river_between_its_banks():
    world = WetChicken(width=2.0, length=3.0)
    law = world.law(jnp.array([1.5, 2.0]), jnp.array([1.0, -0.5]))
    # v = 2.25, s = 1.25: yhat is uniform on [1.5, 4], of which [3, 4] falls.
    np.testing.assert_allclose(jnp.exp(law.log_weights()), [0.4, 0.0, 0.6], atol=1e-6)
    np.testing.assert_allclose(law.low[2], [2.0, 1.5], rtol=1e-6)  # the right bank stops him
    np.testing.assert_allclose(law.high[2], [2.0, 3.0], rtol=1e-6)
    law = world.law(jnp.array([0.3, 2.0]), jnp.array([-1.0, 0.0]))
    np.testing.assert_array_equal(law.low[:, 0], 0.0)


def test_reward_is_the_distance_left_of_the_next_state():
    world = WetChicken(length=4.0)
    assert world.reward(jnp.zeros(2), jnp.zeros(2), jnp.array([1.0, 3.0])) == -1.0


@pytest.fixture(scope="module")
def played():
    """A quarter of a million random steps after 50 steps of burn-in, and what the law says."""
    world = WetChicken()

    def step(state, key):
        key_action, key_state, key_noise = jax.random.split(key, 3)
        action = jax.random.uniform(key_action, (2,), minval=-1.0, maxval=1.0)
        law = world.law(state, action)
        after = law.sample(seed=key_state)
        marginal = law.marginal((1,))
        noisy = after[1:] + 0.1 * jax.random.normal(key_noise, (1,))
        # Beside the left bank, falling and being clipped at y = 0 end in the same point.
        visible = state[0] + action[0] > 0
        fell = (after[0] == 0) & (after[1] == 0) & visible
        normal = jax.scipy.stats.norm.logpdf(
            noisy, marginal.mean(), jnp.sqrt(marginal.variance() + 0.01)
        )
        return after, {
            "y at zero": after[1] == 0,
            "fall": jnp.exp(law.log_weights()[0]),
            "seen to fall": fell - jnp.exp(law.log_weights()[0]) * visible,
            "smoothed": -marginal.smoothed(0.1).log_prob(noisy),
            "normal": -normal[0],
            "mixed": -marginal.log_prob(after[1:]),
            "variance": marginal.variance()[0],
            "joint": -law.log_prob(after),
            "entropy": world.entropy(state, action),
            "reward": world.reward(state, action, after),
            "x": after[0],
            "y": after[1],
        }

    def chain(key):
        records = jax.lax.scan(step, jnp.zeros(2), jax.random.split(key, 300))[1]
        return jax.tree.map(lambda x: jnp.mean(x[50:].astype("float32")), records)

    chains = jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(0), 1000))
    return {k: (float(v.mean()), float(v.std() / np.sqrt(len(v)))) for k, v in chains.items()}


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("y at zero", 0.443),
        ("fall", 0.045),
        ("smoothed", 0.7849),
        ("normal", 1.4120),
        ("mixed", 1.2491),
        ("variance", 1.3239),
        ("reward", -3.886),
        ("x", 0.936),
        ("y", 1.114),
    ],
)
def test_limits_under_random_actions(played, what, limit):
    mean, error = played[what]
    assert abs(mean - limit) < 4 * error + 6e-4
    assert error < 0.01  # the check can fail


def test_entropy_is_the_cost_of_the_joint_law(played):
    difference = played["joint"][0] - played["entropy"][0]
    assert abs(difference) < 4 * played["joint"][1]
    surplus, error = played["seen to fall"]
    assert abs(surplus) < 4 * error


def test_target_law_is_the_noised_one():
    world = WetChicken()
    assert world.noise_convention == (0.1, 0.1)
    target = world.target_law(jnp.array([2.0, 3.0]), jnp.zeros(2))
    np.testing.assert_allclose(target.blur, [0.1, 0.1])

    @eqx.filter_jit
    def entropies(law):
        estimate = law.entropy_estimate(key=jax.random.key(0), num_samples=4000)
        return *estimate, *law.entropy_bounds()

    estimate, error, lower, upper = entropies(target)
    assert lower - 4 * error < estimate < upper + 4 * error
