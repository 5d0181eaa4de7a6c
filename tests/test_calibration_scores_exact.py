"""Closed forms against integrals of the cdf in float64, numbers worked out by hand, and draws."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from stochwm.calibration import (
    crps,
    dawid_sebastiani,
    energy_score,
    interval_score,
    kernel_score,
    log_score,
    quantile_score,
    threshold_weighted_crps,
    variogram_score,
)
from stochwm.distributions import (
    BoxMixture,
    Censored,
    Deterministic,
    DiagNormal,
    DiagNormalMixture,
    FullNormal,
    Joint,
    OneHotCategoricals,
    UniformMixture,
)
from stochwm.envs import WetChicken
from tests import cases
from tests.precision import x64

KEY = jax.random.key(0)


def normals(weights, loc, scale):
    weights, loc, scale = (np.asarray(x, np.float64) for x in (weights, loc, scale))
    return lambda x, d: weights @ ndtr((x - loc[:, d, None]) / scale[:, d, None])


def steps(weights, places):
    weights, places = np.asarray(weights, np.float64), np.asarray(places, np.float64)
    return lambda x, d: weights @ (x >= places[:, d, None])


def boxes(weights, low, high, blur):
    """Ramps and steps, or with blur their averages over a normal."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)

    def one(x, a, b):
        if not blur:
            return np.clip((x - a) / (b - a), 0, 1) if b > a else x >= a
        if a == b:
            return ndtr((x - a) / blur)
        area = lambda t: t * ndtr(t) + np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
        return (area((x - a) / blur) - area((x - b) / blur)) * blur / (b - a)

    return lambda x, d: sum(
        w * one(x, a[d], b[d]) for w, a, b in zip(weights, low, high, strict=True)
    )


def root(tril):
    return np.sqrt(np.sum(np.asarray(tril) ** 2, axis=-1))


def softmax(x):
    return np.exp(x) / np.sum(np.exp(x))


def bernoulli(probs):
    return lambda x, d: np.where(x < 0, 0.0, np.where(x < 1, 1 - probs[d], 1.0))


def wet():
    """A fall to the origin, an atom in one dimension, an interval in the other."""
    low = jnp.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]])
    high = jnp.array([[0.0, 0.0], [2.0, 0.0], [2.0, 4.0]])
    return BoxMixture(jnp.log(jnp.array([0.3, 0.2, 0.5])), low, high)


def cut(cdf, low, high):
    """Where what is beyond a bound of a dimension is at it."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    return lambda x, d: np.where(x < low[d], 0.0, np.where(x >= high[d], 1.0, cdf(x, d)))


def ensemble(make):
    return cases.uniform_mixture_of(make)(0.0)


# name -> (distribution, its cdf from its parameters, where the cdf jumps)
FAMILIES = {
    "diag_normal": (
        lambda: cases.diag_normal(0.0),
        lambda d: normals([1.0], d.loc[None], d.scale[None]),
    ),
    "full_normal": (
        lambda: cases.full_normal(0.0),
        lambda d: normals([1.0], d.loc[None], root(d.scale_tril)[None]),
    ),
    "diag_mixture": (
        lambda: cases.diag_mixture(0.0),
        lambda d: normals(softmax(d.logits), d.loc, d.scale),
    ),
    "full_mixture": (
        lambda: cases.full_mixture(0.0),
        lambda d: normals(softmax(d.logits), d.loc, root(d.scale_tril)),
    ),
    "uniform_of_mixtures": (
        lambda: ensemble(cases.diag_mixture),
        lambda d: normals(
            np.concatenate([softmax(x) / 3 for x in np.asarray(d.members.logits)]),
            np.reshape(d.members.loc, (-1, 2)),
            np.reshape(d.members.scale, (-1, 2)),
        ),
    ),
    "box": (
        lambda: cases.uniform_box(0.0),
        lambda d: boxes([1.0], d.low[None], d.high[None], 0.0),
    ),
    "boxes": (wet, lambda d: boxes([0.3, 0.2, 0.5], d.low, d.high, 0.0)),
    "blurred boxes": (
        lambda: wet().smoothed(0.3),
        lambda d: boxes([0.3, 0.2, 0.5], d.low, d.high, 0.3),
    ),
    "uniform_of_boxes": (
        lambda: ensemble(cases.uniform_box),
        lambda d: boxes(np.full(3, 1 / 3), d.members.low, d.members.high, 0.0),
    ),
    "censored": (
        lambda: cases.censored(0.0),
        lambda d: cut(normals(softmax(d.base.logits), d.base.loc, d.base.scale), d.low, d.high),
    ),
    "uniform_of_censored": (
        lambda: ensemble(lambda x: Censored(cases.diag_normal(x), -0.3, 2.0)),
        lambda d: cut(
            normals(np.full(3, 1 / 3), d.members.base.loc, d.members.base.scale),
            d.members.low[0],
            d.members.high[0],
        ),
    ),
    "one_hots": (
        lambda: cases.one_hots(0.0),
        lambda d: bernoulli(np.concatenate([softmax(d.logits[:3]), softmax(d.logits[3:])])),
    ),
    "uniform_of_categoricals": (
        lambda: ensemble(cases.one_hots),
        lambda d: bernoulli(
            np.mean(
                [np.concatenate([softmax(x[:3]), softmax(x[3:])]) for x in d.members.logits], axis=0
            )
        ),
    ),
    "deterministic": (
        lambda: cases.deterministic(0.0),
        lambda d: steps([1.0], d.loc[None]),
    ),
    "uniform_of_atoms": (
        lambda: ensemble(cases.deterministic),
        lambda d: steps(np.full(3, 1 / 3), d.members.loc),
    ),
    "uniform_of_joints": (
        lambda: ensemble(cases.joint),
        lambda d: (
            lambda x, i: np.mean(
                [
                    _joint_cdf(jax.tree.map(lambda leaf, k=k: leaf[k], d.members), x, i)
                    for k in range(3)
                ],
                axis=0,
            )
        ),
    ),
}


def _joint_cdf(joint, x, d):
    one, mixture = joint.parts
    if d == 0:
        return normals([1.0], one.loc[None], one.scale[None])(x, 0)
    return normals(softmax(mixture.logits), mixture.loc, mixture.scale)(x, 0)


def integral(cdf, value, d, bends, lower=-60.0, upper=60.0):
    """`int (F - 1{x >= y})^2` in one dimension, by midpoints between all bends and jumps of F."""
    edges = np.concatenate([np.linspace(-60, 60, 1201), bends, [value, lower, upper]])
    edges = np.unique(np.clip(edges, lower, upper))
    middle = (np.arange(32) + 0.5) / 32
    x = (edges[:-1, None] + np.diff(edges)[:, None] * middle).reshape(-1)
    gap = cdf(x, d) - (x >= value)
    return np.sum(gap**2 * np.repeat(np.diff(edges) / 32, 32))


@eqx.filter_jit
def both(distribution, values, lower, upper):
    def one(value):
        part = threshold_weighted_crps(distribution, value, lower=lower, upper=upper)
        return crps(distribution, value), part

    return jax.vmap(one)(values)


@pytest.mark.parametrize("name", FAMILIES)
def test_closed_forms_are_the_integral_of_the_cdf(name):
    make, make_cdf = FAMILIES[name]
    with x64():
        distribution = make()
        dim = distribution.event_shape[0]
        values = np.stack([np.zeros(dim), np.linspace(-1, 1.3, dim), np.full(dim, 50.0)])
        lower, upper = np.linspace(-0.7, 0.1, dim), np.linspace(0.9, 3.0, dim)
        came, came_part = both(distribution, values, lower, upper)
        cdf = make_cdf(distribution)
        leaves = jax.tree.leaves(eqx.filter(distribution, eqx.is_array))
        bends = np.concatenate([np.ravel(leaf) for leaf in leaves])  # too many do no harm
        bends = bends[np.isfinite(bends)]
    rows = [(y, d) for y in values for d in range(dim)]
    whole = [integral(cdf, y[d], d, bends) for y, d in rows]
    part = [integral(cdf, y[d], d, bends, lower[d], upper[d]) for y, d in rows]
    np.testing.assert_allclose(np.ravel(came), whole, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.ravel(came_part), part, rtol=1e-6, atol=1e-6)


POINTS = {  # (x, y, ax, ay, y'): CRPS of the law of Wet-Chicken, worked out by hand
    (0, 0, 0, 0, 2): 1.249150,
    (0, 0, 0, 0, 0): 0.106293,
    (2, 3, 0, 0, 2): 0.498519,
    (2, 3, 0, 0, 0): 1.800693,
    (4.5, 4.5, 0.5, -1, 2): 1.146875,
    (4.5, 4.5, 0.5, -1, 0): 0.646875,
    (5, 4, 0, 1, 0): 0.0,
    (5, 4, 0, 1, 2): 2.0,
}
# (x, y, ax, ay): P(y' = 0), the interval, and the expected CRPS of the truth
EXPECTED = {
    (0, 0, 0, 0): (0.642857, 0.0, 2.5, 0.340136),
    (2, 3, 0, 0): (0.108696, 0.9, 5.0, 0.828655),
    (4.5, 4.5, 0.5, -1): (0.625, 4.4, 5.0, 1.115625),
    (1, 1, -1, -1): (0.568966, 0.0, 2.5, 0.383967),
}


@jax.jit
def wet_chicken(point, values):
    law = WetChicken().law(point[:2], point[2:])
    return jax.vmap(lambda y: crps(law, jnp.stack([0 * y, y]))[1])(values)


def test_the_law_of_wet_chicken_has_its_exact_crps():
    for point, exact in POINTS.items():
        came = wet_chicken(jnp.array(point[:4], float), jnp.full(1001, float(point[4])))
        np.testing.assert_allclose(came[0], exact, atol=2e-6)
    for point, (mass, low, high, exact) in EXPECTED.items():
        grid = low + (high - low) * (np.arange(1000) + 0.5) / 1000
        came = np.asarray(wet_chicken(jnp.array(point, float), jnp.array([0.0, *grid])))
        np.testing.assert_allclose(mass * came[0] + (1 - mass) * came[1:].mean(), exact, atol=3e-6)


def test_kernel_score_of_a_mixture_is_that_of_its_draws():
    score = eqx.filter_jit(lambda d, y: kernel_score(d, y, bandwidth=jnp.array([0.5, 2.0])))
    value = jnp.array([1.0, -0.5])
    for mixture in (cases.full_mixture(0.0), cases.diag_mixture(0.0)):
        rng, weights = np.random.default_rng(0), np.asarray(mixture.weights(), np.float64)
        root = getattr(mixture, "scale_tril", None)
        root = jax.vmap(jnp.diag)(mixture.scale) if root is None else root
        k = rng.choice(3, 2000, p=weights / weights.sum())
        noise = rng.normal(size=(2000, 2, 1))
        draws = np.asarray(mixture.loc)[k] + (np.asarray(root)[k] @ noise)[..., 0]
        np.testing.assert_allclose(score(mixture, value), score(draws, value), atol=0.01)


def test_kernel_score_of_a_normal_by_hand():
    """X ~ N(m, s^2): `E k(X, y) = h / r exp(-(y - m)^2 / (2 r^2))` with `r^2 = h^2 + s^2`."""
    m, s, h, y = 0.5, 2.0, 0.7, 1.5
    near = h / math.hypot(h, s) * math.exp(-((y - m) ** 2) / (2 * (h * h + s * s)))
    apart = h / math.sqrt(h * h + 2 * s * s)
    with x64():
        came = kernel_score(DiagNormal([m], [s]), [y], bandwidth=h)
    np.testing.assert_allclose(came, 0.5 * apart - near + 0.5, rtol=1e-9)


def test_dawid_sebastiani_of_distributions_by_hand():
    score = eqx.filter_jit(dawid_sebastiani)
    with x64():
        for make in (cases.full_mixture, cases.diag_normal, cases.box_mixture):
            d, value = make(0.0), np.array([0.3, -2.0])
            mean, covariance = np.asarray(d.mean()), np.asarray(d.covariance())
            residual = value - mean
            expected = np.linalg.slogdet(covariance)[1]
            expected += residual @ np.linalg.inv(covariance) @ residual
            np.testing.assert_allclose(score(d, value), expected, rtol=1e-9)


def test_log_score_of_a_mixture_far_out():
    """The lighter tail vanishes: 0.5 N(0, 1) + 0.5 N(-1, 0.25) at 1000."""
    scale = np.array([[1.0], [0.5]])
    with x64():
        mixture = DiagNormalMixture(np.zeros(2), np.array([[0.0], [-1.0]]), scale)
        np.testing.assert_allclose(log_score(mixture, [1000.0]), 500001.6120857138, rtol=1e-12)
    mixture = DiagNormalMixture(np.zeros(2), np.array([[0.0], [-1.0]]), scale)
    np.testing.assert_allclose(log_score(mixture, [1000.0]), 500001.6120857138, rtol=1e-6)


def test_quantile_scores_of_a_normal():
    low, high = stats.norm(1, 2).ppf([0.05, 0.95])
    normal, levels = DiagNormal([1.0], [2.0]), (np.arange(1000) + 0.5) / 1000

    @jax.jit
    def run(value):
        many = quantile_score(normal, value, levels)
        return interval_score(normal, value, 0.9)[0], many, crps(normal, value)

    inside, many, limit = run(jnp.zeros(1))
    np.testing.assert_allclose(inside, high - low, rtol=1e-5)
    np.testing.assert_allclose(run(jnp.full(1, 6.0))[0], high - low + 20 * (6 - high), rtol=1e-4)
    np.testing.assert_allclose(many, limit, rtol=1e-3)


def test_finite_supports_are_scored_exactly():
    """Certain predictions, ensembles of them, and single categoricals need no key."""
    value = jnp.array([0.0, 1.0, 0.0])
    probs = np.array([0.2, 0.3, 0.5])
    classes = OneHotCategoricals(jnp.log(probs))
    weighted = eqx.filter_jit(energy_score)(np.eye(3), value, fair=False, weights=probs)
    np.testing.assert_allclose(eqx.filter_jit(energy_score)(classes, value), weighted, rtol=1e-6)
    by_hand = 0.0
    for i in range(3):
        for j in range(3):
            expected = probs[i] + probs[j] if i != j else 0.0
            by_hand += (abs(value[i] - value[j]) - expected) ** 2
    np.testing.assert_allclose(eqx.filter_jit(variogram_score)(classes, value), by_hand, rtol=1e-6)
    points = np.array([[0.0, 0, 0], [1, 2, 2]], np.float32)
    members = UniformMixture(Deterministic(points))
    np.testing.assert_allclose(energy_score(Deterministic(points[1]), points[0]), 3.0)
    plain = energy_score(points, value, fair=False)
    np.testing.assert_allclose(energy_score(members, value), plain, rtol=1e-6)


def test_an_ensemble_of_joints_may_have_certain_parts():
    def make(x):
        return Joint([Deterministic(x[None]), DiagNormal(jnp.stack([x, -x]), jnp.ones(2))])

    places, value = jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 0.5, 0.2])
    found = crps(UniformMixture(eqx.filter_vmap(make)(places)), value)
    np.testing.assert_allclose(found[0], crps(places[:, None], value[:1], fair=False)[0], rtol=1e-6)
    members = DiagNormal(jnp.stack([places, -places], axis=-1), jnp.ones((3, 2)))
    np.testing.assert_allclose(found[1:], crps(UniformMixture(members), value[1:]), rtol=1e-6)


def test_many_points_are_scored_as_the_cloud_they_are():
    """By sorting: between all their jumps it would take as much memory as their square."""
    points = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    value, law = jnp.array([0.1, 1.0]), UniformMixture(Deterministic(points))
    np.testing.assert_allclose(crps(law, value), crps(points, value, fair=False), rtol=1e-6)
    np.testing.assert_allclose(
        threshold_weighted_crps(law, value, lower=0.5),
        threshold_weighted_crps(points, value, lower=0.5, fair=False),
        rtol=1e-6,
    )


def test_one_dimensional_energy_score_is_the_exact_crps():
    normal = FullNormal([1.0], [[2.0]])
    np.testing.assert_allclose(energy_score(normal, [0.3]), crps(normal, [0.3])[0])


def test_draws_stand_for_what_has_no_closed_form():
    """An autoregressive histogram: the score of its draws, the same for the same key."""
    bins = cases.autoregressive_bins(0.0)
    value = jnp.array([0.5, 0.5])
    draws = jax.vmap(lambda key: bins.sample(seed=key))(jax.random.split(KEY, 50))
    scores = (
        crps,
        energy_score,
        variogram_score,
        kernel_score,
        dawid_sebastiani,
        lambda d, y, **o: threshold_weighted_crps(d, y, lower=0.0, **o),
        lambda d, y, **o: interval_score(d, y, 0.9, **o),
        lambda d, y, **o: quantile_score(d, y, [0.2, 0.5], **o),
    )

    @eqx.filter_jit
    def run(prediction, **options):
        return [score(prediction, value, **options) for score in scores]

    for came, expected in zip(run(bins, key=KEY, num_samples=50), run(draws), strict=True):
        np.testing.assert_allclose(came, expected, rtol=1e-5)
