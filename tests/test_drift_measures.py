"""What each measure of disagreement sees and does not, on predictions and on clouds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from stochwm.calibration import PitMapped, QuantileMap
from stochwm.calibration.spread import spread
from stochwm.distributions import (
    BoxMixture,
    DiagNormal,
    DiagNormalMixture,
    LatentStateDistribution,
    OneHotCategoricals,
    UniformMixture,
)
from stochwm.distributions.mixture import take
from stochwm.drift import (
    InUnits,
    MutualInformation,
    OnDraws,
    cdf_disagreement,
    energy_distance,
    epistemic_variance,
    geometric_jensen_shannon,
    information_loss,
    split_variance,
    total_variance,
)
from tests import cases

KEY = jax.random.key(0)
MEASURES = {
    "means": epistemic_variance,
    "total": total_variance,
    "cdf": cdf_disagreement,
    "information": MutualInformation(key=KEY, num_samples=64),
    "macura": geometric_jensen_shannon,
    "infoprop": information_loss,
    "energy": OnDraws(energy_distance, key=KEY, particles=512),
}
run = eqx.filter_jit(lambda measure, prediction, **options: measure(prediction, **options))
DISAGREEMENT = set(MEASURES) - {"total"}
OF_CLOUDS = {"means", "total", "cdf", "macura", "infoprop", "energy"}


# --- predictions: three members with two modes each, [members, components, dim] ------------------
def alike():
    loc = np.array([[-1.0, -1.0], [1.0, 1.0]]) * np.ones((3, 1, 1))
    return np.zeros((3, 2)), loc, np.full((3, 2, 2), 0.3)


def shifted():
    logits, loc, scale = alike()
    loc[0, :, 0] += 1.0
    return logits, loc, scale


def one_mode():
    """Means and variances of all members are equal, shapes are not."""
    logits, loc, scale = alike()
    loc[0], scale[0] = 0.0, 1.09**0.5
    return logits, loc, scale


def wider():
    logits, loc, scale = alike()
    scale[0] *= 3
    return logits, loc, scale


def turned():
    """All marginals are equal, how the dimensions depend on each other is not."""
    logits, loc, scale = alike()
    loc[0, :, 1] *= -1
    return logits, loc, scale


def random(order=(0, 1, 2)):
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(3, 2)), 2 * rng.normal(size=(3, 2, 2)), rng.uniform(0.3, 1, (3, 2, 2))
    return tuple(part[list(order)] for part in parts)


CASES = {
    "alike": alike(),
    "shifted": shifted(),
    "one_mode": one_mode(),
    "wider": wider(),
    "turned": turned(),
    "random": random(),
    "permuted": random((2, 0, 1)),
}
SEEN = {  # the corruption that each measure must see; all that it must not see is the rest
    "means": {"shifted"},
    "cdf": {"shifted", "one_mode", "wider"},
    "information": {"shifted", "one_mode", "wider", "turned"},
    "macura": {"shifted", "wider"},
    "infoprop": {"shifted"},
    "energy": {"shifted", "one_mode", "wider", "turned"},
}
CORRUPTIONS = ["shifted", "one_mode", "wider", "turned"]


def mixture(logits, loc, scale):
    return UniformMixture(DiagNormalMixture(logits, loc, scale))


def stacked(rows):
    return [jnp.asarray(np.stack(x), jnp.float32) for x in zip(*rows, strict=True)]


@pytest.fixture(scope="module")
def measured():
    """measure -> case -> value, and "gradient of" some, all in one program."""

    def one(*parameters):
        values = {name: measure(mixture(*parameters)) for name, measure in MEASURES.items()}
        for name in ("cdf", "information"):  # the clouds test the others, at a lower price
            of = lambda p: MEASURES[name](mixture(*p))  # noqa: B023, E731
            values["gradient of " + name] = jax.grad(of)(parameters)
        return values

    table = eqx.filter_jit(jax.vmap(one))(*stacked(CASES.values()))
    return {
        name: {case: take(pair, i) for i, case in enumerate(CASES)} for name, pair in table.items()
    }


@pytest.mark.parametrize("name", sorted(DISAGREEMENT))
def test_each_sees_what_it_must(measured, name):
    values = {case: float(value) for case, value in measured[name].items()}
    # Independent draws of equal members differ by chance, with a standard deviation of 0.005;
    # everything else is zero to rounding.
    noise = 0.025 if name == "energy" else 1e-5
    assert values["alike"] == pytest.approx(0, abs=noise)
    seen = {case for case in CORRUPTIONS if values[case] > max(2 * noise, 1e-3)}
    assert seen == SEEN[name], values


@pytest.mark.parametrize("name", ["cdf", "information"])
def test_the_gradient_is_finite(measured, name):
    for case, gradient in measured["gradient of " + name].items():
        assert all(np.isfinite(g).all() for g in gradient), case
        if case in {"shifted", "random"}:
            assert all(np.any(g != 0) for g in gradient), case


@pytest.mark.parametrize("name", sorted(MEASURES.keys() - {"energy"}))  # draws: see the clouds
def test_the_order_of_members_does_not_matter(measured, name):
    values = measured[name]
    np.testing.assert_allclose(values["permuted"], values["random"], rtol=1e-4)


def test_total_variance_is_no_measure_of_disagreement(measured):
    """It says more of three certain members that agree on chance than of disagreement."""
    assert measured["total"]["alike"] == pytest.approx(2 * 1.09, rel=1e-5)


def test_the_numbers_are_those_of_numpy(measured):
    logits, loc, scale = random()
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    x = np.linspace(-12, 12, 8001)
    cdf = np.einsum("ec,ecdx->edx", weights, ndtr((x - loc[..., None]) / scale[..., None]))
    integral = np.trapezoid(np.mean((cdf - cdf.mean(0)) ** 2, axis=0), x)
    assert measured["cdf"]["random"] == pytest.approx(integral.sum(), rel=1e-4)

    m = np.einsum("ec,ecd->ed", weights, loc)
    v = np.einsum("ec,ecd->ed", weights, scale**2 + loc**2) - m**2
    assert measured["means"]["random"] == pytest.approx(m.var(0).sum(), rel=1e-4)
    assert measured["total"]["random"] == pytest.approx((m.var(0) + v.mean(0)).sum(), rel=1e-4)
    assert measured["infoprop"]["random"] == pytest.approx(infoprop(m, v), rel=1e-4)
    pairs = [macura(m[i], v[i], m[j], v[j]) for i in range(3) for j in range(i)]
    assert measured["macura"]["random"] == pytest.approx(np.mean(pairs), rel=1e-4)


def infoprop(m, v):
    """Word by word: fuse, gain, conditional variance, bits."""
    fused = 1 / np.mean(1 / v, axis=0)
    centre = fused * np.mean(m / v, axis=0)
    unknown = np.mean((m - centre) ** 2, axis=0)
    left = (1 - fused / (fused + unknown)) * fused
    return np.sum(0.5 * np.log2(2 * np.pi * np.e * left) - np.log2(1e-6))


def macura(m, v, n, w):
    """Mean KL to the normalised square root of the product of two normals, by its definition."""
    between = 2 / (1 / v + 1 / w)
    centre = between * (m / v + n / w) / 2

    def kl(mean, variance):
        ratio = variance / between
        return 0.5 * np.sum(ratio + (mean - centre) ** 2 / between - 1 - np.log(ratio))

    return (kl(m, v) + kl(n, w)) / 2


# --- numbers worked out by hand ------------------------------------------------------------------
def test_two_normals_by_hand():
    two = UniformMixture(DiagNormal(np.array([[0.0], [2.0]]), np.ones((2, 1))))
    assert float(run(epistemic_variance, two)) == 1.0
    assert float(run(total_variance, two)) == 2.0
    assert float(run(geometric_jensen_shannon, two)) == pytest.approx(0.5)  # s^2 / 8
    # v = 1, e = 1: half a variance is not known, 2 pi e / 2 on a grid of 1/4.
    bits = 0.5 * np.log2(np.pi * np.e) + 2
    assert float(run(information_loss, two, resolution=0.25)) == pytest.approx(bits, rel=1e-6)


def test_units_are_those_of_the_scale():
    two = UniformMixture(DiagNormal(np.array([[0.0, 0.0], [2.0, 20.0]]), np.ones((2, 2))))
    scaled = InUnits(epistemic_variance, np.array([2.0, 10.0]))
    assert float(run(scaled, two)) == pytest.approx(0.25 + 1.0)
    clouds = np.array([[[0.0, 0.0]], [[2.0, 20.0]]])
    assert float(run(scaled, clouds)) == pytest.approx(0.25 + 1.0)


def test_other_families_have_exact_marginals_too():
    """Atoms: members put 0, 1/2 and 1 of their mass on 0 and the rest on 2; then categories."""
    logits = np.log(np.array([[1e-9, 1.0], [0.5, 0.5], [1.0, 1e-9]]))
    places = np.broadcast_to(np.array([[0.0], [2.0]]), (3, 2, 1))
    atoms = UniformMixture(BoxMixture(logits, places, places, np.zeros((3, 1))))
    assert float(run(cdf_disagreement, atoms)) == pytest.approx(2 * (0.25 + 0.25) / 3, rel=1e-5)
    categories = UniformMixture(OneHotCategoricals(logits))
    spread = np.trace(run(split_variance, categories).epistemic)
    assert float(run(cdf_disagreement, categories)) == pytest.approx(float(spread), rel=1e-5)


def test_of_a_latent_state_the_drawn_part_counts():
    probs = np.array([[1.0, 1e-9], [1e-9, 1.0]])
    stoch = OneHotCategoricals(np.log(probs))
    latent = UniformMixture(LatentStateDistribution(jnp.zeros((2, 3)), stoch))
    assert float(run(MEASURES["information"], latent)) == pytest.approx(np.log(2), rel=1e-5)


def test_recalibrated_predictions_can_be_measured():
    """Spread twice as wide, members are twice as far apart; recoded, as far as before."""
    plain = mixture(*random())
    before = float(run(epistemic_variance, plain))
    spread_out = LatentStateDistribution(jnp.zeros(()), spread(plain, jnp.asarray(2.0)))
    assert float(run(epistemic_variance, spread_out)) == pytest.approx(4 * before, rel=1e-5)
    recoded = PitMapped(plain, QuantileMap.fit(np.random.default_rng(0).uniform(size=(64, 2)) ** 2))
    assert float(run(epistemic_variance, recoded)) == pytest.approx(before, rel=1e-5)


def test_one_member_agrees_with_itself():
    logits, loc, scale = [jnp.asarray(part[:1]) for part in random()]
    every = eqx.filter_jit(
        lambda p: {name: MEASURES[name](p) for name in DISAGREEMENT - {"energy"}}
    )
    for name, value in every(mixture(logits, loc, scale)).items():
        assert float(value) == pytest.approx(0, abs=1e-5), name


# --- clouds --------------------------------------------------------------------------------------
def clouds(seed=0, members=3, particles=20):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(members, particles, 2)) + rng.normal(size=(members, 1, 2))


def test_clouds_have_the_distances_of_numpy():
    x = clouds()
    pairs = np.linalg.norm(x[:, None, :, None] - x[None, :, None], axis=-1)  # [e, f, i, j]
    between, fair = pairs.mean((2, 3)), pairs.sum((2, 3)) / (20 * 19)
    for mean, within in ((False, np.diag(between)), (True, np.diag(fair))):
        apart = 2 * between - within[:, None] - within[None]
        expected = np.mean(apart[~np.eye(3, dtype=bool)])
        assert float(run(energy_distance, x, fair=mean)) == pytest.approx(expected, rel=1e-4)


def test_clouds_have_the_cdfs_of_numpy():
    x = clouds()
    total = 0.0
    for d in range(2):
        ordered = np.sort(x[..., d].ravel())
        cdf = np.mean(x[:, :, None, d] <= ordered[:-1], axis=1)
        total += np.sum(np.mean((cdf - cdf.mean(0)) ** 2, axis=0) * np.diff(ordered))
    assert float(run(cdf_disagreement, x, fair=False)) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("fair", [False, True])
def test_in_one_dimension_both_are_one(fair):
    x = clouds()[..., :1]
    expected = 4 * 3 / 2 * float(run(cdf_disagreement, x, fair=fair))
    assert float(run(energy_distance, x, fair=fair)) == pytest.approx(expected, rel=1e-4)


def test_fair_clouds_are_right_on_average():
    """Four particles a member: fair ones have no bias, others a large one."""
    loc, scale = jnp.array([[0.0], [0.5], [1.0]]), jnp.array([[1.0], [1.0], [2.0]])
    truth = float(run(cdf_disagreement, UniformMixture(DiagNormal(loc, scale))))
    draws = loc[:, None] + scale[:, None] * jax.random.normal(KEY, (4000, 3, 4, 1))
    fair, plain = (
        np.asarray(run(jax.vmap(lambda x: cdf_disagreement(x, fair=f)), draws))  # noqa: B023
        for f in (True, False)
    )
    error = fair.std() / len(fair) ** 0.5
    assert abs(fair.mean() - truth) < 4 * error
    assert plain.mean() - truth > 20 * error


@pytest.mark.parametrize("name", sorted(OF_CLOUDS))
def test_clouds_agree_if_equal_whatever_their_order(name):
    measure = (MEASURES | {"energy": energy_distance})[name]
    exact = {"energy", "cdf"} & {name}
    same = np.repeat(clouds()[:1], 3, axis=0)
    value_and_gradient = jax.jit(
        jax.value_and_grad(lambda x: measure(x, fair=False) if exact else measure(x))
    )
    of = lambda x: value_and_gradient(jnp.asarray(x, jnp.float32))[0]  # noqa: E731
    np.testing.assert_allclose(of(clouds()[[2, 0, 1]]), of(clouds()), rtol=1e-4)
    if name in DISAGREEMENT:
        assert float(of(same)) == pytest.approx(0, abs=1e-5)
        assert float(of(clouds())) > 0.01
    gradient = value_and_gradient(jnp.asarray(same, jnp.float32))[1]
    assert np.isfinite(gradient).all()


def test_broken_clouds_are_not_taken_for_agreement():
    broken = jnp.full((3, 20, 2), jnp.nan)
    for measure in (energy_distance, cdf_disagreement, epistemic_variance):
        assert np.isnan(run(measure, broken)), measure


@pytest.mark.parametrize("measure", [geometric_jensen_shannon, information_loss])
def test_where_members_are_certain_and_agree_the_gradient_is_finite(measure):
    """In one dimension, beside one where they do not."""
    certain = jnp.zeros((3, 4, 1))
    clouds = jnp.concatenate([certain, jax.random.normal(KEY, (3, 4, 1))], axis=-1)
    for some in (certain, clouds, 1e3 * clouds, 1e-3 * clouds):
        assert np.isfinite(jax.grad(measure)(some)).all()


def test_members_without_spread_are_told_apart():
    """Certain members: what divides by variances stays finite, and sees that they differ."""
    points = np.array([[[0.0, 1.0]], [[0.0, 2.0]]])
    for measure in (geometric_jensen_shannon, information_loss):
        assert np.isfinite(run(measure, points))
        assert float(run(measure, points)) > 1.0
        assert float(run(measure, points[[0, 0]])) == 0.0
    # The variances are raised to a millionth of the total, 1/4: s^2 / 8 of them.
    assert float(run(geometric_jensen_shannon, points)) == pytest.approx(1 / (8 * 0.25e-6))


# --- refused -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(MEASURES))
def test_what_is_no_ensemble_is_refused(name):
    with pytest.raises(TypeError, match="must be that of an ensemble.* is a DiagNormalMixture"):
        MEASURES[name](cases.diag_mixture(0.0))


def test_refused():
    with pytest.raises(ValueError, match=r"must be clouds \[members, particles, dim\]"):
        epistemic_variance(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="at least 2 particles"):
        energy_distance(np.zeros((4, 1, 2)))
    with pytest.raises(ValueError, match="must be finite"):
        total_variance(np.full((2, 2, 1), np.nan))
    with pytest.raises(TypeError, match="must be that of an ensemble"):
        MEASURES["information"](clouds())
    prediction = cases.uniform_mixture_of(cases.diag_normal)(0.0)
    with pytest.raises(NotImplementedError, match=r"OnDraws\(measure, key="):
        energy_distance(prediction)
    drawn = eqx.filter_vmap(cases.autoregressive_bins)(jnp.arange(2.0))
    with pytest.raises(NotImplementedError, match="members that are AutoregressiveBins"):
        cdf_disagreement(UniformMixture(drawn))
    with pytest.raises(ValueError, match="resolution must be positive"):
        information_loss(prediction, resolution=0.0)
    with pytest.raises(ValueError, match="scale must be one number a dimension"):
        InUnits(epistemic_variance, 2.0)
    for members in (prediction, clouds()):  # one number in a list, or three, for two dimensions
        for size in (1, 3):
            with pytest.raises(ValueError, match=rf"of the prediction, \(2,\), .* \({size},\)"):
                InUnits(epistemic_variance, np.ones(size))(members)
    with pytest.raises(ValueError, match="particles must be at least 2"):
        OnDraws(energy_distance, key=KEY, particles=1)
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        MutualInformation(key=KEY, num_samples=1)
