"""The layers of latent world models, against the same in plain NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.models import (
    CategoricalLatent,
    ChainedLatent,
    NormalLatent,
    PatchEncoder,
    Perceptron,
    SymlogEncoder,
)
from stochwm.models.block_gru import BlockGRU
from stochwm.models.linear import initial_weights

KEY = jax.random.key(0)


def filled(module):
    """With random numbers in place of biases of 0 and scales of 1, behind which much is hidden."""
    arrays, rest = eqx.partition(module, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    random = np.random.default_rng(0)
    leaves = [jnp.asarray(random.normal(size=x.shape), float) for x in leaves]
    return eqx.combine(jax.tree.unflatten(structure, leaves), rest)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normed(norm, x):
    """RMS norm, then SiLU."""
    x = np.asarray(norm.weight) * x / np.sqrt(np.mean(x**2) + 1e-5)
    return x * sigmoid(x)


def linear(layer, x):
    return np.asarray(layer.weight) @ x + np.asarray(layer.bias)


def perceptron(network, x):
    for layer, norm in zip(network.hidden, network.norms, strict=True):
        x = normed(norm, linear(layer, x))
    return x if network.output is None else linear(network.output, x)


@pytest.mark.parametrize("outputs", [4, None])
def test_perceptron(outputs):
    network, x = filled(Perceptron(3, outputs, 5, 2, key=KEY)), np.array([0.5, -2.0, 1.5], "f")
    np.testing.assert_allclose(network(jnp.asarray(x)), perceptron(network, x), rtol=1e-4)


def test_block_gru():
    """Two blocks: each sees its part of the state, and all of the inputs."""
    cell, random = filled(BlockGRU(6, (3, 2), 4, 2, key=KEY)), np.random.default_rng(1)
    state, *inputs = (random.normal(size=size).astype("f") for size in (6, 3, 2))
    embedded = [perceptron(e, x) for e, x in zip(cell.embed, (state, *inputs), strict=True)]
    rows = np.split(state, 2)
    blocks = lambda layer: zip(layer.weight, layer.bias, strict=True)  # noqa: E731
    mixed = [
        np.asarray(weight) @ np.concatenate([row, *embedded]) + bias
        for (weight, bias), row in zip(blocks(cell.mix), rows, strict=True)
    ]
    hidden = np.split(normed(cell.norm, np.concatenate(mixed)), 2)
    expected = []
    for (weight, bias), row, x in zip(blocks(cell.gates), rows, hidden, strict=True):
        reset, candidate, update = np.split(np.asarray(weight) @ x + bias, 3)
        u = sigmoid(update - 1)
        expected.append(u * np.tanh(sigmoid(reset) * candidate) + (1 - u) * row)
    found = cell(jnp.asarray(state), *map(jnp.asarray, inputs))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-3, atol=1e-5)


def test_initial_weights_have_the_variance_of_their_inputs():
    weights = initial_weights((2, 300, 40), KEY)
    np.testing.assert_allclose(np.var(weights, axis=(1, 2)), 1 / 40, rtol=0.05)


def test_encoders_scale_what_they_see():
    x, image = np.array([0.0, 99.0, -3.0], "f"), np.arange(0, 256, 17).astype("f")
    numbers = filled(SymlogEncoder(Perceptron(3, None, 4, 1, key=KEY)))
    expected = perceptron(numbers.network, np.sign(x) * np.log1p(np.abs(x)))
    np.testing.assert_allclose(numbers(jnp.asarray(x)), expected, rtol=1e-4)
    pictures = filled(PatchEncoder((4, 4, 1), 2, 3, 5, key=KEY))
    squares = image.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4) / 255 - 0.5
    told = np.concatenate([perceptron(pictures.patches, square) for square in squares])
    np.testing.assert_allclose(
        pictures(jnp.asarray(image)), perceptron(pictures.whole, told), rtol=1e-3
    )


def test_latents_from_raw_outputs():
    raw = jnp.array([1.0, -2.0, 0.0, 3.0])
    normal = NormalLatent(2)(raw)
    np.testing.assert_allclose(normal.loc, [1.0, -2.0])
    np.testing.assert_allclose(normal.scale, np.log1p(np.exp([0.0, 3.0])) + 0.1, rtol=1e-6)
    share = sigmoid(np.array([3.0, -3.0, -3.0, 3.0]))
    categories = CategoricalLatent(2, 2, mix=0.2)(raw).mean()
    np.testing.assert_allclose(categories, 0.8 * share + 0.1, rtol=1e-5)


def test_a_chain_begins_with_what_was_drawn_as_heavy_as_the_context():
    """One class of each of 20 groups adds up to variance 1; unimix is that of the latent."""
    latent = ChainedLatent(CategoricalLatent(20, 5, mix=0.2))
    chain = latent.prior(latent.prior_head(8, 30, 1, key=KEY), jnp.ones(8))
    assert chain.mix == 0.2
    np.testing.assert_allclose(np.var(chain.seen), 1 / 20, rtol=0.1)
    np.testing.assert_allclose(np.var(chain.weight), 1 / 30, rtol=0.1)
