"""Distributions against independent answers: other libraries, quadrature, closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as npd
import pytest
from scipy import stats

from stochwm.distributions import (
    AbstractMixture,
    AutoregressiveBins,
    Deterministic,
    DiagNormal,
    DiagNormalMixture,
    FullNormal,
    FullNormalMixture,
    OneHotCategoricals,
    SymlogNormal,
    UniformMixture,
)
from tests import cases
from tests.cases import NO_TWIN, instance, names, stack

NUM_GRADIENTS = 100_000


# --- Densities -----------------------------------------------------------------------------------


def events(name, number=12):
    """Values where densities are compared, likely ones and unlikely ones."""
    if name == "one_hots":
        both = [(i, j) for i in range(3) for j in range(2)] * 2
        return jnp.array([np.concatenate([np.eye(3)[i], np.eye(2)[j]]) for i, j in both])
    if name in ("one_hot", "uniform_of_categoricals"):
        return jnp.tile(jnp.eye(4), (3, 1))
    noise = np.random.default_rng(0).normal(size=(number, cases.DIM))
    if name == "uniform_box":  # sides are 0.6 to 1.6 long: half of these lie outside
        return instance(name).mean() + 0.5 * jnp.asarray(noise, float)
    values = jnp.asarray(3 * noise, float)
    return values.at[0].set(instance(name).mean()) if name == "deterministic" else values


class SymexpTransform(npd.transforms.Transform):
    """`sign(x) (exp|x| - 1)` of each dimension."""

    domain = codomain = npd.constraints.real_vector

    def __call__(self, x):
        return jnp.sign(x) * (jnp.exp(jnp.abs(x)) - 1)

    def _inverse(self, y):
        return jnp.sign(y) * jnp.log(1 + jnp.abs(y))

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return jnp.sum(jnp.abs(x), axis=-1)

    def tree_flatten(self):
        return (), ((), {})

    def __eq__(self, other):
        return isinstance(other, SymexpTransform)


def numpyro_twin(d):
    """The distribution from numpyro's parts, without a look at how this library combines them."""
    match d:
        case DiagNormal():
            return npd.Normal(d.loc, d.scale).to_event(1)
        case SymlogNormal():
            odd = SymexpTransform()
            return npd.TransformedDistribution(npd.Normal(d.loc, d.scale).to_event(1), odd)
        case FullNormal():
            return npd.MultivariateNormal(d.loc, scale_tril=d.scale_tril)
        case DiagNormalMixture():
            parts = npd.Normal(d.loc, d.scale).to_event(1)
            return npd.MixtureSameFamily(npd.Categorical(logits=d.logits), parts)
        case FullNormalMixture():
            parts = npd.MultivariateNormal(d.loc, scale_tril=d.scale_tril)
            return npd.MixtureSameFamily(npd.Categorical(logits=d.logits), parts)
        case Deterministic():
            return npd.Delta(d.loc, event_dim=1)
        case cases.UniformBox():
            return npd.Uniform(d.low, d.high).to_event(1)
        case UniformMixture():
            member = lambda i: jax.tree.map(lambda x: x[i], d.members)  # noqa: E731
            parts = [numpyro_twin(member(i)) for i in range(d.num_members)]
            even = npd.Categorical(probs=jnp.ones(len(parts)) / len(parts))
            return npd.MixtureGeneral(even, parts, support=parts[0].support)


def numpyro_log_prob(d, value):
    if isinstance(d, OneHotCategoricals):
        ends = np.cumsum(d.sizes)
        groups = [slice(end - size, end) for size, end in zip(d.sizes, ends, strict=True)]
        parts = [npd.Categorical(logits=d.logits[g]) for g in groups]
        return sum(p.log_prob(jnp.argmax(value[g])) for p, g in zip(parts, groups, strict=True))
    if isinstance(d, UniformMixture) and isinstance(d.members, OneHotCategoricals):
        member = lambda i: jax.tree.map(lambda x: x[i], d.members)  # noqa: E731
        each = [numpyro_log_prob(member(i), value) for i in range(d.num_members)]
        return jax.nn.logsumexp(jnp.stack(each)) - jnp.log(len(each))
    return numpyro_twin(d).log_prob(value)


def with_groups(name, values):
    """The shape of values that the distrax twin takes: one row a group of categories."""
    if name == "one_hots":
        return instance(name).to_groups(values)
    return values[:, None] if name in ("one_hot", "uniform_of_categoricals") else values


@pytest.mark.filterwarnings("ignore:Out-of-support values:UserWarning")
@pytest.mark.parametrize("name", names(NO_TWIN))
def test_log_prob_agrees_with_distrax_and_numpyro(name):
    @eqx.filter_jit
    def run(d, values):
        grouped = with_groups(name, values)
        theirs = jax.vmap(lambda x: numpyro_log_prob(d, x))(values)
        return jax.vmap(d.log_prob)(values), d.to_distrax().log_prob(grouped), theirs

    ours, distrax, numpyro = run(instance(name), events(name))
    np.testing.assert_allclose(ours, distrax, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(ours, numpyro, rtol=2e-5, atol=2e-5)
    assert np.isfinite(ours).any()


def test_box_mixture_without_blur_agrees_with_distrax():
    boxes = instance("box_mixture")
    sharp = cases.BoxMixture(boxes.logits, boxes.low, boxes.high)
    x = jnp.concatenate([boxes.components().mean(), boxes.low - 0.01])
    ours = eqx.filter_jit(eqx.filter_vmap(lambda d, x: d.log_prob(x), in_axes=(None, 0)))(sharp, x)
    np.testing.assert_allclose(ours, sharp.to_distrax().log_prob(x), rtol=1e-5)


# A Deterministic value may be any array, so its batch axes cannot be told from its own.
@pytest.mark.parametrize("name", names(NO_TWIN | {"deterministic"}))
def test_twin_of_a_stack_is_a_batched_twin(name):
    several, values = stack(name), events(name)[:4]
    ours = eqx.filter_jit(eqx.filter_vmap(lambda d, x: d.log_prob(x)))(several, values)
    twin = several.to_distrax()
    assert twin.batch_shape == (4,)
    theirs = twin.log_prob(with_groups(name, values))
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("make", [cases.full_normal, cases.full_mixture, cases.diag_mixture])
def test_flattened_ensemble_is_the_same_law(make):
    ensemble, x = cases.uniform_mixture_of(make)(0.0), events("diag_mixture")

    @eqx.filter_jit
    def run(ensemble, x):
        return jax.vmap(ensemble.log_prob)(x), jax.vmap(ensemble.flatten().log_prob)(x)

    np.testing.assert_allclose(*run(ensemble, x), rtol=1e-5)


ONE_DIMENSIONAL = {
    "symlog_normal": lambda: SymlogNormal(jnp.array([0.5]), jnp.array([0.4])),
    "diag_normal": lambda: cases.diag_normal(0.0, 1),
    "full_normal": lambda: cases.full_normal(0.0, 1),
    "diag_mixture": lambda: cases.diag_mixture(0.0, 1),
    "full_mixture": lambda: cases.full_mixture(0.0, 1),
    "uniform_box": lambda: cases.uniform_box(0.0, 1),
    "box_mixture": lambda: cases.box_mixture(0.0, 1),
    "uniform_of_mixtures": lambda: cases.uniform_mixture_of(lambda x: cases.diag_mixture(x, 1))(
        0.0
    ),
    "autoregressive_bins": lambda: cases.autoregressive_bins(0.0, 1),
}


@pytest.mark.parametrize(("loc", "scale"), [(0.7, 0.4), (0.1, 0.6), (-1.2, 0.3)])
def test_entropy_and_mode_of_a_symlog_normal(loc, scale):
    """Against sums over a grid that is fine where the density is high."""
    x = np.sinh(np.linspace(-8, 8, 400_001))
    y = np.sign(x) * np.log1p(np.abs(x))
    log_density = stats.norm(loc, scale).logpdf(y) - np.log1p(np.abs(x))
    entropy = np.trapezoid(-np.exp(log_density) * log_density, x)
    law = SymlogNormal(jnp.array([loc]), jnp.array([scale]))
    np.testing.assert_allclose(law.entropy(), entropy, rtol=1e-5)
    np.testing.assert_allclose(law.mode()[0], x[np.argmax(log_density)], atol=1e-4)


@jax.jit
def moments_of_symlog_normals(loc, scale):
    """Means, variances, and the slope of these by the scale."""
    law = SymlogNormal(loc, scale)
    slope = jax.grad(lambda s: SymlogNormal(loc, s).variance().sum())(scale)
    return law.mean(), law.variance(), slope


@pytest.mark.parametrize("loc", [0.0, -0.02, 1.0, -10.0])
def test_moments_of_a_symlog_normal_of_any_scale(loc):
    """Against sums over a grid in double precision; the terms of a narrow variance cancel."""
    scale = np.array([1e-4, 1e-3, 0.02, 0.09, 0.11, 1.0])
    noise = np.linspace(-12, 14, 100_001)[:, None]
    mass = np.exp(-0.5 * noise**2) / np.exp(-0.5 * noise**2).sum(axis=0)
    x = loc + scale * noise
    y = np.sign(x) * np.expm1(np.abs(x))
    mean = (mass * y).sum(axis=0)
    found, variance, slope = moments_of_symlog_normals(np.full(6, loc), scale)
    np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(variance, (mass * (y - mean) ** 2).sum(axis=0), rtol=1e-3)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_one_dimensional_density_integrates_to_its_cdf(name):
    distribution = ONE_DIMENSIONAL[name]()
    grid = jnp.linspace(-30.0, 30.0, 40_001)[:, None]
    # Bins keep their cdf as the noise.
    cdf = distribution.abduct if name == "autoregressive_bins" else distribution.cdf

    @jax.jit
    def run(grid):
        levels, density = jax.vmap(lambda x: jax.jvp(cdf, (x,), (jnp.ones(1),)))(grid)
        return levels[:, 0], density[:, 0], jnp.exp(jax.vmap(distribution.log_prob)(grid))

    levels, slope, density = (np.asarray(a, np.float64) for a in run(grid))
    step = 60 / 40_000
    mass = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * step)])
    # A density that jumps costs the trapezoids half a step of its height.
    jumps = name in ("uniform_box", "autoregressive_bins")
    np.testing.assert_allclose(mass[-1], 1.0, atol=2e-3 if jumps else 1e-5)
    np.testing.assert_allclose(levels, mass, atol=2e-3 if jumps else 2e-5)
    np.testing.assert_allclose(slope, density, atol=2e-4 * density.max())


# --- Gradients of samples ------------------------------------------------------------------------


def payoff(x):
    """A function of a value whose expectation feels every parameter."""
    return jnp.sin(x[0] + 0.3) * x[1] + 0.3 * x[0] ** 2 - 0.5 * jnp.cos(2 * x[1])


def sample_gradients(make, params, function=payoff):
    """Mean and standard error of `d function(sample) / d params` over many samples."""

    @jax.jit
    def run(params):
        keys = jax.random.split(jax.random.key(0), NUM_GRADIENTS)
        one = jax.grad(lambda params, key: function(make(params).sample(seed=key)))
        each = jax.vmap(lambda key: one(params, key))(keys)
        error = lambda g: jnp.std(g, axis=0) / jnp.sqrt(NUM_GRADIENTS)  # noqa: E731
        return jax.tree.map(lambda g: jnp.mean(g, axis=0), each), jax.tree.map(error, each)

    return run(params)


def quadrature_gradient(make, params, function=payoff, reach=14.0, points=280):
    """The same expectation's gradient, by a sum over a grid and the density."""
    step = 2 * reach / points
    axis = -reach + step * (jnp.arange(points) + 0.5)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    area = step**2

    def expectation(params):
        density = jnp.exp(jax.vmap(make(params).log_prob)(grid))
        return area * jnp.sum(density * jax.vmap(function)(grid))

    return jax.jit(jax.grad(expectation))(params)


def worst_z(sampled, exact):
    """Largest distance in standard errors, after a look at whether that says anything."""
    worst = 0.0
    for mean, error, truth in zip(*map(jax.tree.leaves, (*sampled, exact)), strict=True):
        assert np.max(np.abs(truth)) > 20 * np.max(error)  # or a wrong gradient would pass
        worst = max(worst, np.max(np.abs(mean - truth) / (error + 1e-5)))
    return worst


def split(distribution):
    """Parameters as a pytree of arrays, and the way back."""
    params, static = eqx.partition(distribution, eqx.is_inexact_array)
    return (lambda params: eqx.combine(params, static)), params


SMOOTH = ["diag_normal", "full_normal", "diag_mixture", "full_mixture", "uniform_of_mixtures"]


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_of_samples_reaches_every_parameter(name):
    make, params = split(instance(name))
    assert worst_z(sample_gradients(make, params), quadrature_gradient(make, params)) < 5


def test_gradient_of_bins_reaches_the_network():
    ends = jnp.full(2, -3.0), jnp.full(2, 3.0)  # six bins of width 1, in step with the grid
    network = instance("autoregressive_bins")
    params = (network.context, network.head.previous, network.head.bias)

    def make(params):
        where = lambda head: (head.previous, head.bias)  # noqa: E731
        head = eqx.tree_at(where, network.head, params[1:])
        return AutoregressiveBins(head, params[0], *ends, jnp.zeros(2), jnp.ones(2))

    exact = quadrature_gradient(make, params, reach=16.0, points=512)
    assert worst_z(sample_gradients(make, params), exact) < 5


class Cut(eqx.Module):
    """The bug to catch: the path of the chosen component alone, which never sees the weights."""

    mixture: AbstractMixture

    def sample(self, *, seed):
        return AbstractMixture.push(self.mixture, self.mixture.noise(seed=seed))


def test_cutting_the_choice_is_seen():
    make, params = split(instance("diag_mixture"))
    wrong = sample_gradients(lambda params: Cut(make(params)), params)
    assert not np.any(wrong[0].logits)
    assert worst_z(wrong, quadrature_gradient(make, params)) > 50


def test_gradient_through_two_steps():
    """What is drawn first decides weights and means of what is drawn second."""

    def second(params, x):
        slope = params["slope"]
        logits = jnp.stack([slope * x[0], 1.0 - slope * x[0]])
        return DiagNormalMixture(logits, x[0] + jnp.array([[-1.0], [2.0]]), jnp.full((2, 1), 0.7))

    class Chain(eqx.Module):
        params: dict

        def sample(self, *, seed):
            key_first, key_second = jax.random.split(seed)
            x = self.params["first"].sample(seed=key_first)
            return second(self.params, x).sample(seed=key_second)

        def log_prob(self, both):
            first, last = both[:1], both[1:]
            return self.params["first"].log_prob(first) + second(self.params, first).log_prob(last)

    params = {"first": cases.diag_mixture(0.0, 1, 2), "slope": jnp.array(0.5)}
    reward = lambda x: x[-1] + 0.3 * x[-1] ** 2  # noqa: E731
    sampled = sample_gradients(Chain, params, reward)
    assert worst_z(sampled, quadrature_gradient(Chain, params, reward)) < 5


@pytest.mark.parametrize("name", ["one_hot", "one_hots"])
def test_straight_through_is_exact_for_linear_functions(name):
    make, params = split(instance(name))
    slopes = jnp.arange(1.0, 1.0 + params.logits.size) ** 2
    sampled, _ = jax.jit(
        lambda p: (jax.grad(lambda p: slopes @ make(p).sample(seed=jax.random.key(0)))(p), 0)
    )(params)
    exact = jax.grad(lambda p: slopes @ make(p).mean())(params)
    np.testing.assert_allclose(sampled.logits, exact.logits, rtol=1e-4, atol=1e-4)
    assert np.abs(exact.logits).max() > 0.1


# --- Entropy and divergence ----------------------------------------------------------------------

EXACT = {"diag_normal", "full_normal", "one_hots"}
NO_DIVERGENCE = {"latent_state", "autoregressive_bins", "chained", "box_mixture", "uniform_box"}
NO_DIVERGENCE |= {"censored"}


@pytest.mark.parametrize("name", names(NO_DIVERGENCE | {"one_hot", "uniform_of_normals"}))
def test_entropy_and_divergence_bounds_hold_the_estimates(name):
    @eqx.filter_jit
    def run(d, other, key):
        entropy = d.entropy_bounds(), d.entropy_estimate(key=key, num_samples=50_000)
        return entropy, (
            d.kl_bounds(other),
            d.kl_estimate(other, key=key, num_samples=50_000),
        )

    other = instance(name, 0.3)
    for (lower, upper), (estimate, error) in run(instance(name), other, jax.random.key(0)):
        if name == "deterministic":
            assert lower == upper == estimate
            continue
        assert lower - 4 * error - 1e-5 < estimate < upper + 4 * error + 1e-5
        assert error < 0.05
        assert lower <= upper + 1e-5
        assert upper - lower < (1e-6 if name in EXACT else 2.0)


@pytest.mark.parametrize("name", ["diag_normal", "full_normal", "one_hots"])
def test_divergence_agrees_with_distrax_and_numpyro(name):
    p, q = instance(name), instance(name, 2.0)
    ours = p.kl_divergence(q)
    np.testing.assert_allclose(ours, p.to_distrax().kl_divergence(q.to_distrax()), rtol=1e-4)
    if name != "one_hots":
        theirs = npd.kl_divergence(numpyro_twin(p), numpyro_twin(q))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
        np.testing.assert_allclose(p.entropy(), p.to_distrax().entropy(), rtol=1e-5)
        np.testing.assert_allclose(p.entropy(), numpyro_twin(p).entropy(), rtol=1e-5)
    assert ours > 0.05
    np.testing.assert_allclose(p.kl_divergence(p), 0.0, atol=1e-5)


def test_divergence_between_diagonal_and_full_normals():
    diag, full = instance("diag_normal"), instance("full_normal")
    np.testing.assert_allclose(
        diag.kl_divergence(full), diag.to_full().kl_divergence(full), rtol=1e-5
    )
    np.testing.assert_allclose(
        full.kl_divergence(diag), full.kl_divergence(diag.to_full()), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["diag_mixture", "full_mixture"])
def test_bounds_are_tight_for_far_and_for_equal_components(name):
    d = instance(name)
    far = eqx.tree_at(lambda d: d.loc, d, jnp.array([[-1e3, 0.0], [0.0, 1e3], [1e3, -1e3]]))
    weights = np.asarray(d.weights())
    own = np.asarray(jax.vmap(lambda c: c.entropy())(d.components()))
    lower, upper = far.entropy_bounds()
    np.testing.assert_allclose([lower, upper], weights @ (own - np.log(weights)), rtol=1e-5)
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), d)
    lower, upper = same.entropy_bounds()
    np.testing.assert_allclose([lower, upper], own[0], rtol=1e-5)
    np.testing.assert_allclose(d.kl_bounds(d), 0.0, atol=0.3)
    np.testing.assert_allclose(same.kl_bounds(same), 0.0, atol=1e-5)


def test_the_standard_error_of_an_estimate_is_the_one_of_its_mean():
    """Minus the log density of a normal of two dimensions has the variance 1."""
    _, error = instance("diag_normal").entropy_estimate(key=jax.random.key(0), num_samples=2000)
    assert error == pytest.approx(1 / np.sqrt(2000), rel=0.1)


def test_entropy_estimate_has_the_gradient_of_the_entropy():
    """Held draws alone would give a gradient whose expectation is zero."""
    make, params = split(instance("diag_mixture"))

    def entropy(params, key):
        return make(params).entropy_estimate(key=key, num_samples=200)[0]

    @jax.jit
    def run(params):
        keys = jax.random.split(jax.random.key(1), 500)
        each = jax.vmap(lambda key: jax.grad(entropy)(params, key))(keys)
        error = lambda g: jnp.std(g, axis=0) / jnp.sqrt(500)  # noqa: E731
        return jax.tree.map(lambda g: g.mean(0), each), jax.tree.map(error, each)

    axis = jnp.linspace(-12.0, 12.0, 240)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

    def exact(params):
        log_prob = jax.vmap(make(params).log_prob)(grid)
        return -((axis[1] - axis[0]) ** 2) * jnp.sum(jnp.exp(log_prob) * log_prob)

    assert worst_z(run(params), jax.jit(jax.grad(exact))(params)) < 5


def test_what_has_no_closed_form_names_the_alternative():
    mixture, bins = instance("diag_mixture"), instance("autoregressive_bins")
    with pytest.raises(NotImplementedError, match="entropy_estimate"):
        mixture.entropy()
    with pytest.raises(NotImplementedError, match="kl_estimate"):
        mixture.kl_divergence(instance("diag_normal"))
    with pytest.raises(NotImplementedError, match="kl_estimate"):
        mixture.kl_bounds(instance("full_mixture"))
    with pytest.raises(NotImplementedError, match="single group"):
        instance("one_hots").modes()
    for name in ("mean", "variance", "mode"):
        with pytest.raises(NotImplementedError, match="samples"):
            getattr(bins, name)()
    with pytest.raises(NotImplementedError, match="log_prob, moments"):
        UniformMixture(stack("one_hots")).flatten()
    assert UniformMixture(stack("one_hots")).log_prob(events("one_hots")[0]) < 0


# --- Modes ---------------------------------------------------------------------------------------


def sorted_modes(modes):
    kept = np.asarray(modes.weight) > 0
    order = np.argsort(np.asarray(modes.loc)[kept, 0])
    return [np.asarray(a)[kept][order] for a in (modes.loc, modes.weight, modes.log_density)]


WEIGHTS = jnp.array([0.1, 0.2, 0.3, 0.4])
# Two far apart, and two that are one: at a distance of less than two standard deviations.
MEANS = jnp.array([[-9.0, 4.0], [0.0, 0.0], [1.0, 0.0], [9.0, -3.0]])


@pytest.mark.parametrize(
    "make",
    [
        lambda loc: DiagNormalMixture(jnp.log(WEIGHTS), loc, jnp.ones_like(loc)),
        lambda loc: FullNormalMixture(
            jnp.log(WEIGHTS), loc, jnp.broadcast_to(jnp.eye(2), (4, 2, 2))
        ),
        lambda loc: UniformMixture(
            DiagNormalMixture(
                jnp.broadcast_to(jnp.log(WEIGHTS), (2, 4)),
                jnp.broadcast_to(loc, (2, 4, 2)),
                jnp.ones((2, 4, 2)),
            )
        ),
    ],
    ids=["diag", "full", "uniform"],
)
def test_modes_of_known_mixtures(make):
    mixture = make(MEANS)

    @eqx.filter_jit
    def run(mixture):
        modes = mixture.modes()
        slope = jax.vmap(jax.grad(mixture.log_prob))(modes.loc)
        return modes, slope, jax.vmap(mixture.log_prob)(modes.loc)

    modes, slope, log_density = run(mixture)
    np.testing.assert_allclose(modes.weight.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(modes.log_density, log_density, rtol=1e-5)
    np.testing.assert_allclose(slope, 0.0, atol=1e-3)
    loc, weight, _ = sorted_modes(modes)
    np.testing.assert_allclose(weight, [0.1, 0.5, 0.4], rtol=1e-4)
    np.testing.assert_allclose(loc[[0, 2]], MEANS[jnp.array([0, 3])], atol=1e-3)
    assert 0.5 < loc[1, 0] < 1.0


@pytest.mark.parametrize(
    "name", ["diag_mixture", "full_mixture", "uniform_of_mixtures", "uniform_of_categoricals"]
)
def test_mode_beats_every_component(name):
    @eqx.filter_jit
    def run(mixture):
        flat = mixture.flatten() if isinstance(mixture, UniformMixture) else mixture
        rivals = jnp.eye(4) if isinstance(flat, OneHotCategoricals) else flat.loc
        return mixture.log_prob(mixture.mode()), jax.vmap(mixture.log_prob)(rivals)

    best, others = run(instance(name))
    assert best >= others.max() - 1e-5


def test_modes_of_symmetric_pair_sit_on_no_saddle():
    """Both means start on the axis of symmetry between two further components."""
    loc = jnp.array([[0.0, 0.0], [3.0, 0.0], [-3.0, 0.0]])
    mixture = DiagNormalMixture(jnp.array([-9.0, 0.0, 0.0]), loc, jnp.ones((3, 2)))
    loc, weight, _ = sorted_modes(mixture.modes())
    np.testing.assert_allclose(loc[:, 0], [-3.0, 3.0], atol=0.1)
    np.testing.assert_allclose(weight, [0.5, 0.5], atol=1e-3)


def test_ascents_that_have_not_quite_met_are_one_mode():
    mixture = DiagNormalMixture([0.0, 0.0], [[0.0], [1.97]], np.ones((2, 1)))
    modes = mixture.modes()
    assert 1e-6 < abs(modes.loc[0, 0] - modes.loc[1, 0]) < 0.1
    np.testing.assert_allclose(modes.weight, [1.0, 0.0], atol=1e-6)


def test_modes_of_categories_are_the_categories():
    modes = instance("one_hot").modes()
    np.testing.assert_allclose(modes.weight, instance("one_hot").mean())
    np.testing.assert_array_equal(modes.loc, np.eye(4))


def test_ensembles_of_categoricals_have_their_exact_divergence():
    p, q = instance("uniform_of_categoricals"), instance("uniform_of_categoricals", 1)
    a, b = (d.flatten().mean() for d in (p, q))
    np.testing.assert_allclose(p.kl_divergence(q), jnp.sum(a * jnp.log(a / b)), rtol=1e-5)
    np.testing.assert_allclose(p.kl_bounds(q), [p.kl_divergence(q)] * 2, rtol=1e-5)


def test_bounds_against_an_ensemble_are_those_against_its_flat_form():
    mixture, ensemble = instance("diag_mixture"), instance("uniform_of_mixtures")
    bounds = eqx.filter_jit(lambda p, q: jnp.stack(p.kl_bounds(q)))
    np.testing.assert_array_equal(bounds(mixture, ensemble), bounds(mixture, ensemble.flatten()))
