"""Laws that every distribution of the table has to obey, whatever its family."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PyTree
from scipy import stats

from stochwm.distributions import DiagNormalMixture, MixtureNoise
from tests.cases import (
    ATOMS,
    DISCRETE,
    NO_AFFINE,
    NO_CDF,
    NO_MOMENTS,
    NO_SMOOTHED,
    instance,
    names,
    stack,
)

NUM_SAMPLES = 100_000
P_LIMIT = 2e-5  # each Kolmogorov-Smirnov test fails by chance this often; the keys are fixed

over_distributions = pytest.mark.parametrize("name", names())


class Draws(eqx.Module):
    """Many draws of one instance with the noise that made them, and that noise put to use."""

    x: PyTree
    noise: PyTree
    abducted: PyTree
    again: PyTree  # the abducted noise pushed through the same law
    counterfactual: PyTree  # ... and through another one
    elsewhere: PyTree  # draws of that other one


@cache
def draws(name) -> Draws:
    """One program a family: compiling random numbers is what these tests cost."""
    other = instance(name, 2.0)

    @eqx.filter_jit
    def run(distribution, other):
        def one(key):
            key_draw, key_abduct = jax.random.split(key)
            x, noise = distribution.sample(seed=key_draw), distribution.noise(seed=key_draw)
            abducted = distribution.abduct(x, key=key_abduct)
            again, counterfactual = distribution.push(abducted), other.push(abducted)
            return Draws(x, noise, abducted, again, counterfactual, other.push(noise))

        return jax.vmap(one)(jax.random.split(jax.random.key(2), NUM_SAMPLES))

    return jax.tree.map(np.asarray, run(instance(name), other))


def z_scores(values, expected):
    """How many standard errors the mean of the rows is from `expected`."""
    error = values.std(axis=0) / np.sqrt(len(values))
    return np.abs(values.mean(axis=0) - np.asarray(expected)) / np.maximum(error, 1e-6)


def same_law(a, b):
    """Smallest p-value of two-sample tests over the entries of two stacked pytrees.

    The first half of one meets the second half of the other: equal rows are not independent.
    """
    flat = [
        np.concatenate([np.reshape(x, (len(x), -1)) for x in jax.tree.leaves(tree)], axis=1)
        for tree in (a, b)
    ]
    half = len(flat[0]) // 2
    pairs = zip(flat[0][:half].T, flat[1][half:].T, strict=True)
    return min(stats.ks_2samp(x, y).pvalue for x, y in pairs)


def row(tree, i):
    return jax.tree.map(lambda x: x[i] if eqx.is_array_like(x) else x, tree)


def assert_close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


@over_distributions
def test_pytree_contract(name):
    distribution, several, noise = instance(name), stack(name), row(draws(name).noise, slice(4))
    leaves = jax.tree.leaves(distribution)
    assert all(eqx.is_array(leaf) or callable(leaf) for leaf in leaves)
    assert not any("distrax" in type(leaf).__module__ for leaf in leaves)
    back = eqx.combine(*eqx.partition(distribution, eqx.is_inexact_array))
    assert eqx.tree_equal(back, distribution)

    traces = []

    @eqx.filter_jit
    def through(distribution, noise):
        traces.append(1)
        return distribution, distribution.push(noise)

    stacked, values = eqx.filter_jit(eqx.filter_vmap(lambda d, n: (d, d.push(n))))(several, noise)
    assert eqx.tree_equal(stacked, several)
    for i in range(4):
        single = row(several, i)
        out, value = through(single, row(noise, i))
        assert eqx.tree_equal(out, single)
        assert_close(row(values, i), value, rtol=1e-4, atol=1e-5)
    assert len(traces) == 1
    first = [eqx.filter(tree, eqx.is_array) for tree in (row(several, 0), distribution)]
    assert_close(*first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", names({"autoregressive_bins"}))
def test_carried_and_recorded_by_scan(name):
    distribution, noise = instance(name), row(draws(name).noise, slice(3))

    @eqx.filter_jit
    def run(distribution, noise):
        return jax.lax.scan(lambda d, n: (d, (d, d.push(n))), distribution, noise)

    carry, (record, values) = run(distribution, noise)
    assert eqx.tree_equal(carry, distribution)
    assert eqx.tree_equal(row(record, 2), distribution)
    assert_close(values, row(draws(name).x, slice(3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["diag_normal", "uniform_of_mixtures"])
def test_leaks_no_tracer(name):
    distribution = instance(name)

    @eqx.filter_jit
    def methods(distribution, noise, key):
        x = distribution.push(noise)
        density = distribution.log_prob(x) + distribution.to_distrax().log_prob(x)
        return distribution, x, distribution.abduct(x, key=key), density

    with jax.checking_leaks():
        methods(distribution, row(draws(name).noise, 0), jax.random.key(0))


@pytest.mark.parametrize("name", names(NO_MOMENTS))
def test_sample_moments(name):
    distribution, x = instance(name), draws(name).x.astype(np.float64)
    mean, variance, covariance = eqx.filter_jit(lambda d: (d.mean(), d.variance(), d.covariance()))(
        distribution
    )
    assert z_scores(x, mean).max() < 5
    centred = x - np.asarray(mean)
    assert z_scores(centred**2, variance).max() < 5
    products = centred[:, :, None] * centred[:, None]
    assert z_scores(products, covariance).max() < 5
    np.testing.assert_allclose(np.diagonal(covariance), variance, rtol=1e-4, atol=1e-6)


def test_sample_moments_would_see_five_percent():
    x = draws("diag_mixture").x.astype(np.float64)
    centred = x - np.asarray(instance("diag_mixture").mean())
    wider = np.asarray(instance("diag_mixture").variance()) * 1.05**2
    assert z_scores(centred**2, wider).min() > 5


@pytest.mark.parametrize("name", names(NO_CDF))
def test_samples_follow_the_marginal_cdf(name):
    """At atoms with a level drawn between the limits of the cdf, which are equal elsewhere."""
    x = draws(name).x
    limits = eqx.filter_jit(lambda d, x: jax.vmap(d.cdf_limits)(x))(instance(name), x)
    left, right = (np.asarray(limit, np.float64) for limit in limits)
    assert (right > left).any() == (name in ATOMS)
    levels = left + np.random.default_rng(0).random(x.shape) * (right - left)
    for column in levels.T:
        assert stats.kstest(column, "uniform").pvalue > P_LIMIT


@pytest.mark.parametrize("name", names(NO_CDF))
def test_quantile_inverts_cdf_and_cdf_is_monotone(name):
    @eqx.filter_jit
    def round_trip(d, x):
        levels = jax.vmap(d.cdf)(x)
        there = jax.vmap(d.quantile)(levels)
        return levels, there, jax.vmap(d.cdf)(there)

    x = draws(name).x[:500]
    levels, there, back = round_trip(instance(name), x)
    # Where the density is low, a level does not tell values apart in float32: compare levels.
    np.testing.assert_allclose(there, x, atol=2e-2)
    assert np.median(np.abs(there - x)) < 1e-5
    np.testing.assert_allclose(back, levels, atol=1e-5)
    for d in range(x.shape[1]):
        assert np.all(np.diff(levels[np.argsort(x[:, d]), d]) >= -1e-6)


@over_distributions
def test_push_undoes_abduct(name):
    x, again = draws(name).x, draws(name).again
    if name in DISCRETE:
        return assert_close(again, x, atol=0)
    assert np.median(np.abs(again - x)) < 1e-5
    # A level between 0 and 1 is all that bins keep of a value; float32 rounds it.
    assert_close(again, x, atol=0.02 if name == "autoregressive_bins" else 1e-4)


@pytest.mark.parametrize("name", names({"deterministic"}))
def test_abducted_noise_has_the_law_of_noise(name):
    assert same_law(draws(name).noise, draws(name).abducted) > P_LIMIT


@over_distributions
def test_abducted_noise_under_another_law_gives_that_law(name):
    """Joint, where the test above looks at the noise entry by entry."""
    assert same_law(draws(name).counterfactual, draws(name).elsewhere) > P_LIMIT


def test_a_wrong_posterior_is_seen():
    """Abduction that forgets the value when it explains the choice must fail the law."""
    distribution, known = instance("diag_mixture"), draws("diag_mixture")

    def forgetful(x, choice):
        index = jnp.argmax(distribution.log_weights() + choice)
        return MixtureNoise(choice, distribution.component(index).abduct(x))

    wrong = jax.jit(jax.vmap(forgetful))(known.x, np.roll(known.noise.choice, 1, axis=0))
    assert same_law(known.noise, wrong) < P_LIMIT


def test_losing_categories_stay_below_the_winner():
    """Else rounding lets a loser win once in a million draws, and nothing changed is a change."""
    distribution = instance("one_hot")

    def gap(key):
        noise = distribution.abduct(jnp.eye(4)[2], key=key)
        race = jnp.sort(distribution.log_probs() + noise)
        return race[-1] - race[-2]

    gaps = jax.jit(jax.vmap(gap))(jax.random.split(jax.random.key(9), 400_000))
    assert gaps.min() > 0.5e-5


def test_noise_of_an_all_but_impossible_option_is_finite():
    mixture = DiagNormalMixture(
        jnp.array([0.0, -200.0, -jnp.inf]), jnp.zeros((3, 1)), jnp.ones((3, 1))
    )
    noise = mixture.abduct(jnp.zeros(1), key=jax.random.key(0))
    assert np.isfinite(noise.choice).all()


@pytest.mark.parametrize("name", names(NO_AFFINE))
def test_affine_moves_samples_and_densities(name):
    x, noise = draws(name).x[:100], row(draws(name).noise, slice(100))
    shift, scale = jnp.array([0.5, -3.0]), jnp.array([2.0, 0.25])

    @eqx.filter_jit
    def run(distribution, x, noise):
        moved = distribution.affine(shift, scale)
        there = shift + scale * x
        log_prob, moved_log_prob = (
            jax.vmap(distribution.log_prob)(x),
            jax.vmap(moved.log_prob)(there),
        )
        return jax.vmap(moved.push)(noise), there, log_prob, moved_log_prob

    samples, there, log_prob, moved_log_prob = run(instance(name), x, noise)
    # Length counts in dimensions that are no atoms, whose values come again and again.
    free = np.stack([(draws(name).x == row).sum(axis=0) < 50 for row in x])
    volume = free @ np.log(scale)
    np.testing.assert_allclose(samples, there, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(moved_log_prob, log_prob - volume, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("name", names(NO_SMOOTHED))
def test_smoothed_is_the_law_of_value_plus_noise(name):
    """`E_x N(y; x, scale^2)` over samples x, which knows nothing of the family."""
    distribution, scale = instance(name), jnp.array([0.5, 1.5])
    x = draws(name).x
    y = x[:8] + np.asarray(scale) * np.array([0.3, -0.6])

    @eqx.filter_jit
    def run(distribution, x, y):
        density = jnp.exp(jax.vmap(distribution.smoothed(scale).log_prob)(y))
        e = (y[:, None] - x) / scale
        kernels = jnp.exp(-0.5 * jnp.sum(e**2, axis=-1)) / (2 * jnp.pi * jnp.prod(scale))
        return density, kernels.T

    density, kernels = run(distribution, x, y)
    if name == "deterministic":
        np.testing.assert_allclose(density, kernels[0], rtol=1e-4)
    else:
        assert z_scores(np.asarray(kernels, np.float64), density).max() < 5


@pytest.mark.parametrize("name", [n for n in names() if "mixture" in n or "uniform_of" in n])
def test_weights_sum_to_one_and_components_have_the_event_shape(name):
    distribution = instance(name)
    np.testing.assert_allclose(distribution.weights().sum(), 1.0, rtol=1e-6)
    assert distribution.component(1).event_shape == distribution.event_shape


@pytest.mark.parametrize(
    "name",
    ["diag_normal", "full_normal", "diag_mixture", "full_mixture"]
    + ["uniform_box", "box_mixture", "uniform_of_mixtures"],
)
def test_a_marginal_is_that_of_these_dimensions_in_this_order(name):
    @eqx.filter_jit
    def both(whole, x):
        part = whole.marginal((1, 0))
        one = whole.marginal((1,))
        turned = part.log_prob(x[::-1]) - whole.log_prob(x)
        return part.covariance(), whole.covariance(), one.cdf(x[1:]), whole.cdf(x)[1:], turned

    whole = instance(name)
    x = whole.mean() + 0.1
    part_cov, cov, one, other, turned = both(whole, x)
    np.testing.assert_allclose(part_cov, cov[::-1, ::-1], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(turned, 0.0, atol=2e-5)
