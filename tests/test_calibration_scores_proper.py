"""The truth scores best: planted mistakes that each score must catch, and one that CRPS cannot."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax, logsumexp, ndtr

from stochwm.calibration import (
    brier,
    crps,
    dawid_sebastiani,
    energy_score,
    interval_score,
    kernel_score,
    log_score,
    quantile_score,
    ranked_probability,
    threshold_weighted_crps,
    variogram_score,
)
from stochwm.distributions import Censored, DiagNormal, DiagNormalMixture, UniformBox

NUMBER = 2000
# The corners of a square; the truth uses two opposite ones, so that its dimensions are dependent.
CORNERS = np.array([[-1.5, -1.0], [1.5, 1.0], [-1.5, 1.0], [1.5, -1.0]], np.float32)


def square(weights, shift=0.0, spread=0.4):
    with np.errstate(divide="ignore"):
        logits = np.log(np.asarray(weights, np.float32))
    loc = CORNERS + np.array([shift, 0.0], np.float32)
    return logits, loc, np.full((4, 2), spread, np.float32)


PLANTED = {
    "truth": square([0.4, 0.6, 0.0, 0.0]),
    "shifted": square([0.4, 0.6, 0.0, 0.0], shift=0.4),
    "halved": square([0.4, 0.6, 0.0, 0.0], spread=0.2),
    "dropped": square([0.0, 1.0, 0.0, 0.0]),
    "weights": square([0.8, 0.2, 0.0, 0.0]),
    "broken": square([0.16, 0.36, 0.24, 0.24]),  # the product of the true marginals
}
WRONG = set(PLANTED) - {"truth"}
MARGINAL = WRONG - {"broken"}


def drawn(score, **options):
    """Of 30 draws: fair scores are proper whatever the number of samples."""
    return lambda d, y, key: score(
        jax.vmap(lambda k: d.sample(seed=k))(jax.random.split(key, 30)), y, **options
    )


SCORES = {
    "log": (lambda d, y, key: log_score(d, y), WRONG),
    "crps": (lambda d, y, key: crps(d, y).sum(), MARGINAL),
    "crps of draws": (drawn(lambda *a: crps(*a).sum()), MARGINAL),
    "threshold": (lambda d, y, key: threshold_weighted_crps(d, y, lower=0.0).sum(), MARGINAL),
    "energy": (drawn(energy_score), WRONG),
    # Opposite corners have the same difference between their dimensions, up to its sign, and the
    # score has little power against a halved spread.
    "variogram": (drawn(variogram_score), {"shifted", "broken"}),
    "kernel": (lambda d, y, key: kernel_score(d, y), WRONG),
    "kernel of draws": (drawn(kernel_score), WRONG),
    "dawid": (lambda d, y, key: dawid_sebastiani(d, y), WRONG),
    "interval": (lambda d, y, key: interval_score(d, y, 0.9).sum(), MARGINAL),
    "quantile": (lambda d, y, key: quantile_score(d, y, [0.1, 0.3, 0.8]).sum(), MARGINAL),
}


@pytest.fixture(scope="module")
def laws():
    arrays = (jnp.stack(x) for x in zip(*PLANTED.values(), strict=True))
    return eqx.filter_vmap(DiagNormalMixture)(*arrays)


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    corner = CORNERS[(rng.random(NUMBER) < 0.6).astype(int)]
    return jnp.asarray(corner + 0.4 * rng.normal(size=(NUMBER, 2)), "float32")


@pytest.mark.parametrize("name", SCORES)
def test_each_score_catches_what_it_must(name, laws, values):
    score, must_catch = SCORES[name]
    keys = jax.random.split(jax.random.key(1), NUMBER)  # common to truth and mistakes

    @eqx.filter_jit
    def table(laws):
        of_law = lambda law: jax.vmap(lambda y, key: score(law, y, key))(values, keys)  # noqa: E731
        return eqx.filter_vmap(of_law)(laws)

    scores = np.asarray(table(laws), np.float64)
    worse = dict(zip(PLANTED, scores - scores[0], strict=True))
    # What float32 rounds differently is no difference.
    z = {k: float(x.mean() / (x.std() / np.sqrt(NUMBER) + 1e-6)) for k, x in worse.items()}
    assert min(z.values()) > -3, z  # proper: nothing beats the truth
    assert {k for k, score in z.items() if score > 4} == must_catch, z


def test_right_marginals_with_the_wrong_copula_have_the_same_crps(laws, values):
    """Not only on average: the CRPS knows nothing but marginals."""
    score = eqx.filter_jit(lambda laws: jax.vmap(crps, (None, 0))(laws, values[:100]))
    take = lambda i: jax.tree.map(lambda x: x[i], laws)  # noqa: E731
    truth, broken = score(take(0)), score(take(list(PLANTED).index("broken")))
    np.testing.assert_allclose(truth, broken, atol=1e-5)
    assert np.abs(np.asarray(score(take(1))) - truth).max() > 0.1


WALLS = {  # of max(N(0, 1), 0): half of its mass is at the wall
    "truth": (0.0, 1.0, 0.0),
    "too little at the wall": (0.5, 1.0, 0.0),
    "none at the wall": (0.0, 1.0, -np.inf),
    "wall elsewhere": (0.0, 1.0, -0.2),
}


@pytest.mark.parametrize("score", [log_score, lambda d, y: crps(d, y)[0]], ids=["log", "crps"])
def test_a_wrong_atom_scores_worse(score):
    values = np.maximum(np.random.default_rng(2).normal(size=(NUMBER, 1)), 0.0)
    walls = jnp.array(list(WALLS.values()))[:, :, None]

    @jax.jit
    @jax.vmap
    def table(loc, scale, low):
        law = Censored(DiagNormal(loc, scale), low)
        return jax.vmap(lambda y: score(law, y))(jnp.asarray(values))

    truth, *others = np.asarray(table(*jnp.moveaxis(walls, 1, 0)), np.float64)
    for other in others:
        worse = other - truth
        assert worse.mean() > 4 * worse.std() / np.sqrt(NUMBER)


@pytest.mark.parametrize("score", [brier, ranked_probability])
def test_true_probabilities_score_best(score):
    """In expectation over the classes, with nothing drawn."""
    rng = np.random.default_rng(0)
    truth, other = rng.dirichlet(np.ones(4), (2, 500)).astype(np.float32)

    @jax.jit
    def expected(truth, prediction):
        return truth @ jax.vmap(lambda c: score(prediction, c))(jnp.arange(4))

    worse = jax.vmap(expected)(truth, other) - jax.vmap(expected)(truth, truth)
    assert (np.asarray(worse) > 0).all()


def test_order_matters_to_ranked_probability_alone():
    near, far = jnp.array([0.0, 1.0, 0.0]), jnp.array([0.0, 0.0, 1.0])
    assert brier(near, 0) == brier(far, 0) == 2.0
    assert ranked_probability(near, 0) == 1.0
    assert ranked_probability(far, 0) == 2.0


# --- tails and coincidences -------------------------------------------------------------------
def random_mixtures(number):
    """Scales over four decades, weights down to e^-12, values out to 1e3 standard deviations."""
    rng = np.random.default_rng(5)
    logits = 3 * rng.normal(size=(number, 3))
    loc, scale = 10 * rng.normal(size=(number, 3, 2)), 10 ** rng.uniform(-2, 2, (number, 3, 2))
    component, row = rng.integers(0, 3, number), np.arange(number)
    away = rng.choice([-1, 1], (number, 2)) * 10 ** rng.uniform(-3, 3, (number, 2))
    away[::10] = 0.0  # and values that sit on a mean
    value = loc[row, component] + scale[row, component] * away
    return [x.astype(np.float32) for x in (logits, loc, scale, value)]


def slow_crps(logits, loc, scale, value):
    """Grimit et al. (2006) in float64."""

    def distance(m, s):
        z = m / s
        return m * (2 * ndtr(z) - 1) + 2 * s * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    logits, loc, scale, value = (np.asarray(x, np.float64) for x in (logits, loc, scale, value))
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    near = np.einsum("nk,nkd->nd", weights, distance(value[:, None] - loc, scale))
    pair_scale = np.sqrt(scale[:, :, None] ** 2 + scale[:, None] ** 2)
    apart = distance(loc[:, :, None] - loc[:, None], pair_scale)
    return near - 0.5 * np.einsum("nk,nl,nkld->nd", weights, weights, apart)


def slow_log_score(logits, loc, scale, value):
    """The same in float64, where it is finite for all."""
    logits, loc, scale, value = (np.asarray(x, np.float64) for x in (logits, loc, scale, value))
    parts = stats.norm.logpdf(value[:, None], loc, scale).sum(axis=-1)
    return -logsumexp(parts + log_softmax(logits, axis=1), axis=1)


def test_ten_thousand_random_mixtures_score_without_nan():
    logits, loc, scale, value = random_mixtures(10_000)

    @jax.jit
    def run(logits, loc, scale, value):
        law = DiagNormalMixture(logits, loc, scale)
        scored = {
            "log": log_score(law, value),
            "crps": crps(law, value),
            "dawid": dawid_sebastiani(law, value),
            "kernel": kernel_score(law, value, bandwidth=0.5),
            "threshold": threshold_weighted_crps(law, value, lower=-1.0, upper=jnp.inf),
            "interval": interval_score(law, value, 0.9),
            "quantile": quantile_score(law, value, jnp.array([0.01, 0.5])),
            "energy": energy_score(loc, value),
            "variogram": variogram_score(loc, value),
        }
        slopes = jax.grad(lambda law: log_score(law, value) + crps(law, value).sum())(law)
        return scored, slopes

    scored, slopes = jax.vmap(run)(logits, loc, scale, value)
    for name, came in scored.items():
        assert np.isfinite(came).all(), name
    for slope in jax.tree.leaves(slopes):
        assert np.isfinite(slope).all()
    exact = slow_log_score(logits, loc, scale, value)
    np.testing.assert_allclose(scored["log"], exact, rtol=1e-5, atol=1e-4)
    assert (np.asarray(scored["crps"]) > 0).all()
    expected = slow_crps(logits, loc, scale, value)
    # float32 rounds what is near in units of the largest scale of the mixture.
    size = np.abs(loc).max((1, 2)) + scale.max((1, 2)) + np.abs(value).max(1)
    assert (np.abs(scored["crps"] - expected) / size[:, None]).max() < 2e-6
    far = np.abs(value[:, 0]) > 1e3
    np.testing.assert_allclose(scored["crps"][far, 0], expected[far, 0], rtol=1e-5)


def test_gradients_at_coincident_points_are_finite():
    samples = jnp.array([[1.0, 1.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.5]])
    value = jnp.array([1.0, 1.0])

    def total(samples, value):
        joint = energy_score(samples, value) + variogram_score(samples, value)
        joint += kernel_score(samples, value) + dawid_sebastiani(samples, value)
        marginal = crps(samples, value) + threshold_weighted_crps(samples, value, lower=0.0)
        marginal += interval_score(samples, value, 0.5)
        return joint + marginal.sum()

    slopes = jax.jit(jax.grad(total, (0, 1)))(samples, value)
    for slope in slopes:
        assert np.isfinite(slope).all()
    assert np.abs(slopes[0]).sum() > 0


def test_gradients_of_closed_forms_are_finite_at_their_corners():
    @jax.jit
    @jax.grad
    def of_boxes(low, value):
        return crps(UniformBox(low, jnp.maximum(low, 1.0)), value).sum()

    low = jnp.array([0.0, 1.0])  # a side, and an atom
    for value in (jnp.array([0.0, 1.0]), jnp.array([0.5, 3.0])):
        assert np.isfinite(of_boxes(low, value)).all()

    @jax.jit
    @jax.grad
    def of_normals(loc):
        law = DiagNormalMixture(jnp.array([0.0, -jnp.inf]), loc, jnp.ones((2, 2)))
        return crps(law, jnp.zeros(2)).sum() + dawid_sebastiani(law, jnp.zeros(2))

    assert np.isfinite(of_normals(jnp.zeros((2, 2)))).all()
