"""Chained categoricals against all their outcomes, written out one by one."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.distributions import ChainedCategoricals, OneHotCategoricals, unimix
from tests.cases import chained

GROUPS = CLASSES = 3
CHAIN = chained(0.0, GROUPS, CLASSES)
OUTCOMES = list(product(range(CLASSES), repeat=GROUPS))
VALUES = np.asarray([np.eye(CLASSES)[list(outcome)].ravel() for outcome in OUTCOMES], np.float32)


def mass_by_hand(chain, outcome):
    """Probability of one outcome, with loops and no broadcasting."""
    seen, weight, bias = (np.asarray(x, float) for x in (chain.seen, chain.weight, chain.bias))
    hidden, mass = np.asarray(chain.context, float), 1.0
    for group, drawn in enumerate(outcome):
        x = hidden / np.sqrt(np.mean(hidden**2) + 1e-5)
        logits = bias[group] + weight[group] @ (x / (1 + np.exp(-x)))
        probs = np.exp(logits) / np.exp(logits).sum()
        mass *= (1 - chain.mix) * probs[drawn] + chain.mix / len(probs)
        hidden = hidden + seen[group, drawn] if group < len(seen) else hidden
    return mass


MASSES = np.asarray([mass_by_hand(CHAIN, outcome) for outcome in OUTCOMES])


def test_mass_is_that_of_the_loops():
    np.testing.assert_allclose(MASSES.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(jnp.exp(jax.vmap(CHAIN.log_prob)(VALUES)), MASSES, rtol=1e-5)


def test_draws_have_the_mass_of_each_outcome_and_what_goes_together():
    keys = jax.random.split(jax.random.key(0), 200_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: CHAIN.sample(seed=key)))(keys))
    shares = (drawn @ VALUES.T == GROUPS).mean(axis=0)
    marginal = MASSES @ VALUES
    apart = np.asarray([np.prod(marginal[value > 0]) for value in VALUES])
    variation = lambda masses: 0.5 * np.abs(shares - masses).sum()  # noqa: E731
    assert variation(MASSES) < 0.005
    assert variation(apart) > 0.02, "independent groups with the same marginals would do"


def test_divergence_from_what_is_given_is_that_from_the_chain():
    posterior = OneHotCategoricals(jnp.linspace(-1.0, 2.0, VALUES.shape[1]), (CLASSES,) * GROUPS)
    q = np.exp(np.asarray(jax.vmap(posterior.log_prob)(VALUES), float))
    exact = np.sum(q * (np.log(q) - np.log(MASSES)))
    given = jax.vmap(lambda value: posterior.kl_divergence(CHAIN.given(value)))(VALUES)
    np.testing.assert_allclose(q @ np.asarray(given, float), exact, rtol=1e-5)
    assert np.ptp(given) > 0.1


def test_a_group_knows_those_before_it_and_no_other():
    slopes = jax.jacobian(lambda value: CHAIN.given(value).logits)(jnp.asarray(VALUES[5]))
    blocks = np.asarray(slopes).reshape(GROUPS, CLASSES, GROUPS, CLASSES)
    size = np.abs(blocks).max(axis=(1, 3))
    assert (size[np.tril_indices(GROUPS, -1)] > 1e-3).all()
    assert (size[np.triu_indices(GROUPS)] == 0).all()


def test_gradients_go_straight_through_the_whole_chain():
    noise = CHAIN.noise(seed=jax.random.key(1))

    def last_group(seen):
        chain = ChainedCategoricals(CHAIN.context, seen, CHAIN.weight, CHAIN.bias, CHAIN.mix)
        return jnp.arange(CLASSES) @ chain.push(noise)[-CLASSES:]

    size = np.abs(jax.grad(last_group)(CHAIN.seen)).max(axis=(1, 2))
    assert (size > 1e-4).all()


def test_a_chain_of_one_group_is_that_group():
    chain = chained(0.0, 1, CLASSES)
    hidden = chain.context / jnp.sqrt(jnp.mean(chain.context**2) + 1e-5)
    alone = OneHotCategoricals(chain.bias[0] + chain.weight[0] @ jax.nn.silu(hidden))
    noise, value = chain.noise(seed=jax.random.key(0)), jnp.eye(CLASSES)[1]
    np.testing.assert_array_equal(chain.push(noise), unimix(alone, chain.mix).push(noise))
    np.testing.assert_allclose(chain.log_prob(value), unimix(alone, chain.mix).log_prob(value))


def test_shapes_that_do_not_fit_are_named():
    rows = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match=r"weight must have shape .*\[groups, classes, width\]"):
        ChainedCategoricals(jnp.zeros(4), jnp.zeros((1, 3, 4)), jnp.zeros((2, 3, 5)), rows)
    with pytest.raises(NotImplementedError, match="no closed-form mean: average over samples"):
        CHAIN.mean()
