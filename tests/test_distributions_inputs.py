"""Extreme, impossible and unusual inputs: finite numbers where they exist, else clear errors."""

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.distributions import (
    AutoregressiveBins,
    BoxMixture,
    Censored,
    Deterministic,
    DiagNormal,
    DiagNormalMixture,
    FullNormal,
    FullNormalMixture,
    Joint,
    OneHotCategoricals,
    UniformBox,
    UniformMixture,
)
from tests import cases
from tests.cases import NO_CDF, instance, names, stack
from tests.precision import x64

KEY = jax.random.key(0)
FLOAT = jnp.zeros(()).dtype  # float64 where jax_enable_x64 is on
ZERO, ONE = np.zeros(2), np.ones(2)
ZEROS, ONES = np.zeros((3, 2)), np.ones((3, 2))
EYE = np.eye(2)
LOGITS = np.zeros(3)


def bins(**changed):
    fields = {"context": np.zeros(3), "low": -ONE, "high": ONE, "shift": ZERO, "scale": ONE}
    return AutoregressiveBins(cases.BinHead(0.0, 2, 4, 3), **(fields | changed))


BAD = {
    "loc of text": (lambda: DiagNormal(["a", "b"], ONE), TypeError, "loc must be .* numbers"),
    "loc of None": (lambda: DiagNormal(None, ONE), TypeError, "loc must be .* numbers"),
    "ragged loc": (lambda: DiagNormal([[1.0], [1.0, 2.0]], ONE), TypeError, "loc must be"),
    "complex loc": (lambda: DiagNormal(1j * ONE, ONE), TypeError, "loc .* complex"),
    "key as loc": (lambda: DiagNormal(jax.random.split(KEY), ONE), TypeError, "loc .* key"),
    "scalar loc": (lambda: DiagNormal(0.0, 1.0), ValueError, r"loc must have shape \[dim\]"),
    "empty loc": (lambda: DiagNormal(np.zeros(0), np.ones(0)), ValueError, "loc must have shape"),
    "NaN loc": (
        lambda: DiagNormal([0.0, np.nan], ONE),
        ValueError,
        r"loc must be finite.*loc\[1\]",
    ),
    "longer scale": (lambda: DiagNormal(ZERO, np.ones(3)), ValueError, "scale must .*like loc"),
    "stacked scale": (lambda: DiagNormal(ZERO, ONES), ValueError, "scale must .*like loc"),
    "zero scale": (lambda: DiagNormal(ZERO, ZERO), ValueError, "scale must be positive"),
    "negative scale": (lambda: DiagNormal(ZERO, -ONE), ValueError, r"scale\[0\] is -1"),
    "infinite scale": (lambda: DiagNormal(ZERO, ONE * np.inf), ValueError, "scale .* finite"),
    "flat tril": (lambda: FullNormal(ZERO, ONE), ValueError, "scale_tril must have shape"),
    "wrong tril": (lambda: FullNormal(ZERO, np.eye(3)), ValueError, r"scale_tril .*\[2, 2\]"),
    "singular tril": (lambda: FullNormal(ZERO, 0 * EYE), ValueError, "scale_tril.* positive"),
    "NaN in tril": (
        lambda: FullNormal(ZERO, [[1.0, 0.0], [np.nan, 1.0]]),
        ValueError,
        r"scale_tril must be finite",
    ),
    "NaN logits": (
        lambda: DiagNormalMixture(LOGITS * np.nan, ZEROS, ONES),
        ValueError,
        "logits .* NaN",
    ),
    "dead logits": (
        lambda: DiagNormalMixture(LOGITS - np.inf, ZEROS, ONES),
        ValueError,
        "logits .* at least one finite",
    ),
    "infinite logits": (
        lambda: DiagNormalMixture(LOGITS + np.inf, ZEROS, ONES),
        ValueError,
        r"logits .*\+inf",
    ),
    "no component": (
        lambda: DiagNormalMixture(np.zeros(0), ZEROS[:0], ONES[:0]),
        ValueError,
        r"logits must have shape \[components\]",
    ),
    "more logits": (
        lambda: DiagNormalMixture(np.zeros(4), ZEROS, ONES),
        ValueError,
        "loc .* 4 components",
    ),
    "flat means": (lambda: DiagNormalMixture(LOGITS, LOGITS, LOGITS), ValueError, "loc must have"),
    "mixture scale": (lambda: DiagNormalMixture(LOGITS, ZEROS, -ONES), ValueError, "scale must be"),
    "mixture tril": (lambda: FullNormalMixture(LOGITS, ZEROS, EYE), ValueError, "scale_tril must"),
    "full means": (
        lambda: FullNormalMixture(LOGITS, ZERO, np.stack([EYE] * 3)),
        ValueError,
        "loc must have",
    ),
    "sizes": (lambda: OneHotCategoricals(LOGITS, (2, 2)), ValueError, "sizes .* sum to the 3"),
    "empty group": (
        lambda: OneHotCategoricals(LOGITS, (3, 0)),
        ValueError,
        "sizes must be positive",
    ),
    "no groups": (lambda: OneHotCategoricals(LOGITS, ()), ValueError, "sizes must be positive"),
    "dead group": (
        lambda: OneHotCategoricals([0.0, -np.inf, -np.inf], (1, 2)),
        ValueError,
        "logits .* finite",
    ),
    "nothing certain": (lambda: Deterministic({}), ValueError, "loc must hold at least one"),
    "certain text": (lambda: Deterministic("x"), TypeError, "loc must be"),
    "certain NaN": (lambda: Deterministic([np.nan]), ValueError, "loc must be finite"),
    "list of members": (
        lambda: UniformMixture([instance("diag_normal")]),
        TypeError,
        "members .*stack",
    ),
    "one member": (lambda: UniformMixture(instance("diag_normal")), ValueError, "members .* axis"),
    "mixed members": (
        lambda: UniformMixture(eqx.tree_at(lambda d: d.loc, stack("diag_normal"), ONES)),
        ValueError,
        "members .* share a leading",
    ),
    "crossed corners": (lambda: UniformBox(ONE, ZERO), ValueError, "low must not exceed high"),
    "corners": (lambda: UniformBox(ONE, ONES[0, :1]), ValueError, "high must have shape"),
    "blur": (
        lambda: BoxMixture(LOGITS, ZEROS, ONES, -1.0),
        ValueError,
        "blur must not be negative",
    ),
    "blur of a box": (
        lambda: UniformBox([0.0], [1.0], np.ones(3)),
        ValueError,
        r"blur must be one number or \[1\] like a corner, but has shape \(3,\)",
    ),
    "blur of boxes": (lambda: BoxMixture(LOGITS, ZEROS, ONES, ONES), ValueError, r"or \[2\] like"),
    "boxes": (lambda: BoxMixture(np.zeros(2), ZEROS, ONES), ValueError, "low .* 2 components"),
    "censored twice": (lambda: Censored(instance("censored")), TypeError, "base .* is a Censored"),
    "censored dependence": (
        lambda: Censored(instance("full_mixture"), 0.0),
        TypeError,
        "base must be a DiagNormal .* is a FullNormalMixture of FullNormal",
    ),
    "crossed bounds": (
        lambda: Censored(instance("diag_normal"), ONE, ONE),
        ValueError,
        "low must be below high",
    ),
    "bounds": (
        lambda: Censored(instance("diag_normal"), np.zeros(3)),
        ValueError,
        r"low must be one number or \[2\]",
    ),
    "no bound": (
        lambda: Censored(instance("diag_normal"), high=np.nan),
        ValueError,
        "low must be below high",
    ),
    "bins low": (lambda: bins(low=0.0), ValueError, r"low must have shape \[dim\]"),
    "bins high": (lambda: bins(high=np.ones(3)), ValueError, "high must have shape .* like low"),
    "bins crossed": (lambda: bins(high=-2 * ONE), ValueError, "high - low must be positive"),
    "bins scale": (lambda: bins(scale=-ONE), ValueError, "scale must be positive"),
    "affine scale": (lambda: instance("diag_normal").affine(ZERO, -ONE), ValueError, "scale must"),
    "smoothed shape": (lambda: instance("diag_normal").smoothed(ONES), ValueError, "scale must"),
    "absent dimension": (
        lambda: instance("diag_normal").marginal((2,)),
        ValueError,
        r"dims must be different whole numbers from 0 to 1, such as \(0,\), but are \(2,\)",
    ),
    "one dimension twice": (
        lambda: instance("uniform_of_normals").marginal((1, -1)),
        ValueError,
        "dims must be different",
    ),
    "certain level": (
        lambda: instance("deterministic").quantile(1.0),
        ValueError,
        "level must be strictly between 0 and 1",
    ),
    "few samples": (
        lambda: instance("diag_normal").entropy_estimate(key=KEY, num_samples=1),
        ValueError,
        "num_samples must be at least 2",
    ),
}


@pytest.mark.filterwarnings("ignore:Data type alias:DeprecationWarning")
@pytest.mark.parametrize("what", BAD)
def test_bad_input_names_the_argument(what):
    make, error, match = BAD[what]
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize("name", names({"latent_state"}))
def test_a_batch_is_refused_where_one_value_is_wanted(name):
    """It would be broadcast against components, or summed away."""
    distribution = instance(name)
    has_cdf = name not in NO_CDF - {"deterministic", "one_hot", "one_hots"}
    for shape in [(), (5, *distribution.event_shape), (distribution.event_shape[0] + 1,)]:
        for method in [distribution.log_prob, *[distribution.cdf] * has_cdf]:
            with pytest.raises(ValueError, match="value must be one event of shape"):
                method(np.zeros(shape))


@pytest.mark.parametrize(
    "name", ["diag_mixture", "full_mixture", "box_mixture", "uniform_of_normals"]
)
def test_a_stack_of_mixtures_has_to_be_vmapped(name):
    for method in (lambda d: d.sample(seed=KEY), lambda d: d.log_prob(ZERO), lambda d: d.mean()):
        with pytest.raises(ValueError, match="filter_vmap"):
            method(stack(name))


def test_an_ensemble_of_certain_members_is_no_stack():
    members = jnp.array([[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]])
    ensemble = UniformMixture(Deterministic(members))
    assert ensemble.sample(seed=KEY).tolist() in members.tolist()
    np.testing.assert_allclose(ensemble.mean(), [2.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(ensemble.log_prob(members[1]), -np.log(3), rtol=1e-6)
    np.testing.assert_array_equal(ensemble.push(ensemble.abduct(members[1], key=KEY)), members[1])


def off(distribution, logits):
    """The distribution with other logits; under a trace, since some are refused eagerly."""
    return eqx.tree_at(lambda d: d.logits, distribution, logits)


@pytest.mark.parametrize("make", [cases.diag_mixture, cases.full_mixture, cases.box_mixture])
def test_impossible_logits_sample_nan(make):
    """JAX alone draws index 0 from them."""

    @jax.jit
    def run(logits):
        distribution = off(make(0.0), logits)
        noise = distribution.abduct(jnp.zeros(2), key=KEY)
        return distribution.sample(seed=KEY), distribution.log_prob(jnp.zeros(2)), noise.choice

    for logits in ([0.0, np.nan, 0.0], [-np.inf] * 3, [np.nan] * 3):
        sample, log_prob, noise = run(jnp.array(logits))
        assert np.isnan(sample).all()
        assert np.isnan(log_prob) or log_prob == -np.inf
        assert np.isnan(noise).any()


@pytest.mark.parametrize("logits", [[0.0, np.nan, 0.0], [-np.inf] * 3])
def test_impossible_logits_sample_nan_categories(logits):
    make = lambda logits: OneHotCategoricals(logits, (3,)).sample(seed=KEY)  # noqa: E731
    assert np.isnan(jax.jit(make)(jnp.array(logits))).all()


@pytest.mark.parametrize("name", ["diag_normal", "full_normal", "diag_mixture", "full_mixture"])
def test_far_and_narrow_is_finite(name):
    """Targets 10,000 standard deviations off must not end a training run."""
    make = getattr(cases, name)

    @eqx.filter_jit
    def run(distribution, x):
        log_prob, gradient = eqx.filter_value_and_grad(lambda d: d.log_prob(x))(distribution)
        return log_prob, gradient, jax.grad(distribution.log_prob)(x)

    for distribution, x in (
        (make(0.0), jnp.array([1e4, -1e4])),
        (make(0.0).affine(ZERO, 1e-6 * ONE), jnp.array([1e-2, 1e-2])),
        (make(0.0).affine(ZERO, 1e-6 * ONE), make(0.0).affine(ZERO, 1e-6 * ONE).mean()),
    ):
        for leaf in jax.tree.leaves(run(distribution, x)):
            assert np.isfinite(leaf).all()


def test_a_component_that_is_switched_off_is_as_if_absent():
    make = cases.diag_mixture
    full = make(0.0)
    kept = jnp.array([0, 2])
    fewer = jax.tree.map(lambda x: x[kept], full)

    @eqx.filter_jit
    def everything(distribution):
        x = jnp.array([0.3, -0.4])
        wide = make(1.0)
        values = (
            distribution.log_prob(x),
            distribution.mean(),
            distribution.covariance(),
            distribution.cdf(x),
            distribution.quantile(0.3),
            distribution.mode(),
            distribution.entropy_bounds(),
            distribution.kl_bounds(wide),
            wide.kl_bounds(distribution)[0],
        )
        return values, distribution.sample(seed=KEY), distribution.abduct(x, key=KEY).draw

    def total(distribution):
        return sum(jnp.sum(x) for x in jax.tree.leaves(everything(distribution)))

    switched_off = full.logits.at[1].set(-jnp.inf)
    one, other = everything(off(full, switched_off)), everything(fewer)
    for a, b in zip(jax.tree.leaves(one[0]), jax.tree.leaves(other[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for leaf in jax.tree.leaves(
        (one, eqx.filter_jit(eqx.filter_grad(total))(off(full, switched_off)))
    ):
        assert np.isfinite(leaf).all()


def test_an_impossible_category_is_as_if_absent():
    logits, fewer = jnp.array([0.4, -jnp.inf, -1.0]), jnp.array([0.4, -1.0])
    other = jnp.array([0.0, -jnp.inf, 0.0])

    @jax.jit
    def run(logits, other):
        d = OneHotCategoricals(logits)
        value = jnp.zeros_like(logits).at[0].set(1.0)
        return d.log_prob(value), d.entropy(), d.kl_divergence(OneHotCategoricals(other))

    for a, b in zip(run(logits, other), run(fewer, other[jnp.array([0, 2])]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    gradients = jax.jit(jax.jacobian(run))(logits, other)
    assert all(np.isfinite(g).all() for g in gradients)
    assert OneHotCategoricals(logits).log_prob(np.eye(3)[1]) == -np.inf
    ensemble = jax.grad(
        lambda x: UniformMixture(OneHotCategoricals(jnp.stack([x, x]), (3,))).entropy()
    )(logits)
    assert np.isfinite(ensemble).all()


def test_quantile_in_a_gap_between_modes():
    mixture = DiagNormalMixture([0.0, 0.0], [[-100.0], [100.0]], np.ones((2, 1)))
    for level in (0.4999999, 0.5, 0.5000001):
        value, slope = jax.value_and_grad(lambda p: mixture.quantile(p)[0])(level)
        assert abs(mixture.cdf(value[None])[0] - level) < 1e-6
        assert -100 < value < 100
        assert np.isfinite(slope)


def test_quantile_where_there_is_no_density():
    """The value must not be lost to the correction that carries the gradient."""
    ensemble = instance("uniform_of_categoricals")
    expected = np.asarray(0.7 > 1 - ensemble.mean(), np.float32)
    assert expected.sum() == 1
    np.testing.assert_allclose(ensemble.quantile(0.7), expected, atol=1e-6)


def test_ill_conditioned_covariances_keep_bounds_and_smoothing():
    """A condition number of 1e8 is more than a float32 covariance matrix can hold."""
    thin = np.array([[1.0, 0.0], [1.0, 1e-4]])
    mixture = FullNormalMixture(np.zeros(2), np.zeros((2, 2)), np.stack([thin, thin]))
    exact = FullNormal(ZERO, thin).entropy()
    np.testing.assert_allclose(mixture.entropy_bounds(), (exact, exact), rtol=1e-4)
    np.testing.assert_allclose(mixture.kl_bounds(mixture), (0.0, 0.0), atol=1e-3)
    np.testing.assert_allclose(FullNormal(ZERO, thin).smoothed(ZERO).scale_tril, thin, atol=1e-6)


@pytest.mark.parametrize("name", names(NO_CDF - {"one_hot", "one_hots"}))
def test_numpy_float64_and_integers_are_accepted(name):
    distribution = instance(name)
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), distribution)
    assert jax.tree.all(jax.tree.map(lambda x: x.dtype == FLOAT, distribution))
    rebuilt = remake(wide)
    assert eqx.tree_equal(rebuilt, distribution)
    size = distribution.event_shape[0]
    value = np.eye(size, dtype=np.int64)[0] if size > 2 else np.zeros(2, np.int64)
    log_prob = distribution.log_prob(value)
    assert log_prob.dtype == FLOAT
    assert log_prob == distribution.log_prob(value.astype(np.float32))


def remake(d):
    """The same distribution, built again from its (other) arrays."""
    if isinstance(d, UniformMixture):
        return UniformMixture(remake(d.members))
    if isinstance(d, Joint):
        return Joint([remake(part) for part in d.parts])
    if isinstance(d, Censored):
        return Censored(remake(d.base), d.low, d.high)
    return type(d)(**{field: getattr(d, field) for field in d.__dataclass_fields__})


def test_integer_parameters_become_floats():
    normal = DiagNormal([0, 1], np.array([1, 2]))
    assert normal.loc.dtype == normal.scale.dtype == FLOAT


SIXTY_FOUR = """
import jax, jax.numpy as jnp, numpy as np
from tests import cases
for name in ("diag_normal", "full_mixture", "uniform_of_mixtures"):
    make = cases.DISTRIBUTIONS[name]
    @jax.jit
    def run():
        d = make(0.0)
        x = d.sample(seed=jax.random.key(0))
        level = d.cdf(x)
        return x, d.log_prob(x), d.quantile(level), jax.grad(d.log_prob)(x)
    x, log_prob, back, slope = run()
    assert {a.dtype for a in (x, log_prob, back, slope)} == {jnp.dtype("float64")}, name
    assert np.abs(back - x).max() < 1e-9, name
"""


def test_double_precision():
    """In a process of its own: the switch is global."""
    root = Path(__file__).parent.parent
    env = {**os.environ, "JAX_ENABLE_X64": "1", "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SIXTY_FOUR], check=True, cwd=root, env=env, timeout=300)


def test_single_precision_where_double_is_the_default():
    """As that of a model that was trained in it: loops of ours keep the type of their carry."""
    arrays = jax.tree.map(np.asarray, (instance("full_mixture"), instance("uniform_of_normals")))
    with x64():
        mixture, ensemble = jax.tree.map(lambda x: jnp.asarray(x, "float32"), arrays)
        key = jax.random.key(0)
        slope = jax.grad(lambda d: d.sample(seed=key).sum())
        run = jax.jit(lambda one, other: (slope(one), one.modes().loc, other.modes().loc))
        found = run(mixture, ensemble)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, np.nan, [0.5, 1.5]])
@pytest.mark.parametrize("name", ["diag_normal", "full_normal", "diag_mixture", "box_mixture"])
def test_a_quantile_needs_a_level_inside_0_and_1(name, level):
    with pytest.raises(ValueError, match="level must be strictly between 0 and 1"):
        instance(name).quantile(level)


# --- two of them --------------------------------------------------------------------------------
NORMALS = {
    "diagonal": lambda dim: DiagNormal(jnp.zeros(dim), jnp.ones(dim)),
    "full": lambda dim: FullNormal(jnp.zeros(dim), jnp.eye(dim)),
}


@pytest.mark.parametrize("kind", NORMALS)
@pytest.mark.parametrize("sizes", [(2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("name", ["kl_divergence", "bhattacharyya_distance"])
def test_distributions_over_other_events_have_no_distance(kind, sizes, name):
    one, other = (NORMALS[kind](size) for size in sizes)
    with pytest.raises(ValueError, match=rf"events of shape \({sizes[0]},\).*\({sizes[1]},\)"):
        getattr(one, name)(other)
