"""Censored normals: atoms at the bounds, exact moments and scores, and what is learned of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stochwm.calibration import crps, fit_spread, needed_spread, pit, spread
from stochwm.data import Transitions
from stochwm.distributions import Censored, DiagNormal, UniformMixture
from stochwm.training import default_optimizer, fit, negative_log_likelihood
from stochwm.transitions import (
    AbstractTransition,
    Bounds,
    BoxMixtureDensity,
    Clipped,
    Ensemble,
    Gaussian,
)
from tests import cases
from tests.precision import x64

KEY = jax.random.key(0)
LOC, SCALE, LOW, HIGH = np.array([0.3, -2.0]), np.array([1.0, 0.7]), -0.5, 1.2


def normal():
    return Censored(DiagNormal(LOC, SCALE), LOW, HIGH)


def quadrature(d):
    """Mass below and above, and a grid between the bounds with the mass of each cell."""
    law = stats.norm(LOC[d], SCALE[d])
    edges = np.linspace(LOW, HIGH, 100_001)
    return law.cdf(LOW), law.sf(HIGH), 0.5 * (edges[:-1] + edges[1:]), np.diff(law.cdf(edges))


def test_moments_and_entropy_are_those_of_the_clipped_normal():
    with x64():
        law = normal()
        mean, variance, entropy = law.mean(), law.variance(), law.entropy()
    surprise = 0.0
    for d in range(2):
        below, above, x, mass = quadrature(d)
        first = below * LOW + above * HIGH + mass @ x
        second = below * LOW**2 + above * HIGH**2 + mass @ x**2
        np.testing.assert_allclose(mean[d], first, rtol=1e-8)
        np.testing.assert_allclose(variance[d], second - first**2, rtol=1e-7)
        density = stats.norm(LOC[d], SCALE[d]).logpdf(x)
        surprise -= below * np.log(below) + above * np.log(above) + mass @ density
    np.testing.assert_allclose(entropy, surprise, rtol=1e-7)


def test_log_prob_is_mass_at_bounds_and_density_between():
    one, two = (stats.norm(*x) for x in zip(LOC, SCALE, strict=True))
    with x64():
        law = normal()
        for value, expected in (
            ([LOW, HIGH], one.logcdf(LOW) + two.logsf(HIGH)),
            ([0.1, LOW], one.logpdf(0.1) + two.logcdf(LOW)),
            ([0.1, 0.2], one.logpdf(0.1) + two.logpdf(0.2)),
            ([0.1, LOW - 1e-3], -np.inf),
            ([np.nan, 0.2], np.nan),
        ):
            np.testing.assert_allclose(law.log_prob(np.array(value)), expected, rtol=1e-10)


@pytest.mark.parametrize("high", [1e6, np.finfo(np.float32).max, np.inf])
def test_a_far_bound_changes_nothing(high):
    """Nor what is near the other bound, nor a score in which weights sum to 1 but for rounding."""
    near, far = (Censored(cases.diag_mixture(0.0), 0.0, bound) for bound in (10.0, high))
    for value in (jnp.array([0.01, 0.02]), jnp.array([0.0, 0.3])):
        np.testing.assert_allclose(far.log_prob(value), near.log_prob(value), rtol=1e-6)
        np.testing.assert_array_equal(far.cdf_limits(value), near.cdf_limits(value))
        np.testing.assert_allclose(crps(far, value), crps(near, value), rtol=1e-5)
    one = Censored(DiagNormal([0.3], [0.1]), 0.0, high)
    np.testing.assert_allclose(one.log_prob([0.2]), stats.norm(0.3, 0.1).logpdf(0.2), rtol=1e-5)


def test_bounds_on_one_side_of_all_mass_are_atoms_to_a_score():
    for bounds, place in (((2.0, 3.0), 2.0), ((-3.0, -2.0), -2.0), ((2.0, np.inf), 2.0)):
        law = Censored(DiagNormal([0.0], [0.01]), *bounds)
        np.testing.assert_allclose(crps(law, [0.5]), abs(0.5 - place), rtol=1e-6)


def test_an_ensemble_of_clipped_ensembles_is_scored_by_draws():
    one = cases.uniform_mixture_of(cases.diag_normal)
    for law in (
        cases.uniform_mixture_of(lambda x: Censored(one(x), -1.0))(0.0),
        Censored(cases.uniform_mixture_of(one)(0.0), -1.0),
    ):
        with pytest.raises(ValueError, match="crps of a .* has no closed form: pass key"):
            crps(law, jnp.zeros(2))
        assert np.isfinite(crps(law, jnp.zeros(2), key=KEY)).all()


def test_a_far_tail_is_finite_with_its_gradients():
    """What is 1e3 standard deviations beyond a bound is at it, and says so without NaN."""

    @jax.jit
    @jax.value_and_grad
    def scores(loc, value):
        law = Censored(DiagNormal(loc, jnp.array([1e-3])), 0.0)
        return law.log_prob(value) + (crps(law, value) + law.mean() + law.variance())[0]

    for loc in (-1.0, 1.0):
        for value in (0.0, 1.0):
            score, slope = scores(jnp.array([loc]), jnp.array([value]))
            assert np.isfinite(score), (loc, value)
            assert np.isfinite(slope).all(), (loc, value)
    low = Censored(DiagNormal([-1.0], [1e-3]), 0.0)
    assert (low.mean(), low.variance(), low.log_prob([0.0])) == (0.0, 0.0, 0.0)


def test_the_gradient_of_samples_reaches_every_parameter():
    """Weights of a mixture included; that of the mean is exact."""
    arrays, static = eqx.partition(cases.diag_mixture(0.0), eqx.is_array)

    def law(arrays):
        return Censored(eqx.combine(arrays, static), -1.0, 1.5)

    @jax.jit
    def both(arrays):
        average = lambda a, keys: jnp.mean(jax.vmap(lambda k: law(a).sample(seed=k).sum())(keys))  # noqa: E731
        each = jax.vmap(lambda keys: jax.grad(average)(arrays, keys))
        keys = jax.random.split(KEY, (50, 1000))
        return each(keys), jax.grad(lambda a: law(a).mean().sum())(arrays)

    sampled, exact = both(arrays)
    for rows, slope in zip(jax.tree.leaves(sampled), jax.tree.leaves(exact), strict=True):
        error = np.std(rows, axis=0) / np.sqrt(50)
        assert (np.abs(np.mean(rows, axis=0) - slope) < 5 * error + 1e-5).all()
        assert np.abs(slope).max() > 0.01


def test_an_ensemble_has_quantiles_at_atoms_with_finite_gradients():
    @jax.jit
    def run(loc, level):
        members = eqx.filter_vmap(lambda x: Censored(DiagNormal(x[None], jnp.ones(1)), 0.0))(loc)
        return UniformMixture(members).quantile(level)[0]

    loc = jnp.array([-1.0, 0.0, 1.0])
    assert abs(run(loc, 0.3)) < 1e-6
    assert not np.any(jax.grad(run)(loc, 0.3))
    np.testing.assert_allclose(jax.grad(run)(loc, 0.9).sum(), 1.0, rtol=1e-4)


@pytest.mark.parametrize("of", ["mixture", "ensemble"])
def test_spread_leaves_atoms_at_their_bounds(of):
    """What is spread is what would have been without bounds."""
    if of == "mixture":
        law = cases.censored(0.0)
        inside, spread_inside = law.base, lambda wide: wide.base
    else:
        law = cases.uniform_mixture_of(lambda x: Censored(cases.diag_normal(x), -1.0, 1.5))(0.0)
        inside, spread_inside = (
            UniformMixture(law.members.base),
            lambda wide: UniformMixture(wide.members.base),
        )
    wide = spread(law, jnp.array(2.0))
    np.testing.assert_allclose(spread_inside(wide).mean(), inside.mean(), rtol=1e-5)
    np.testing.assert_allclose(spread_inside(wide).variance(), 4 * inside.variance(), rtol=1e-5)
    draws = jax.vmap(lambda key: wide.sample(seed=key))(jax.random.split(KEY, 2000))
    mass = float(spread_inside(wide).cdf(jnp.array([-1.0, 0.0]))[0])
    assert mass > 0.05
    assert abs(np.mean(np.asarray(draws[:, 0]) == -1.0) - mass) < 0.03
    assert np.asarray(draws[:, 0]).min() == -1.0


def test_the_fitted_factor_undoes_what_was_planted():
    """Draws at a bound stay there: moved off it, they would vote for no change at all."""
    rng = np.random.default_rng(0)
    reached = np.maximum(rng.normal(size=(2000, 1)), 0.5).astype("float32")
    zero = np.zeros((2000, 1), "float32")
    rows = Transitions(zero, zero, zero[:, 0], zero[:, 0], reached, episode=np.arange(2000) // 20)
    kernel = Clipped(Constant(DiagNormal(jnp.zeros(1), jnp.full(1, 0.5))), Bounds(0.5))
    np.testing.assert_allclose(fit_spread(kernel, rows, key=KEY).factor.values, 2.0, rtol=0.1)
    needed = needed_spread(kernel(jnp.zeros(1), jnp.zeros(1)), jnp.array([2.0]), 0.9)
    np.testing.assert_allclose(needed, 2.0 / (0.5 * stats.norm.ppf(0.95)), rtol=1e-5)


class Constant(AbstractTransition):
    """Predicts the distribution it is made of."""

    law: DiagNormal

    def __call__(self, state, action):
        return self.law


def test_only_normals_can_be_clipped():
    model = Clipped(BoxMixtureDensity(1, 1, width=2, depth=1, key=KEY), Bounds(0.0))
    with pytest.raises(TypeError, match="base must be a DiagNormal .* is a BoxMixture"):
        model(jnp.zeros(1), jnp.zeros(1))


def test_bounds_have_an_order_before_anything_is_traced():
    with pytest.raises(ValueError, match="low must be below high, but they are 1.0 and 0.0"):
        Bounds(1.0, 0.0)


def rain(number, seed):
    """Clipped at 0, which about half of the rows are: y = max(1 + 2 a + N(0, .5^2), 0)."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1.5, 0.5, size=(number, 1))
    reached = np.maximum(1 + 2 * action + 0.5 * rng.normal(size=(number, 1)), 0.0)
    columns = (0 * action, action, 0 * action[:, 0], 1 + 0 * action[:, 0], reached)
    columns = [column.astype("float32") for column in columns]
    return Transitions(*columns, episode=np.arange(number) // 50)


def test_a_clipped_normal_is_learned_through_its_atoms():
    """Location and scale are those of what was clipped, which a normal of the values would miss."""
    train, test = rain(2000, 0), rain(2000, 1)
    make = lambda key: Clipped(Gaussian(1, 1, width=8, depth=0, key=key), Bounds(0.0))  # noqa: E731
    fitted = fit(
        Ensemble(make, 2, key=KEY),
        train,
        negative_log_likelihood(),
        default_optimizer(400, learning_rate=0.03),
        key=KEY,
        steps=400,
        bootstrap=False,
        progress=False,
    ).model
    assert fitted.members.bounds.low.shape == (2,)
    np.testing.assert_array_equal(fitted.members.bounds.low, 0.0)  # a constant

    @eqx.filter_jit
    def check(model, action, value, keys):
        def one(action, value, key):
            law = model(jnp.zeros(1), action)
            return law.members.base, pit(law, value, key=key)[0]

        return eqx.filter_vmap(one)(action, value, keys)

    keys = jax.random.split(KEY, len(test))
    base, levels = check(fitted, jnp.asarray(test.action), jnp.asarray(test.next_state), keys)
    np.testing.assert_allclose(base.loc[..., 0], np.repeat(1 + 2 * test.action, 2, 1), atol=0.15)
    np.testing.assert_allclose(base.scale, 0.5, atol=0.06)
    assert stats.kstest(np.asarray(levels), "uniform").pvalue > 0.01
