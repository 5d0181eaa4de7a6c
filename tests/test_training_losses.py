"""Losses against slow oracles, and gradients that reach every parameter."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from stochwm.data import Windows
from stochwm.distributions import Deterministic
from stochwm.training import (
    fit,
    negative_elbo,
    negative_log_likelihood,
    rollout_energy,
    rollout_likelihood,
    smoothed_likelihood,
)
from stochwm.transitions import AbstractTransition, MixtureDensity
from tests.cases_models import Line, line_data

KEY = jax.random.key(0)
MODEL = MixtureDensity(2, 1, num_components=2, width=8, depth=1, key=jax.random.key(1))
RNG = np.random.default_rng(0)
HORIZON = 3


def window(state, action):
    """One window, as a loss gets it from a batch."""
    state, action = (jnp.asarray(x, "float32")[None] for x in (state, action))
    batch = Windows(state, action, jnp.zeros(action.shape[:2]), jnp.zeros(1, int))
    return jax.tree.map(lambda x: x[0], batch)


WINDOW = window(RNG.normal(size=(HORIZON + 1, 2)), RNG.normal(size=(HORIZON, 1)))
FIRST = window(WINDOW.state[:2], WINDOW.action[:1])


@eqx.filter_jit
def draw(model, state, action, key):
    return model(state, action).sample(seed=key)


@eqx.filter_jit
def log_prob(model, state, action, value):
    return model(state, action).log_prob(value)


# --- one step ---------------------------------------------------------------------------------
def test_likelihood_is_that_of_the_prediction():
    example = jax.tree.map(lambda x: jnp.asarray(x[5]), line_data())
    line = Line(KEY)
    want = -line(example.state, example.action).log_prob(example.next_state)
    assert negative_log_likelihood()(line, example, key=KEY) == want


def test_smoothed_likelihood_sees_target_and_prediction_through_the_same_noise():
    """A normal of scale 1 under noise n: the mean is the entropy of scale sqrt(1 + n^2)."""
    line, example = Line(KEY), jax.tree.map(lambda x: jnp.asarray(x[5]), line_data())
    loss, noise = smoothed_likelihood(0.5), 0.5
    seen = line(example.state, example.action).smoothed(noise)
    keys = jax.random.split(KEY, 20_000)
    values = jax.vmap(lambda key: loss(line, example, key=key))(keys)
    variance = 1.25
    residual = (example.next_state - seen.mean())[0]
    want = 0.5 * (np.log(2 * np.pi * variance) + (residual**2 + noise**2) / variance)
    assert abs(values.mean() - want) < 5 * values.std() / np.sqrt(20_000)


@pytest.mark.parametrize("noise", [np.nan, np.inf, -1.0, [0.1, -0.1]])
@pytest.mark.parametrize(
    "make",
    [
        negative_log_likelihood,
        smoothed_likelihood,
        rollout_likelihood,
        lambda noise: negative_elbo(noise=noise),
    ],
)
def test_impossible_noise_is_refused(make, noise):
    with pytest.raises(ValueError, match="noise must"):
        make(noise)


@pytest.mark.parametrize("size", [1, 3])
def test_noise_and_scale_of_another_size_are_refused(size):
    """One number in a list would pass for all dimensions, and two for a state of one."""
    wrong, row = np.full(size, 0.1), line_data(2)
    two = jax.tree.map(lambda x: np.repeat(x[0], 2) if x.ndim == 2 else x[0], row)
    for make, example in (
        (negative_log_likelihood, two),
        (smoothed_likelihood, two),
        (rollout_likelihood, WINDOW),
        (lambda noise: negative_elbo(noise=noise), two),
        (lambda scale: rollout_energy(2, scale), WINDOW),
    ):
        with pytest.raises(ValueError, match=r"one a dimension of the state, \[2\]"):
            make(wrong)(MODEL, example, key=KEY)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_impossible_scale_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        rollout_energy(2, scale)


@pytest.mark.parametrize("noise", [0.0, -1.0, [0.1, 0.0]])
def test_smoothed_likelihood_needs_noise(noise):
    with pytest.raises(ValueError, match="noise must"):
        smoothed_likelihood(noise)


@pytest.mark.parametrize("make", [negative_log_likelihood, rollout_likelihood])
def test_target_noise_has_the_scale_asked_for(make):
    """For a normal of scale 1, noise of scale n costs n^2 / 2 on average."""
    example = jax.tree.map(lambda x: jnp.asarray(x[5]), line_data())
    line = Line(KEY)
    if make is rollout_likelihood:
        example = window([example.state, example.next_state], [example.action])
    loss, keys = make(0.5), jax.random.split(KEY, 20_000)
    values = jax.vmap(lambda key: loss(line, example, key=key))(keys)
    extra = values - make()(line, example, key=KEY)
    assert abs(extra.mean() - 0.125) < 5 * extra.std() / np.sqrt(20_000)
    assert extra.std() > 0.1


# --- windows ----------------------------------------------------------------------------------
def test_rollout_likelihood_is_the_slow_loop():
    state, losses = WINDOW.state[0], []
    for t, key in enumerate(jax.random.split(KEY, HORIZON)):
        _, key_draw = jax.random.split(key)
        losses.append(-log_prob(MODEL, state, WINDOW.action[t], WINDOW.state[t + 1]))
        state = draw(MODEL, state, WINDOW.action[t], key_draw)
    came = eqx.filter_jit(rollout_likelihood())(MODEL, WINDOW, key=KEY)
    np.testing.assert_allclose(came, np.mean(losses), rtol=1e-5)


def test_rollout_likelihood_of_one_step_is_the_likelihood():
    want = -log_prob(MODEL, WINDOW.state[0], WINDOW.action[0], WINDOW.state[1])
    np.testing.assert_allclose(rollout_likelihood()(MODEL, FIRST, key=KEY), want, rtol=1e-5)


def slow_energy(particles, target):
    """The fair energy score, pair by pair."""
    number = len(particles)
    near = np.mean([np.linalg.norm(x - target) for x in particles])
    pairs = [(i, j) for i in range(number) for j in range(number) if i != j]
    return near - 0.5 * np.mean([np.linalg.norm(particles[i] - particles[j]) for i, j in pairs])


def test_rollout_energy_is_the_slow_loop():
    number, scale = 5, np.array([2.0, 0.5])
    particles, scores = [WINDOW.state[0]] * number, []
    for t, key in enumerate(jax.random.split(KEY, HORIZON)):
        keys = jax.random.split(key, number)
        particles = [
            draw(MODEL, x, WINDOW.action[t], k) for x, k in zip(particles, keys, strict=True)
        ]
        scaled = [np.asarray(x, "float64") / scale for x in particles]
        scores.append(slow_energy(scaled, np.asarray(WINDOW.state[t + 1]) / scale))
    came = eqx.filter_jit(rollout_energy(number, scale))(MODEL, WINDOW, key=KEY)
    np.testing.assert_allclose(came, np.mean(scores), rtol=1e-5)


@pytest.mark.parametrize("loss", [rollout_likelihood(), rollout_energy(4)], ids=["nll", "energy"])
def test_the_gradient_reaches_every_parameter(loss):
    value_and_grad = eqx.filter_value_and_grad(lambda m: loss(m, WINDOW, key=KEY))
    value, grads = eqx.filter_jit(value_and_grad)(MODEL)
    assert np.isfinite(value)
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
        assert leaf.any()
    # Outputs of a component: its logit, its means, its scales. None may be cut off.
    last = np.asarray(grads.network.layers[-1].bias).reshape(2, 5)
    assert (last != 0).all()


def test_the_gradient_of_the_energy_is_that_of_its_expectation():
    """Mixture logits have no path through a chosen component: compare with finite differences."""
    keys = jax.random.split(KEY, 20_000)
    # The components lie apart and the target near one, so that it matters which one is chosen.
    model = eqx.tree_at(lambda m: m.anchors, MODEL, jnp.array([[-2.0, -2.0], [2.0, 2.0]]))
    there = window([[0.0, 0.0], [2.0, 2.0]], [[0.0]])

    def shifted(delta):
        layer = lambda m: m.network.layers[-1].bias  # noqa: E731
        return eqx.tree_at(layer, model, layer(model).at[0].add(delta))

    @jax.jit
    def scores(delta):
        return jax.lax.map(lambda key: rollout_energy(4)(shifted(delta), there, key=key), keys)

    values, slopes = jax.jvp(scores, (0.0,), (1.0,))
    difference = scores(0.5) - scores(-0.5)
    error = np.hypot(slopes.std(), difference.std()) / np.sqrt(len(keys))
    assert abs(slopes.mean() - difference.mean()) < 5 * error + 0.02 * abs(slopes.mean())
    assert abs(slopes.mean()) > 10 * error  # a zero gradient would be seen
    assert np.isfinite(values).all()


class Point(AbstractTransition):
    weight: Array

    def __call__(self, state, action):
        return Deterministic(self.weight * state)


def test_particles_that_coincide_give_no_nan():
    loss = lambda w, x: rollout_energy(3)(Point(w), x, key=KEY)  # noqa: E731
    apart = window([[1, 1], [4, 5]], [[0]])
    value, slope = jax.value_and_grad(loss)(jnp.array(1.0), apart)
    assert value == 5.0  # the distance from (1, 1) to (4, 5)
    np.testing.assert_allclose(slope, -7 / 5, rtol=1e-6)
    # And on the target itself, where every distance is zero.
    value, slope = jax.value_and_grad(loss)(jnp.array(1.0), window(np.ones((2, 2)), [[0]]))
    assert value == 0.0
    assert slope == 0.0


@pytest.mark.parametrize("num_particles", [1, 0])
def test_too_few_particles_are_refused(num_particles):
    with pytest.raises(
        ValueError, match=f"num_particles must be at least 2, but is {num_particles}"
    ):
        rollout_energy(num_particles)


def test_a_model_can_be_fitted_to_windows_by_its_energy():
    data = line_data()
    steps = np.stack([data.state, data.next_state], axis=1)
    windows = Windows(steps, data.action[:, None], data.reward[:, None], data.episode)
    fitted = fit(
        Line(KEY),
        windows,
        rollout_energy(8),
        optax.adam(0.03),
        key=KEY,
        steps=300,
        batch_size=32,
        evaluate_every=100,
        progress=False,
    ).model
    np.testing.assert_allclose(fitted.weight, [0.8, -0.5], atol=0.1)
    np.testing.assert_allclose(np.exp(fitted.log_scale), 0.2, rtol=0.3)
