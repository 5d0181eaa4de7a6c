import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from stochwm.distributions import BoxMixture, UniformBox
from stochwm.distributions.blurred_interval import (
    blurred_cdf,
    blurred_entropy,
    blurred_log_density,
)

LOGITS = jnp.log(jnp.array([0.3, 0.2, 0.5]))


def wet() -> BoxMixture:
    """A fall to the origin, an atom in one dimension, and an interval in the other."""
    low = jnp.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]])
    high = jnp.array([[0.0, 0.0], [2.0, 0.0], [2.0, 4.0]])
    return BoxMixture(LOGITS, low, high)


def solid() -> BoxMixture:
    low = jnp.array([[0.0, 0.0], [2.0, -1.0], [0.5, 0.5]])
    return BoxMixture(LOGITS, low, low + jnp.array([1.0, 2.0]))


LEVELS = jnp.array([0.1, 0.45, 0.9])


@eqx.filter_jit  # all mixtures here have the same shapes: one compilation serves the tests
def sample_many(distribution):
    keys = jax.random.split(jax.random.key(0), 20_000)
    return jax.vmap(lambda key: distribution.sample(seed=key))(keys)


@eqx.filter_jit
def summary(d):
    q = jax.vmap(d.quantile)(LEVELS)
    moments = d.mean(), d.variance(), d.covariance(), d.log_prob(jnp.array([0.3, 0.7]))
    return *moments, q, jax.vmap(d.cdf)(q), jax.vmap(d.cdf)(q - 1e-3)


@eqx.filter_jit
def log_prob(distribution, value):
    return distribution.log_prob(value)


@eqx.filter_jit
def entropies(d):
    return (
        d.entropy(),
        *d.entropy_bounds(),
        *d.entropy_estimate(key=jax.random.key(1), num_samples=20_000),
    )


@pytest.mark.parametrize("make", [wet, solid, lambda: wet().smoothed(jnp.array([0.1, 0.3]))])
def test_sample_moments_and_marginals(make):
    x = np.asarray(sample_many(make()))
    mean, variance, covariance, _, q, at_q, below_q = summary(make())
    np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(x.var(0), variance, atol=0.04)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.04)
    for i, level in enumerate(LEVELS):
        np.testing.assert_allclose((x <= np.asarray(q[i]) + 1e-6).mean(0), at_q[i], atol=0.015)
        assert (np.asarray(at_q[i]) >= level - 1e-5).all()
        assert (np.asarray(below_q[i]) <= level + 1e-5).all()


def test_quantile_is_exact_at_atoms_and_has_their_gradient():
    @jax.jit
    @jax.value_and_grad
    def quantiles(low, level):
        return BoxMixture(LOGITS, low, wet().high).quantile(level).sum()

    np.testing.assert_allclose(quantiles(wet().low, 0.25)[0], 0.0, atol=1e-12)
    value, grad = quantiles(wet().low, 0.75)
    np.testing.assert_allclose(value, 2.0 + 2.5, atol=1e-5)
    # y = 1 + (level - .5) * 3 / .5: half of the interval's low side; x: the mean of two atoms.
    np.testing.assert_allclose(grad, [[0, 0], [0.5, 0], [0.5, 0.5]], atol=1e-4)


def test_log_prob_gives_atoms_their_mass():
    values = {(0.0, 0.0): 0.3, (2.0, 0.0): 0.2, (2.0, 3.0): 0.5 / 3, (2.0, 4.5): 0, (1.0, 2.0): 0}
    for value, expected in values.items():
        np.testing.assert_allclose(np.exp(log_prob(wet(), jnp.array(value))), expected, rtol=1e-5)


def test_an_atom_inside_an_interval_dominates_it():
    mixture = BoxMixture(jnp.log(jnp.array([0.25, 0.75])), [[1.0], [0.0]], [[1.0], [2.0]])
    np.testing.assert_allclose(np.exp(log_prob(mixture, jnp.array([1.0]))), 0.25, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_prob(mixture, jnp.array([1.1]))), 0.375, rtol=1e-5)
    assert np.isnan(log_prob(mixture, jnp.array([jnp.nan])))


def test_blurred_density_and_cdf_against_quadrature():
    mixture = BoxMixture(LOGITS, [[0.0], [0.0], [1.0]], [[0.0], [0.0], [1.3]]).smoothed(0.2)
    x = jnp.linspace(-1.5, 3.0, 3001)[:, None]
    density = jnp.exp(jax.vmap(mixture.log_prob)(x))
    np.testing.assert_allclose(np.trapezoid(density, x[:, 0]), 1.0, atol=1e-5)
    cdf = integrate.cumulative_trapezoid(density, x[:, 0], initial=0.0)
    np.testing.assert_allclose(jax.vmap(mixture.cdf)(x)[:, 0], cdf, atol=1e-5)


WIDTHS = np.array([1e-4, 0.019, 0.021, 0.5, 3.0, 100.0])[:, None]
PLACES = np.array([-60.0, -8.0, -1.0, 0.0, 0.4, 5.0, 101.0, 160.0])


@pytest.fixture(scope="module")
def blurred():
    """Log density, cdf and slope of the log density of unit blur, `[widths, places]` each."""
    x, width = (jnp.asarray(a, float) for a in np.broadcast_arrays(PLACES, WIDTHS))
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)

    @jax.jit
    def evaluate(x):
        total = lambda x: blurred_log_density(x, zero, width, one).sum()  # noqa: E731
        log_density = blurred_log_density(x, zero, width, one)
        return log_density, blurred_cdf(x, zero, width, one), jax.grad(total)(x)

    return evaluate(x)


def test_blurred_log_density_in_the_tails(blurred):
    nodes, weights = np.polynomial.legendre.leggauss(400)
    y = WIDTHS[..., None] * 0.5 * (nodes + 1)
    terms = stats.norm.logpdf(PLACES[:, None] - y)
    expected = special.logsumexp(terms, b=0.5 * weights, axis=-1)
    np.testing.assert_allclose(blurred[0], expected, rtol=2e-5, atol=1e-3)
    assert np.isfinite(blurred[2]).all()


def test_blurred_cdf_is_the_averaged_normal_one(blurred):
    nodes, weights = np.polynomial.legendre.leggauss(400)
    y = WIDTHS[..., None] * 0.5 * (nodes + 1)
    expected = np.sum(stats.norm.cdf(PLACES[:, None] - y) * 0.5 * weights, axis=-1)
    np.testing.assert_allclose(blurred[1], expected, atol=2e-5)


def test_blurred_entropy_from_atom_to_wide_interval():
    width = jnp.array([0.0, 0.01, 1.0, 10.0, 40.0])
    got = blurred_entropy(width, jnp.full_like(width, 2.0))

    def exact(r):
        pdf = lambda t: (stats.norm.cdf(t) - stats.norm.cdf(t - r)) / r  # noqa: E731
        f = lambda t: -pdf(t) * np.log(max(pdf(t), 1e-300))  # noqa: E731
        return integrate.quad(f, -10, r + 10, limit=400)[0] + np.log(2.0)

    expected = [0.5 * np.log(2 * np.pi * np.e * 4)] + [exact(float(w) / 2) for w in width[1:]]
    np.testing.assert_allclose(got, expected, atol=1e-4)


@eqx.filter_jit
def there_and_back(distribution):
    def around(key):
        value = distribution.sample(seed=key)
        noise = distribution.abduct(value, key=jax.random.fold_in(key, 1))
        return value, distribution.push(noise)

    return jax.vmap(around)(jax.random.split(jax.random.key(3), 500))


@pytest.mark.parametrize("make", [wet, solid, lambda: wet().smoothed(jnp.array([0.0, 0.3]))])
def test_push_undoes_abduct(make):
    value, again = there_and_back(make())
    np.testing.assert_allclose(value, again, atol=2e-5)


def test_abducted_noise_has_its_own_law():
    def noise(key):
        box = UniformBox(jnp.array([0.0]), jnp.array([1.0]), jnp.array([0.7]))
        seed, key = jax.random.split(key)  # not fold_in(key, 1): that is a key of the sample
        return box.abduct(box.sample(seed=seed), key=key)

    u = jax.jit(jax.vmap(noise))(jax.random.split(jax.random.key(3), 5000))
    assert stats.kstest(np.ravel(u.uniform), "uniform").pvalue > 0.01
    assert stats.kstest(np.ravel(u.normal), "norm").pvalue > 0.01


def test_abduct_far_from_the_box_is_finite():
    box = UniformBox(jnp.array([0.0]), jnp.array([1.0]), jnp.array([0.1]))
    noise = box.abduct(jnp.array([500.0]), key=jax.random.key(0))
    np.testing.assert_allclose(box.push(noise), [500.0], rtol=1e-6)


def test_entropy_where_boxes_are_disjoint_or_identical():
    entropy, lower, upper, estimate, error = entropies(wet())
    np.testing.assert_allclose(entropy, estimate, atol=5 * error)
    np.testing.assert_allclose([lower, upper], [entropy] * 2, rtol=1e-6)
    one = UniformBox(jnp.zeros(2), jnp.array([1.0, 2.0]))
    same = BoxMixture(LOGITS, jnp.stack([one.low] * 3), jnp.stack([one.high] * 3))
    np.testing.assert_allclose(entropies(same)[0], np.log(2), rtol=1e-5)


@pytest.mark.parametrize("make", [solid, lambda: wet().smoothed(jnp.array([0.1, 0.1]))])
def test_entropy_of_overlapping_or_blurred_boxes_is_not_claimed(make):
    with pytest.raises(NotImplementedError, match="entropy_bounds"):
        make().entropy()
    entropy, lower, upper, estimate, error = entropies(make())
    assert np.isnan(entropy)
    assert lower - 5 * error < estimate < upper + 5 * error


def test_affine_and_smoothed_change_the_density_as_they_must():
    shift, scale = jnp.array([1.0, -2.0]), jnp.array([2.0, 0.5])
    smooth = wet().smoothed(jnp.array([0.1, 0.2]))
    x = jnp.array([1.8, 0.7])
    expected = log_prob(smooth, x) - jnp.sum(jnp.log(scale))
    moved = smooth.affine(shift, scale)
    np.testing.assert_allclose(log_prob(moved, shift + scale * x), expected, rtol=1e-5)
    np.testing.assert_allclose(wet().smoothed(3.0).smoothed(4.0).blur, 5.0)


def test_distrax_twin_where_there_is_one():
    x = jnp.array([0.7, 0.9])
    np.testing.assert_allclose(solid().to_distrax().log_prob(x), log_prob(solid(), x), rtol=1e-5)
    for mixture in (wet(), solid().smoothed(0.1)):
        with pytest.raises(NotImplementedError, match="atoms"):
            mixture.to_distrax()
        assert np.isnan(eqx.filter_jit(lambda m: m.to_distrax().log_prob(x))(mixture))


def test_modes_are_the_centres():
    modes = wet().modes()
    np.testing.assert_allclose(modes.loc, [[0, 0], [2, 0], [2, 2.5]])
    np.testing.assert_allclose(modes.weight, [0.3, 0.2, 0.5], rtol=1e-5)
    np.testing.assert_allclose(np.exp(modes.log_density), [0.3, 0.2, 0.5 / 3], rtol=1e-5)
    np.testing.assert_allclose(wet().mode(), [2, 2.5])


def test_a_sample_refuses_a_gradient_in_the_logits_and_has_the_others():
    def total(logits, low, stop):
        logits = jax.lax.stop_gradient(logits) if stop else logits
        return BoxMixture(logits, low, wet().high).sample(seed=jax.random.key(0)).sum()

    with pytest.raises(NotImplementedError, match="no gradient in its logits"):
        jax.grad(total)(LOGITS, wet().low, False)
    with pytest.raises(NotImplementedError, match="no gradient in its logits"):
        jax.grad(jax.jit(total, static_argnums=2))(LOGITS, wet().low, False)
    grad = jax.grad(total, argnums=1)(LOGITS, wet().low, True)
    assert np.isfinite(grad).all()
    assert np.any(grad != 0)
    score = jax.grad(
        lambda logits: BoxMixture(logits, wet().low, wet().high).log_prob(jnp.array([2.0, 3.0]))
    )(LOGITS)
    np.testing.assert_allclose(score, [-0.3, -0.2, 0.5], rtol=1e-5)


def test_switched_off_and_vmapped_components():
    off = BoxMixture(jnp.array([-jnp.inf, 0.0, 0.0]), wet().low, wet().high)
    assert log_prob(off, jnp.zeros(2)) == -jnp.inf
    assert (sample_many(off)[:, 0] == 2.0).all()
    stacked = eqx.filter_vmap(lambda s: wet().smoothed(s))(jnp.array([0.1, 0.2]))
    rows = eqx.filter_vmap(lambda m: m.log_prob(jnp.ones(2)))(stacked)
    np.testing.assert_allclose(rows[1], log_prob(wet().smoothed(0.2), jnp.ones(2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((LOGITS, jnp.zeros((2, 2)), jnp.zeros((2, 2))), "3 components"),
        ((LOGITS, jnp.zeros(3), jnp.zeros(3)), r"low must have shape"),
        ((LOGITS, jnp.ones((3, 1)), jnp.zeros((3, 1))), "low must not exceed high"),
        ((LOGITS, jnp.zeros((3, 1)), jnp.zeros((3, 1)), -1.0), "blur must not be negative"),
        ((LOGITS * jnp.nan, jnp.zeros((3, 1)), jnp.zeros((3, 1))), "logits must be"),
        ((LOGITS, jnp.full((3, 1), jnp.nan), jnp.zeros((3, 1))), "low must be finite"),
    ],
)
def test_bad_parameters_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        BoxMixture(*arguments)
