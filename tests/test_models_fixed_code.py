"""Codebooks: straight-through values and gradients, losses by hand, dead codes come to life."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stochwm.models import (
    CodeUsage,
    FixedCode,
    code_losses,
    code_perplexity,
    commitment_loss,
    cosine_distance,
    one_hot_code,
    reset_dead,
)
from stochwm.training import partition_trainable

KEY = jax.random.key(2)
CODES = jnp.array([[1.0, 0.0], [0.0, 3.0], [-2.0, -2.0]])


def with_codes(codes, **options):
    made = FixedCode(*np.shape(codes), **options, key=KEY)
    return eqx.tree_at(lambda c: c.codebook, made, jnp.asarray(codes, float))


# --- quantise ---------------------------------------------------------------------------------
def test_a_vector_becomes_its_nearest_code():
    code = with_codes(CODES)
    for vector, number in (([0.9, 0.4], 0), ([1.0, 2.0], 1), ([-1.0, -1.0], 2)):
        value, index = code.quantise(jnp.array(vector))
        assert index == number
        np.testing.assert_array_equal(value, CODES[number])


def test_an_angle_may_decide_instead_of_a_distance():
    vector = jnp.array([0.3, 0.5])
    assert with_codes(CODES).quantise(vector)[1] == 0
    assert with_codes(CODES, distance=cosine_distance).quantise(vector)[1] == 1
    assert np.isfinite(cosine_distance(jnp.zeros(2), CODES)).all()


def test_the_gradient_goes_straight_through():
    """That of f(value) at the code, handed to the vector; none for the codebook."""
    code, vector = with_codes(CODES), jnp.array([0.9, 0.4])

    def after(vector, code):
        value, _ = code.quantise(vector)
        return value[0] ** 2 + 3 * value[1] - value[0] * value[1]

    of_vector, of_code = eqx.filter_grad(lambda x: after(*x))((vector, code))
    np.testing.assert_allclose(of_vector, [2.0, 2.0])  # at the code (1, 0), not at the vector
    assert not of_code.codebook.any()


def test_a_one_hot_code_is_the_nearest_unit_vector():
    vector, units = jnp.array([0.2, -1.0, 0.7]), with_codes(jnp.eye(3))
    value, index = one_hot_code(vector)
    again, same = units.quantise(vector)
    assert index == same == 2
    np.testing.assert_array_equal(value, again)
    slope = jax.grad(lambda v: one_hot_code(v)[0] @ jnp.array([1.0, 2.0, 3.0]))(vector)
    np.testing.assert_allclose(slope, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="must be at least 1, but is 0"):
        FixedCode(*sizes, key=KEY)


def test_a_vector_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"vector must have shape \(2,\), .*\(3,\); vmap"):
        with_codes(CODES).quantise(jnp.zeros(3))


# --- losses -----------------------------------------------------------------------------------
def test_each_loss_moves_one_side():
    code, vector = with_codes(CODES), jnp.array([0.9, 0.4])
    losses = code_losses(code, vector, jnp.array(0))
    assert float(losses.codebook) == float(losses.commitment) == pytest.approx(0.01 + 0.16)
    for name, of_code, of_vector in (
        ("codebook", [0.2, -0.8], [0.0, 0.0]),
        ("commitment", [0.0, 0.0], [-0.2, 0.8]),
    ):
        one = lambda x: getattr(code_losses(*x, jnp.array(0)), name)  # noqa: B023, E731
        slope, moved = eqx.filter_grad(one)((code, vector))
        np.testing.assert_allclose(slope.codebook[0], of_code, atol=1e-6)
        assert not slope.codebook[1:].any()
        np.testing.assert_allclose(moved, of_vector, atol=1e-6)


@pytest.mark.parametrize("kind", ["learned", "one-hot"])
def test_the_whole_loss_reaches_encoder_codebook_and_decoder(kind):
    """An integer code, or a commitment without its stop, leaves the encoder without a gradient."""
    encoder, decoder = jax.random.normal(KEY, (2, 3, 3))
    observation = jnp.array([0.3, -0.7, 1.1])
    book = with_codes(jnp.eye(3) + 0.1)

    def loss(parts, whole):
        encoder, book, decoder = parts
        vector = encoder @ observation
        if kind == "learned":
            value, index = book.quantise(vector)
            pull = sum(code_losses(book, vector, index))
        else:
            value, _ = one_hot_code(vector)
            pull = commitment_loss(vector, value)
        return pull + whole * jnp.sum((decoder @ value - observation) ** 2)

    parts = (encoder, book, decoder)
    slopes = jax.tree.leaves(eqx.filter_grad(loss)(parts, 1.0))
    used = [bool(slope.any()) for slope in slopes]
    assert used == [True, kind == "learned", True]
    assert eqx.filter_grad(loss)(parts, 0.0)[0].any()  # by the commitment alone


# --- usage ------------------------------------------------------------------------------------
def test_idle_steps_are_counted_and_never_trained():
    usage = CodeUsage(4)
    for index in ([0, 2], [2, 2], [3, 0]):
        usage = usage.record(jnp.array(index))
    assert usage.idle.tolist() == [0, 3, 1, 0]
    trainable, _ = partition_trainable((FixedCode(4, 2, key=KEY), usage))
    assert [leaf.shape for leaf in jax.tree.leaves(trainable)] == [(4, 2)]


def test_perplexity_is_the_number_of_codes_in_use():
    assert float(code_perplexity(jnp.array([1, 1, 1]), 4)) == pytest.approx(1)
    assert float(code_perplexity(jnp.array([0, 2, 2, 0]), 4)) == pytest.approx(2)
    skewed = code_perplexity(jnp.array([0, 0, 0, 1]), 4)
    assert float(skewed) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_dead_codes_move_to_different_vectors_and_used_ones_stay():
    code, usage = FixedCode(4, 2, key=KEY), CodeUsage(4)
    usage = eqx.tree_at(lambda u: u.idle, usage, jnp.array([5, 0, 9, 4]))
    vectors = jnp.arange(12.0).reshape(6, 2) + 100
    moved, after = reset_dead(code, usage, vectors, key=KEY, unused_for=5)
    rows = {tuple(v) for v in np.asarray(vectors)}
    at_dead = {tuple(v) for v in np.asarray(moved.codebook[jnp.array([0, 2])])}
    assert len(at_dead) == 2
    assert at_dead <= rows
    stay = jnp.array([1, 3])
    np.testing.assert_array_equal(moved.codebook[stay], code.codebook[stay])
    assert after.idle.tolist() == [0, 0, 0, 4]
    few, _ = reset_dead(code, usage, vectors[:1], key=KEY, unused_for=5)
    np.testing.assert_array_equal(few.codebook[jnp.array([0, 2])], vectors[jnp.array([0, 0])])


def test_few_dead_codes_of_many_get_different_vectors_of_a_small_batch():
    code, usage = FixedCode(64, 2, key=KEY), CodeUsage(64)
    dead = jnp.arange(64) % 9 == 4
    usage = eqx.tree_at(lambda u: u.idle, usage, jnp.where(dead, 99, 0))
    vectors = jnp.arange(16.0).reshape(8, 2) + 100
    seen = set()
    for seed in range(8):
        moved, _ = reset_dead(code, usage, vectors, key=jax.random.key(seed))
        rows = [tuple(row) for row in np.asarray(moved.codebook[dead])]
        assert len(set(rows)) == len(rows) == 7
        seen |= set(rows)
    assert seen == {tuple(v) for v in np.asarray(vectors)}


def test_impossible_resets_are_refused():
    code, usage = FixedCode(4, 2, key=KEY), CodeUsage(4)
    with pytest.raises(ValueError, match="unused_for must be at least 1, but is 0"):
        reset_dead(code, usage, jnp.zeros((3, 2)), key=KEY, unused_for=0)
    with pytest.raises(ValueError, match=r"vectors must have shape \[batch, 2\], .*\(0, 2\)"):
        reset_dead(code, usage, jnp.zeros((0, 2)), key=KEY)


CLUSTERS = np.array([[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0]])


def codes_in_use(key, unused_for, steps=200, batch=32):
    """Train a codebook that begins far away, where all vectors have one nearest code."""
    start = with_codes(jnp.array([[20.0, 20.0], [30.0, 30.0], [30.0, 31.0], [31.0, 30.0]]))
    optimizer = optax.sgd(0.1)

    def draw(key):
        key_cluster, key_noise = jax.random.split(key)
        cluster = jax.random.randint(key_cluster, (batch,), 0, 4)
        noise = 0.1 * jax.random.normal(key_noise, (batch, 2))
        return jnp.asarray(CLUSTERS, jnp.float32)[cluster] + noise

    def step(carry, key):
        codebook, idle = carry
        code = eqx.tree_at(lambda c: c.codebook, start, codebook)
        usage = eqx.tree_at(lambda u: u.idle, CodeUsage(4), idle)
        key_draw, key_reset = jax.random.split(key)
        vectors = draw(key_draw)
        _, index = jax.vmap(code.quantise)(vectors)
        each = lambda code: jax.vmap(code_losses, in_axes=(None, 0, 0))(code, vectors, index)  # noqa: E731
        slope = eqx.filter_grad(lambda code: jnp.mean(each(code).codebook))(code)
        updates, _ = optimizer.update(slope, optimizer.init(code))
        code, usage = eqx.apply_updates(code, updates), usage.record(index)
        code, usage = reset_dead(code, usage, vectors, key=key_reset, unused_for=unused_for)
        return (code.codebook, usage.idle), index

    keys = jax.random.split(key, steps)
    (codebook, _), index = jax.lax.scan(step, (start.codebook, CodeUsage(4).idle), keys)
    return codebook, code_perplexity(index[-10:].reshape(-1), 4)


def test_from_a_bad_start_every_code_comes_into_use():
    """Two that were moved into one cluster share it from then on: chance decides about that."""
    keys = jax.random.split(KEY, 32)
    codebook, perplexity = jax.vmap(lambda key: codes_in_use(key, unused_for=5))(keys)
    assert (perplexity > 2).all()
    distances = np.linalg.norm(codebook[:, :, None] - CLUSTERS, axis=-1)
    found = (distances.min(axis=1) < 0.3).all(axis=-1)
    assert found.mean() > 0.4
    assert (perplexity[found] > 3.8).all()


def test_without_a_reset_the_bad_start_stays():
    _, perplexity = codes_in_use(KEY, unused_for=10_000)
    assert perplexity < 1.1
