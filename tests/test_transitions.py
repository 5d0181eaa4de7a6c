"""Transitions: the laws for every one in the table, what constructors refuse, numerical care."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.distributions import DiagNormal, UniformMixture
from stochwm.testing import check_transition
from stochwm.transitions import (
    AbstractTransition,
    AutoregressiveCategorical,
    BoxMixtureDensity,
    Categorical,
    Ensemble,
    FullGaussian,
    FullMixtureDensity,
    Gaussian,
    MixtureDensity,
    MomentMatched,
    Standardised,
    Standardiser,
    moment_matched,
)
from stochwm.transitions.activations import silu
from tests.cases_models import ACTION, STATE, TRANSITIONS, ensemble, gaussian, standardised
from tests.precision import x64

KEY = jax.random.key(0)


class Bias(eqx.Module):
    """A network that ignores its input, so that a prediction is known."""

    bias: jax.Array

    def __call__(self, features):
        return self.bias


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transition_keeps_the_laws(name):
    transition = TRANSITIONS[name](jax.random.key(3))
    check_transition(transition, STATE, ACTION, key=jax.random.key(1))


# --- networks and sizes -----------------------------------------------------------------------
OUTPUTS = {
    Gaussian: 4,
    FullGaussian: 5,
    partial(MixtureDensity, num_components=3): 15,
    partial(FullMixtureDensity, num_components=3): 18,
    Categorical: 2,
    partial(AutoregressiveCategorical, features=7, width=8, num_bins=4): 7,
}


def name_of(make):
    return getattr(make, "func", make).__name__


@pytest.mark.parametrize("make", OUTPUTS, ids=name_of)
def test_a_network_of_your_own_is_used(make):
    bias = Bias(jnp.linspace(-1.0, 1.0, OUTPUTS[make]))
    transition = make(2, 1, network=bias, key=KEY)
    assert transition.network is bias
    assert jax.eval_shape(lambda: transition(STATE, ACTION).log_prob(STATE)).shape == ()


@pytest.mark.parametrize("make", OUTPUTS, ids=name_of)
def test_a_network_of_another_shape_is_refused(make):
    outputs = OUTPUTS[make]
    with pytest.raises(ValueError, match=rf"network .* vector of {outputs}, .*\({outputs + 1},\)"):
        make(2, 1, network=Bias(jnp.zeros(outputs + 1)), key=KEY)
    wrong_input = eqx.nn.Linear(4, outputs, key=KEY)
    with pytest.raises(ValueError, match=r"network must map a vector of 3 .*error"):
        make(2, 1, network=wrong_input, key=KEY)


@pytest.mark.parametrize("make", OUTPUTS, ids=name_of)
@pytest.mark.parametrize(
    ("name", "sizes", "options"),
    [
        ("state_size", (0, 1), {}),
        ("action_size", (2, -1), {}),
        ("width", (2, 1), {"width": 0}),
        ("depth", (2, 1), {"depth": -1}),
    ],
)
def test_impossible_sizes_are_refused(make, name, sizes, options):
    with pytest.raises(ValueError, match=f"{name}.*(0|-1)"):
        make(*sizes, **options, key=KEY)


@pytest.mark.parametrize(
    ("match", "make"),
    [
        ("num_components.* 0", partial(MixtureDensity, 2, 1, num_components=0)),
        ("num_components.* -2", partial(FullMixtureDensity, 2, 1, num_components=-2)),
        ("min_scale.* 0", partial(Gaussian, 2, 1, min_scale=0.0)),
        ("min_scale.* -1", partial(FullGaussian, 2, 1, min_scale=-1.0)),
        ("min_scale.* nan", partial(MixtureDensity, 2, 1, min_scale=float("nan"))),
        ("min_scale.* inf", partial(FullMixtureDensity, 2, 1, min_scale=float("inf"))),
        (r"groups.* 2, .*\(2, 1\)", partial(Categorical, 2, 1, groups=(2, 1))),
        ("groups.*0", partial(Categorical, 2, 1, groups=(2, 0))),
        ("num_bins.* 2", partial(AutoregressiveCategorical, 2, 1, num_bins=2)),
        ("bounds.*1.0, -1.0", partial(AutoregressiveCategorical, 2, 1, bounds=(1.0, -1.0))),
        ("bounds.*inf", partial(AutoregressiveCategorical, 2, 1, bounds=(-1.0, float("inf")))),
        ("features.* 0", partial(AutoregressiveCategorical, 2, 1, features=0)),
        ("num_members.* 0", partial(Ensemble, gaussian, 0)),
    ],
)
def test_impossible_numbers_are_refused(match, make):
    with pytest.raises(ValueError, match=match):
        make(key=KEY)


@pytest.mark.parametrize(
    ("match", "inputs"),
    [
        (r"state must have shape \(2,\), but has shape \(3,\).*vmap", (jnp.zeros(3), ACTION)),
        (r"action must have shape \(1,\), but has shape \(2,\).*vmap", (STATE, STATE)),
    ],
)
def test_a_state_or_action_of_another_size_is_refused(match, inputs):
    with pytest.raises(ValueError, match=match):
        gaussian(KEY)(*inputs)


def test_one_hot_groups_are_independent():
    logits = jnp.array([0.0, 1.0, 2.0, -1.0, 3.0])
    transition = Categorical(5, 1, groups=(2, 3), network=Bias(logits), key=KEY)
    probs = transition(jnp.zeros(5), ACTION).mean()
    want = np.concatenate([np.exp(g) / np.exp(g).sum() for g in np.split(np.asarray(logits), [2])])
    np.testing.assert_allclose(probs, want, rtol=1e-5)


# --- scales and anchors -----------------------------------------------------------------------
def test_scales_start_near_one_and_keep_their_floor():
    def scale(raw):
        network = Bias(jnp.array([0.0, 0.0, raw, raw]))
        return Gaussian(2, 1, min_scale=0.01, network=network, key=KEY)(STATE, ACTION).scale

    np.testing.assert_allclose(scale(0.0), 1.01, rtol=1e-5)
    np.testing.assert_allclose(scale(-1e6), 0.01, rtol=1e-6)
    np.testing.assert_allclose(scale(1e6), 1e6, rtol=1e-3)  # exp would be infinite


def test_the_floor_holds_for_cholesky_factors():
    raw = jnp.array([0.0, 0.0, -1e6, -1e6, 5.0])
    tril = FullGaussian(2, 1, network=Bias(raw), key=KEY)(STATE, ACTION).scale_tril
    np.testing.assert_allclose(tril, [[1e-3, 0.0], [5.0, 1e-3]], rtol=1e-5)


def fit_two_targets(transition):
    """Gradient descent on the likelihood of -1 and +1, without any randomness."""

    def loss(transition):
        prediction = transition(jnp.zeros(1), jnp.zeros(1))
        return -sum(prediction.log_prob(jnp.array([target])) for target in (-1.0, 1.0))

    def step(transition, _):
        grads = eqx.filter_grad(loss)(transition)
        return eqx.apply_updates(transition, jax.tree.map(lambda g: -0.02 * g, grads)), None

    descend = eqx.filter_jit(lambda t: jax.lax.scan(step, t, length=600)[0])
    return descend(transition)(jnp.zeros(1), jnp.zeros(1))


def test_anchors_break_the_symmetry_of_components():
    transition = MixtureDensity(1, 1, num_components=2, network=Bias(jnp.zeros(6)), key=KEY)
    assert np.ptp(transition.anchors) > 0.1
    np.testing.assert_allclose(np.sort(fit_two_targets(transition).loc[:, 0]), [-1, 1], atol=0.05)
    # The trap that they are there for: components that start alike stay alike.
    alike = eqx.tree_at(lambda t: t.anchors, transition, jnp.full((2, 1), 0.3))
    loc = fit_two_targets(alike).loc[:, 0]
    assert loc[0] == loc[1]


@pytest.mark.parametrize("make", [MixtureDensity, FullMixtureDensity, BoxMixtureDensity])
def test_outputs_move_components_from_their_anchors(make):
    """One component of two dimensions: a logit, where it is, and how wide it is, about 1 at 0."""
    more = {FullMixtureDensity: [0.7]}.get(make, [])
    network = Bias(jnp.array([5.0, 2.0, -3.0, 0.0, 0.0, *more]))
    transition = make(2, 1, num_components=1, network=network, key=KEY)
    prediction = transition(STATE, ACTION)
    np.testing.assert_allclose(
        prediction.mean(), transition.anchors[0] + network.bias[1:3], rtol=1e-5
    )
    wide = {BoxMixtureDensity: [1 / 3, 1 / 3], FullMixtureDensity: [1.0, 1.49]}.get(make, [1, 1])
    np.testing.assert_allclose(prediction.variance(), wide, rtol=3e-3)


def test_a_mixture_density_takes_its_outputs_kind_by_kind():
    """As its own docstring, and models that were saved, have them."""
    outputs = jnp.arange(15.0)
    transition = MixtureDensity(2, 1, num_components=3, network=Bias(outputs), key=KEY)
    prediction = transition(STATE, ACTION)
    np.testing.assert_array_equal(prediction.logits, [0, 1, 2])
    moved = prediction.loc - transition.anchors
    np.testing.assert_allclose(moved, [[3, 4], [5, 6], [7, 8]], rtol=1e-5)
    assert (np.diff(np.ravel(prediction.scale)) > 0.9).all()


def test_bins_lie_where_they_are_told_and_differ_between_dimensions():
    options = {"features": 3, "width": 8, "num_bins": 4, "bounds": (-2.0, 3.0)}
    transition = AutoregressiveCategorical(2, 1, network=Bias(jnp.ones(3)), key=KEY, **options)
    prediction = transition(STATE, ACTION)
    np.testing.assert_array_equal([prediction.low, prediction.high], [[-2, -2], [3, 3]])
    one, other = (transition.head(jnp.ones(3), jnp.zeros(2), jnp.asarray(d)) for d in (0, 1))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("name", ["MixtureDensity", "FullMixtureDensity"])
def test_members_and_components_start_apart(name):
    anchors = ensemble(TRANSITIONS[name], KEY).members.anchors
    assert anchors.shape == (3, 3, 2)
    assert np.unique(np.asarray(anchors)).size == anchors.size


# --- standardisation --------------------------------------------------------------------------
def test_standardised_is_the_change_of_variables():
    transition = standardised(TRANSITIONS["FullGaussian"], KEY)
    state, action, value = jnp.array([0.7, -2.0]), jnp.array([-0.4]), jnp.array([1.1, 0.3])
    inner = transition.kernel(
        (state - jnp.array([0.5, -1.0])) / jnp.array([2.0, 0.5]), (-0.6 / 0.7) * jnp.ones(1)
    )
    scale = jnp.array([0.3, 3.0])
    residual = (value - state - jnp.array([0.1, 0.2])) / scale
    want = inner.log_prob(residual) - jnp.sum(jnp.log(scale))
    np.testing.assert_allclose(transition(state, action).log_prob(value), want, rtol=1e-5)


def test_statistics_get_no_gradient():
    transition = standardised(gaussian, KEY)
    grads = eqx.filter_grad(lambda t: t(STATE, ACTION).log_prob(STATE))(transition)
    for statistics in (grads.state, grads.action, grads.delta):
        assert not any(x.any() for x in jax.tree.leaves(statistics))
    assert any(x.any() for x in jax.tree.leaves(grads.kernel))


@pytest.mark.parametrize(
    ("match", "mean", "scale"),
    [
        ("scale must have the shape", [0.0, 0.0], [1.0]),
        ("scale must be positive", [0.0], [0.0]),
        ("scale must be positive", [0.0], [-1.0]),
        ("mean must be finite", [np.nan], [1.0]),
    ],
)
def test_impossible_statistics_are_refused(match, mean, scale):
    with pytest.raises(ValueError, match=match):
        Standardiser(mean, scale)


def test_a_standardiser_does_not_broadcast():
    with pytest.raises(ValueError, match=r"value must have shape \(1,\).*\(2,\)"):
        Standardiser([0.0], [1.0])(STATE)


def test_statistics_of_another_size_are_refused():
    one, two = Standardiser([0.0], [1.0]), Standardiser([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"delta.*\(1,\).*state.*\(2,\)"):
        Standardised(gaussian(KEY), state=two, action=one, delta=one)


# --- ensembles --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def three():
    return ensemble(gaussian, KEY)


def test_members_are_independent_and_can_be_taken_out(three):
    assert three.num_members == 3
    each = three.each(STATE, ACTION)
    assert isinstance(each, DiagNormal)
    assert np.unique(np.asarray(each.loc)).size == 6
    for k in (0, 1, 2, -1):
        alone = three.member(k)(STATE, ACTION)
        np.testing.assert_allclose(alone.loc, each.loc[k], rtol=1e-5)
        np.testing.assert_allclose(alone.scale, each.scale[k], rtol=1e-5)


@pytest.mark.parametrize("index", [3, -4, np.int64(7), np.array(3), jnp.asarray(3)])
def test_a_member_that_is_not_there_is_refused(three, index):
    with pytest.raises(ValueError, match=f"index .* 3 members, but is {index}"):
        three.member(index)


def test_prediction_is_the_equal_weight_mixture(three):
    prediction, value = three(STATE, ACTION), jnp.array([0.3, -0.2])
    assert isinstance(prediction, UniformMixture)
    each = [three.member(k)(STATE, ACTION) for k in range(3)]
    densities = [float(jnp.exp(d.log_prob(value))) for d in each]
    np.testing.assert_allclose(jnp.exp(prediction.log_prob(value)), np.mean(densities), rtol=1e-5)
    np.testing.assert_allclose(prediction.mean(), np.mean([d.loc for d in each], 0), rtol=1e-5)


def test_moment_matching_keeps_mean_and_covariance(three):
    prediction = three(STATE, ACTION)
    matched = MomentMatched(three)(STATE, ACTION)
    np.testing.assert_allclose(matched.mean(), prediction.mean(), rtol=1e-5)
    np.testing.assert_allclose(matched.covariance(), prediction.covariance(), rtol=1e-4)


def test_moment_matching_survives_a_degenerate_covariance():
    loc = jnp.array([1.0, 2.0])
    line = FullGaussian(2, 1, network=Bias(jnp.array([1.0, 2.0, -99.0, -99.0, 3.0])), key=KEY)
    matched = moment_matched(line(STATE, ACTION))
    assert np.isfinite(matched.scale_tril).all()
    np.testing.assert_allclose(matched.mean(), loc)


@pytest.mark.parametrize("dim", [64, 256])
def test_moment_matching_of_many_dimensions_along_which_members_disagree(dim):
    """Rounding makes a covariance of rank one with next to no noise indefinite."""

    @jax.jit
    def scales(key):
        loc = 10 * jax.random.normal(key, (2, dim))
        members = UniformMixture(DiagNormal(loc, jnp.full((2, dim), 1e-3)))
        return [jnp.sqrt(law.variance()) for law in (moment_matched(members), members)]

    for seed in range(5):
        np.testing.assert_allclose(*scales(jax.random.key(seed)), rtol=1e-3)


def test_an_abstract_transition_cannot_be_made():
    with pytest.raises(TypeError):
        AbstractTransition()


def test_default_networks_have_the_size_asked_for():
    network = Gaussian(2, 1, width=8, depth=1, key=KEY).network
    assert [layer.weight.shape for layer in network.layers] == [(8, 3), (4, 8)]


def test_our_silu_is_that_of_jax_with_its_gradient():
    x = jnp.concatenate([jnp.linspace(-40.0, 40.0, 4_001), jnp.array([-1e4, -1e-6, 0.0, 1e4])])
    allowed = 3e-7 * jnp.maximum(1.0, jnp.abs(x))
    assert jnp.all(jnp.abs(silu(x) - jax.nn.silu(x)) < allowed)
    slope, expected = (jax.vmap(jax.grad(f))(x) for f in (silu, jax.nn.silu))
    assert jnp.all(jnp.abs(slope - expected) < allowed)
    assert jnp.isnan(silu(jnp.array(jnp.nan)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float64])
def test_our_silu_of_another_precision_is_jaxs_own(dtype):
    with x64():
        x = jnp.linspace(-9.0, 9.0, 101, dtype=dtype)
        assert jnp.array_equal(silu(x), jax.nn.silu(x))
