"""Clipping by the size of the weights, input by input."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.agents import laprop
from stochwm.agents.clipping import clip_by_input_norm
from stochwm.training import partition_trainable
from tests.test_agents_dreamer import KEY, V3, learner


@jax.jit
def clip(updates, params):
    made = clip_by_input_norm(0.3)
    return made.update(updates, made.init(params), params)[0]


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4)])
def test_a_gradient_is_as_long_as_a_share_of_what_its_input_weighs(shape):
    weight = 2 * jax.random.normal(KEY, shape)
    long = 9 * jax.random.normal(jax.random.key(1), shape)
    norm = lambda x: jnp.linalg.norm(x, axis=-min(x.ndim, 2), keepdims=True)  # noqa: E731
    found = clip(long, weight)
    np.testing.assert_allclose(norm(found), 0.3 * norm(weight), rtol=1e-5)
    np.testing.assert_allclose(found / norm(found), long / norm(long), 1e-4)
    np.testing.assert_array_equal(clip(1e-3 * long, weight), 1e-3 * long)
    np.testing.assert_allclose(norm(clip(long, 0 * weight)), 3e-4, rtol=1e-5)
    np.testing.assert_array_equal(clip(0 * long, 0 * weight), 0 * long)
    with pytest.raises(ValueError, match="params"):
        clip_by_input_norm().update(long, None)


def test_an_input_does_not_decide_how_far_others_go():
    """The first input of the first of two heads has a long gradient, all others hardly one."""
    agent = partition_trainable(learner(dataclasses.replace(V3, prior_heads=2)).agent)[0]
    where = lambda a: a.model.prior_head.hidden[0].weight  # noqa: E731
    small = jax.tree.map(lambda x: jnp.full_like(x, 1e-6), agent)
    found = clip(eqx.tree_at(where, small, where(small).at[0, :, 0].set(1e3)), agent)
    still = lambda x: x.at[0, :, 0].set(0.0)  # noqa: E731
    np.testing.assert_array_equal(still(where(found)), still(where(small)))
    column, weight = where(found)[0, :, 0], where(agent)[0, :, 0]
    np.testing.assert_allclose(jnp.linalg.norm(column), 0.3 * jnp.linalg.norm(weight), rtol=1e-5)
    rest = lambda tree: jax.tree.leaves(eqx.tree_at(where, tree, None))  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, rest(found), rest(small))


def test_a_class_that_is_rare_keeps_its_share_of_the_gradient_of_a_softmax():
    """Clipped output by output, logits would no longer learn by how much a class is missing."""
    target = jnp.array([0.98, 0.01, 0.01])
    gradient = jnp.outer(jax.nn.softmax(jnp.zeros(3)) - target, jnp.ones(4))
    found = clip(gradient, jnp.zeros((3, 4)))
    np.testing.assert_allclose(jnp.sum(found, axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(found / gradient, found[0, 0] / gradient[0, 0], rtol=1e-5)


def test_laprop_takes_tiny_gradients_at_their_size():
    weight = jnp.ones(2)
    optimizer = laprop(0.5, warmup=1)
    state = optimizer.init(weight)
    for _ in range(2):
        step, state = optimizer.update(jnp.array([1e-14, -1e-14]), state, weight)
    np.testing.assert_allclose(step, [-0.5, 0.5], rtol=1e-3)


def test_laprop_without_a_warmup_learns_at_once():
    """A schedule of no steps would stay at the 0 that it begins with."""
    optimizer, weight = laprop(0.5, warmup=0), jnp.ones(2)
    step, _ = optimizer.update(jnp.array([1e-3, -1e-3]), optimizer.init(weight), weight)
    np.testing.assert_allclose(step, [-0.5, 0.5], rtol=1e-3)
    with pytest.raises(ValueError, match="warmup must be at least 0"):
        laprop(0.5, warmup=-1)
