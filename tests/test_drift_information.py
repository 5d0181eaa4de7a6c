"""Mutual information between member and outcome: bounds, draws and exact numbers."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from stochwm.distributions import (
    Deterministic,
    DiagNormalMixture,
    FullNormal,
    OneHotCategoricals,
    UniformMixture,
)
from stochwm.distributions.mixture import over_components
from stochwm.drift import (
    decompose,
    mutual_information_bounds,
    mutual_information_estimate,
    split_information,
    split_variance,
)
from tests import cases

CASES, SAME, MEMBERS, COMPONENTS = 200, 10, 3, 2
KEY = jax.random.key(0)
jitted = eqx.filter_jit(split_information)


def random_mixtures():
    """Parameters `[cases, members, components]`, from alike to far apart.

    In the first cases the members are the same; in the last they have equal means and variances,
    but one has its modes at -1 and 1 and the others a single one.
    """
    rng = np.random.default_rng(0)
    shape = (CASES, MEMBERS, COMPONENTS)
    apart = np.exp(rng.uniform(-3, 2, (CASES, 1, 1)))
    logits = rng.normal(size=shape)
    loc = 2 * rng.normal(size=(CASES, 1, COMPONENTS)) + apart * rng.normal(size=shape)
    scale = np.exp(0.5 * rng.normal(size=shape))
    for x in (logits, loc, scale):
        x[:SAME] = x[:SAME, :1]
    logits[-1], loc[-1], scale[-1] = 0.0, 0.0, 1.01**0.5
    loc[-1, 0], scale[-1, 0] = [-1.0, 1.0], 0.1
    return [x.astype(np.float32) for x in (logits, loc, scale)]


def by_quadrature(logits, loc, scale):
    """Mean entropy of the members and mutual information, in float64."""
    weights = np.exp(logits.astype(np.float64))
    weights /= weights.sum(-1, keepdims=True)
    loc, scale = loc.astype(np.float64)[..., None], scale.astype(np.float64)[..., None]
    x = np.linspace((loc - 9 * scale).min(), (loc + 9 * scale).max(), 6001)
    density = np.sum(weights[..., None] * norm.pdf(x, loc, scale), axis=-2) + 1e-300
    told = density * (np.log(density) - np.log(density.mean(0)))
    of_members = -density * np.log(density)
    return [np.trapezoid(y.mean(0), x) for y in (of_members, told)]


def one_dimensional(logits, loc, scale):
    return UniformMixture(DiagNormalMixture(logits, loc[..., None], scale[..., None]))


@pytest.fixture(scope="module")
def split():
    """What `decompose` says of every case, and the truth by quadrature."""
    parameters = random_mixtures()
    mixtures = jax.vmap(one_dimensional)(*map(jnp.asarray, parameters))
    keys = jax.random.split(KEY, CASES)
    found = eqx.filter_jit(jax.vmap(lambda mixture, key: decompose(mixture, key=key)))(
        mixtures, keys
    )
    truth = np.array([by_quadrature(*row) for row in zip(*parameters, strict=True)])
    return jax.tree.map(lambda x: np.asarray(x, np.float64), found), *truth.T


def undecided(information):
    """Where members are neither alike nor sure to be told apart."""
    chosen = (information > 0.05) & (information < 0.95 * math.log(MEMBERS))
    assert chosen.sum() > 50
    return chosen


def test_bounds_hold(split):
    (_, found), _, information = split
    assert np.all(found.lower <= information + 2e-6)
    assert np.all(information <= found.upper + 2e-6)
    assert np.all((found.lower >= 0) & (found.upper <= math.log(MEMBERS) + 1e-6))


def test_bounds_say_something(split):
    (_, found), _, information = split
    at = undecided(information)
    assert np.mean((found.upper - found.lower)[at]) < 0.4
    assert np.mean(found.lower[at] > 0.01) > 0.7
    assert np.max(found.upper[:SAME]) < 1e-5


def test_draws_agree_with_quadrature(split):
    (_, found), entropy, information = split
    at = undecided(information)
    for estimate, error, truth in (
        (found.epistemic, found.epistemic_error, information),
        (found.aleatoric, found.aleatoric_error, entropy),
    ):
        score = ((estimate - truth)[at]) / error[at]
        assert np.max(np.abs(score)) < 5
        assert abs(np.mean(score)) < 4 / math.sqrt(len(score))
        assert 0.8 < np.std(score) < 1.25  # the errors are neither boasted nor inflated
    np.testing.assert_allclose(found.epistemic[:SAME], 0, atol=1e-6)


def test_members_with_equal_means_and_different_modes_disagree(split):
    (variance, found), _, information = split
    np.testing.assert_allclose(variance.epistemic[-1], [[0.0]], atol=1e-12)
    np.testing.assert_allclose(variance.aleatoric[-1], [[1.01]], rtol=1e-6)
    assert found.epistemic[-1] == pytest.approx(information[-1], abs=0.05)
    assert information[-1] > found.lower[-1] > 0.1


def test_the_two_covariances_add_up():
    mixture = cases.uniform_mixture_of(cases.full_mixture)(0.0)

    @eqx.filter_jit
    def run(mixture):
        means = over_components(lambda member: member.mean(), mixture.members)
        return split_variance(mixture), mixture.covariance(), means

    parts, covariance, means = run(mixture)
    np.testing.assert_allclose(sum(parts), covariance, rtol=1e-5)
    np.testing.assert_allclose(parts.epistemic, np.cov(means.T, ddof=0), rtol=1e-4)


def test_far_apart_the_bounds_meet():
    loc = np.array([[0.0, 0.0], [50.0, 50.0], [100.0, 0.0], [100.0, 0.0]])  # two are the same
    tril = np.broadcast_to(np.eye(2), (4, 2, 2))
    lower, upper = mutual_information_bounds(UniformMixture(FullNormal(loc, tril)))
    truth = math.log(4) - 0.5 * math.log(2)
    np.testing.assert_allclose([lower, upper], truth, rtol=1e-6)


def test_certain_members_tell_which_agree():
    members = Deterministic(jnp.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]]))
    split = jitted(UniformMixture(members), key=KEY, num_samples=2)
    assert float(split.epistemic) == pytest.approx(math.log(3) - 2 / 3 * math.log(2), rel=1e-6)
    assert (float(split.aleatoric), float(split.epistemic_error)) == (0.0, 0.0)
    assert (float(split.lower), float(split.upper)) == pytest.approx((0, math.log(3)))


# --- categories -------------------------------------------------------------------------------
def test_categories_are_exact():
    probs = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    with np.errstate(divide="ignore"):
        split = jitted(UniformMixture(OneHotCategoricals(np.log(probs))))
    truth = -2 * 0.25 * math.log(0.25) - 0.5 * math.log(0.5) - math.log(2)
    for got in (split.epistemic, split.lower, split.upper):
        assert float(got) == pytest.approx(truth, abs=1e-6)
    assert float(split.aleatoric) == pytest.approx(math.log(2), abs=1e-6)
    assert split.epistemic_error == 0


def test_groups_of_categories_are_exact_together():
    """Two groups that tell nothing alone tell the member together."""
    sizes, rng = (3, 2, 4), np.random.default_rng(0)
    logits = 2 * rng.normal(size=(3, sum(sizes)))
    groups = np.split(np.exp(logits), np.cumsum(sizes)[:-1], axis=1)
    a, b, c = (g / g.sum(1, keepdims=True) for g in groups)
    joint = np.einsum("ei,ej,ek->eijk", a, b, c).reshape(3, -1)
    truth = np.mean(np.sum(joint * np.log(joint / joint.mean(0)), axis=1))
    split = jitted(UniformMixture(OneHotCategoricals(logits, sizes)))
    assert float(split.epistemic) == pytest.approx(truth, rel=1e-5)
    assert float(split.aleatoric + split.epistemic) == pytest.approx(
        -np.sum(joint.mean(0) * np.log(joint.mean(0))), rel=1e-5
    )


def test_too_many_outcomes_are_drawn_and_bounded():
    """32 groups, of which all but two are the same for every member: the two can be listed."""
    logits = np.zeros((2, 32 * 4), np.float32)
    logits[0, 0], logits[1, 5] = 2.0, 1.0
    few = UniformMixture(OneHotCategoricals(logits[:, :8], (4, 4)))
    truth = jitted(few).epistemic
    many = UniformMixture(OneHotCategoricals(logits, (4,) * 32))
    with pytest.raises(ValueError, match="pass key"):
        split_information(many)
    found = jitted(many, key=KEY)
    assert 0.01 < float(found.lower) < float(truth) < float(found.upper) < 0.69
    assert abs(float(found.epistemic - truth)) < 4 * float(found.epistemic_error)


# --- refused ----------------------------------------------------------------------------------
def test_refused():
    mixture = cases.uniform_mixture_of(cases.diag_normal)(0.0)
    with pytest.raises(TypeError, match="must be that of an ensemble.* is a DiagNormal"):
        decompose(cases.diag_normal(0.0), key=KEY)
    with pytest.raises(ValueError, match="pass key"):
        decompose(mixture)
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        mutual_information_estimate(mixture, key=KEY, num_samples=1)
    stack = eqx.filter_vmap(cases.uniform_mixture_of(cases.diag_normal))(jnp.arange(2.0))
    with pytest.raises(ValueError, match="filter_vmap the method over the stack"):
        mutual_information_bounds(stack)
