"""Discrete latents: bounds against the exact sum, divergences by hand, and that they learn."""

from functools import cache, partial
from itertools import product
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.distributions import (
    DiagNormal,
    DiagNormalMixture,
    LatentSampler,
    OneHotCategoricals,
    UniformMixture,
    unimix,
)
from stochwm.training import (
    balanced_kl,
    default_optimizer,
    fit,
    free_bits,
    leave_one_out,
    negative_elbo,
    negative_log_likelihood,
    partition_trainable,
    plain_kl,
    split_kl,
    straight_through,
)
from stochwm.transitions import (
    DiscreteLatent,
    Gaussian,
    elbo,
    importance_weighted_bound,
    view_latents,
)
from tests.cases_models import (
    ACTION,
    STATE,
    discrete_latent,
    ensemble,
    line_data,
    sampled_latent,
    standardised,
)

KEY = jax.random.key(4)
NEXT = jnp.array([0.7, -0.4])


# --- the prediction ---------------------------------------------------------------------------
def two_groups(key):
    return discrete_latent(key, num_groups=2)


@pytest.fixture(scope="module")
def exact():
    return two_groups(KEY)


def brute_force(model, state, action, target):
    """log p and log p(z | s') over all codes, one after the other, in float64."""
    context = model.context(state, action)
    log_prior = np.asarray(model.prior(context).log_probs(), float)
    joint = {}
    for one, other in product(range(3), range(3)):
        code = np.concatenate([np.eye(3)[one], np.eye(3)[other]])
        given = model.decoder(context, jnp.asarray(code, jnp.float32))
        z = (np.asarray(target) - np.asarray(given.loc)) / np.asarray(given.scale)
        log_given = -0.5 * z**2 - np.log(np.asarray(given.scale) * np.sqrt(2 * np.pi))
        joint[one, other] = log_prior[one] + log_prior[3 + other] + log_given.sum()
    return np.logaddexp.reduce(list(joint.values())), joint


def test_few_codes_are_summed_exactly(exact):
    prediction = exact(STATE, ACTION)
    assert isinstance(prediction, DiagNormalMixture)
    log_prob, joint = brute_force(exact, STATE, ACTION, NEXT)
    assert prediction.logits.shape == (len(joint),)
    np.testing.assert_allclose(prediction.log_prob(NEXT), log_prob, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(jnp.exp(prediction.logits)), 1, rtol=1e-5)


def test_many_codes_are_sampled_from_the_same_law(exact):
    sampled, prediction = sampled_latent(KEY), exact(STATE, ACTION)
    assert isinstance(sampled(STATE, ACTION), LatentSampler)
    draw = jax.jit(jax.vmap(lambda seed: sampled(STATE, ACTION).sample(seed=seed)))
    draws = draw(jax.random.split(KEY, 20_000))
    error = 4 * np.sqrt(prediction.variance() / 20_000)
    assert (np.abs(draws.mean(axis=0) - prediction.mean()) < error).all()
    np.testing.assert_allclose(np.cov(draws.T), prediction.covariance(), atol=0.1)


def test_what_is_decoded_stays_bounded_far_from_the_data(exact):
    """Or one imagined step outside would be followed by a larger one."""
    near, far = exact(1e4 * STATE, ACTION), exact(1e6 * STATE, ACTION)
    np.testing.assert_allclose(near.loc, far.loc, rtol=1e-5)
    assert np.abs(far.loc).max() < 10
    assert far.scale.max() < 10


def test_an_ensemble_that_is_sampled_only_has_no_density():
    prediction = ensemble(sampled_latent, KEY)(STATE, ACTION)
    assert isinstance(prediction, UniformMixture)
    assert prediction.sample(seed=KEY).shape == (2,)


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("num_groups must be at least 1, but is 0", {"num_groups": 0}),
        ("num_classes must be at least 1, but is 0", {"num_classes": 0}),
        (r"mix must be in \[0, 1\], but is 1.5", {"mix": 1.5}),
        ("min_scale.* 0", {"min_scale": 0.0}),
        ("features must be at least 1, but is 0", {"features": 0}),
    ],
)
def test_impossible_numbers_are_refused(match, options):
    with pytest.raises(ValueError, match=match):
        DiscreteLatent(2, 1, **options, key=KEY)


# --- unimix -----------------------------------------------------------------------------------
def test_unimix_is_a_share_of_the_uniform_in_each_group():
    given = OneHotCategoricals(jnp.log(jnp.array([0.9, 0.1, 0.2, 0.3, 0.5])), (2, 3))
    want = 0.8 * np.array([0.9, 0.1, 0.2, 0.3, 0.5]) + 0.2 / np.array([2, 2, 3, 3, 3])
    np.testing.assert_allclose(unimix(given, 0.2).mean(), want, rtol=1e-5)
    np.testing.assert_allclose(unimix(given, 1.0).mean(), [1 / 2] * 2 + [1 / 3] * 3, rtol=1e-5)
    assert unimix(given, 0.0) is given
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"rate must be in \[0, 1\], but is {rate}"):
            unimix(given, rate)


def test_the_prior_is_mixed_as_told_and_the_posterior_never():
    plain, mixed = discrete_latent(KEY), discrete_latent(KEY, mix=0.3)
    context = plain.context(STATE, ACTION)
    np.testing.assert_allclose(
        mixed.prior(context).mean(), 0.7 * plain.prior(context).mean() + 0.1, rtol=1e-5
    )
    one, other = (model.posterior(context, NEXT).logits for model in (plain, mixed))
    np.testing.assert_array_equal(one, other)


def test_unimix_bounds_a_divergence_and_its_gradient():
    def divergence(logit):
        certain = OneHotCategoricals(jnp.array([logit, 0.0]))
        other = OneHotCategoricals(jnp.array([0.0, logit]))
        return unimix(certain, 0.01).kl_divergence(unimix(other, 0.01))

    value, slope = jax.value_and_grad(divergence)(200.0)
    assert value < np.log(2 / 0.01)
    assert np.isfinite(slope)
    floor = unimix(OneHotCategoricals(jnp.array([0.0, -jnp.inf])), 0.01)
    np.testing.assert_allclose(floor.mean(), [0.995, 0.005], rtol=1e-5)


# --- bounds -----------------------------------------------------------------------------------
def estimates(bound, model, num_samples, repeats=2_000):
    keys = jax.random.split(jax.random.key(9), repeats)
    one = lambda key: bound(model, STATE, ACTION, NEXT, key=key, num_samples=num_samples)  # noqa: E731
    values = eqx.filter_jit(jax.vmap(one))(keys)
    return float(values.mean()), float(values.std() / np.sqrt(repeats))


def test_bounds_are_below_the_likelihood_and_tighten(exact):
    truth = float(exact(STATE, ACTION).log_prob(NEXT))
    evidence, error = estimates(elbo, exact, 1)
    loose, other = estimates(importance_weighted_bound, exact, 1)
    tight, _ = estimates(importance_weighted_bound, exact, 50)
    assert abs(loose - evidence) < 4 * (error + other)  # one draw is the evidence bound
    assert loose < tight < truth + 0.01
    assert truth - loose > 0.1  # the first posterior is a poor one
    assert truth - tight < 0.2 * (truth - loose)


def test_the_gap_of_the_evidence_bound_is_the_divergence_from_the_true_posterior(exact):
    truth, joint = brute_force(exact, STATE, ACTION, NEXT)
    q = np.asarray(exact.posterior(exact.context(STATE, ACTION), NEXT).mean(), float)
    gap = sum(
        q[i] * q[3 + j] * (np.log(q[i] * q[3 + j]) - (log_joint - truth))
        for (i, j), log_joint in joint.items()
    )
    evidence, error = estimates(elbo, exact, 20)
    assert abs(truth - gap - evidence) < 4 * error


def test_bounds_are_exact_for_the_true_posterior():
    model = discrete_latent(KEY)
    prediction = model(STATE, ACTION)
    last = lambda m: (m.posterior_head.layers[-1].weight, m.posterior_head.layers[-1].bias)  # noqa: E731
    weight, _ = last(model)
    known = eqx.tree_at(last, model, (0 * weight, prediction.responsibilities(NEXT)))
    truth = float(prediction.log_prob(NEXT))
    for bound, num_samples in ((elbo, 50), (importance_weighted_bound, 1)):
        value, error = estimates(bound, known, num_samples)
        assert abs(value - truth) < 4 * error + 1e-5
    assert error < 1e-5  # p(s', z) / q(z) is the same for every z


def test_bounds_are_in_the_units_of_the_state():
    """Of a standardised model they bound the density of the state, not that of its change."""
    model = standardised(discrete_latent, KEY)
    truth = float(model(STATE, ACTION).log_prob(NEXT))
    value, _ = estimates(importance_weighted_bound, model, 50)
    assert abs(value - truth) < 0.05


def test_models_without_a_code_and_bad_numbers_are_refused(exact):
    with pytest.raises(TypeError, match="DiscreteLatent, alone or Standardised, but is Gaussian"):
        view_latents(Gaussian(2, 1, key=KEY), STATE, ACTION, NEXT)
    with pytest.raises(TypeError, match="one member of an ensemble"):
        view_latents(ensemble(two_groups, KEY), STATE, ACTION, NEXT)
    with pytest.raises(ValueError, match="num_samples must be at least 1, but is 0"):
        elbo(exact, STATE, ACTION, NEXT, key=KEY, num_samples=0)


# --- divergences ------------------------------------------------------------------------------
def categoricals(logits):
    return OneHotCategoricals(logits, (2, 2))


Q, P = jnp.array([0.5, -0.5, 1.0, 0.0]), jnp.array([0.1, 0.2, -0.3, 0.3])


def kl_by_hand(q, p):
    """The sum over both groups, in float64."""
    total = 0.0
    for group in (slice(0, 2), slice(2, 4)):
        a, b = (np.exp(np.asarray(x, float)[group]) for x in (q, p))
        a, b = a / a.sum(), b / b.sum()
        total += float(np.sum(a * np.log(a / b)))
    return total


def gradients(divergence):
    """Value, and the gradient for the logits of posterior and prior."""
    loss = lambda q, p: divergence(categoricals(q), categoricals(p))  # noqa: E731
    value, slopes = jax.value_and_grad(loss, argnums=(0, 1))(Q, P)
    return float(value), *slopes


@pytest.fixture(scope="module")
def plain():
    return gradients(plain_kl)


def test_plain_divergence_is_the_sum_over_groups(plain):
    assert plain[0] == pytest.approx(kl_by_hand(Q, P), rel=1e-5)
    one, other = split_kl(categoricals(Q), categoricals(P))
    assert float(one) == float(other) == pytest.approx(plain[0], rel=1e-6)


@pytest.mark.parametrize("alpha", [0.8, 0.0])
def test_balancing_keeps_the_value_and_splits_the_gradient(plain, alpha):
    value, of_posterior, of_prior = gradients(balanced_kl(alpha))
    assert value == pytest.approx(plain[0], rel=1e-5)
    np.testing.assert_allclose(of_prior, alpha * plain[2], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(of_posterior, (1 - alpha) * plain[1], rtol=1e-4, atol=1e-7)


def test_free_bits_count_the_sum_over_groups(plain):
    """Between the larger group and the sum: bits on each group would stop every gradient."""
    total = plain[0]
    groups = [
        kl_by_hand(np.where(keep, Q, 0), np.where(keep, P, 0))
        for keep in ([True, True, False, False], [False, False, True, True])
    ]
    nats = 0.5 * (max(groups) + total)
    value, of_posterior, of_prior = gradients(free_bits(nats, dyn=0.7, rep=0.1))
    assert value == pytest.approx(0.8 * total, rel=1e-5)
    np.testing.assert_allclose(of_prior, 0.7 * plain[2], rtol=1e-4)
    np.testing.assert_allclose(of_posterior, 0.1 * plain[1], rtol=1e-4)
    assert np.abs(of_posterior).min() > 1e-3


def test_what_is_free_has_no_gradient(plain):
    value, of_posterior, of_prior = gradients(free_bits(2 * plain[0]))
    assert value == pytest.approx(1.1 * 2 * plain[0], rel=1e-5)
    assert not of_posterior.any()
    assert not of_prior.any()


def test_divergences_are_for_normals_too():
    q, p = DiagNormal([0.0, 1.0], [1.0, 0.5]), DiagNormal([1.0, 1.0], [2.0, 0.5])
    want = np.log(2) + (1 + 1) / 8 - 0.5
    for divergence, factor in ((plain_kl, 1), (balanced_kl(), 1), (free_bits(0.0, 1.0, 0.5), 1.5)):
        assert float(divergence(q, p)) == pytest.approx(factor * want, rel=1e-5)


@pytest.mark.parametrize(
    ("match", "make"),
    [
        (r"alpha must be in \[0, 1\], but is 1.2", partial(balanced_kl, 1.2)),
        ("nats must not be negative, but is -1", partial(free_bits, -1.0)),
        ("rep must not be negative, but is nan", partial(free_bits, 1.0, 1.0, float("nan"))),
    ],
)
def test_impossible_weights_are_refused(match, make):
    with pytest.raises(ValueError, match=match):
        make()


# --- expectations -----------------------------------------------------------------------------
CURVE = jnp.array([[3.0, -1.0], [0.5, 2.0]])


def curved(code):
    """Of two groups together: no linear function of the code."""
    return code[:2] @ CURVE @ code[2:] + 5.0


def gradient_of(expectation, function, num_samples, repeats=4_000):
    """Mean gradient for the logits Q over many draws, its standard error, and the mean value."""

    def value(logits, key):
        return expectation(categoricals(logits), function, key=key, num_samples=num_samples)

    keys = jax.random.split(KEY, repeats)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(value), in_axes=(None, 0)))(Q, keys)
    return slopes.mean(axis=0), slopes.std(axis=0) / np.sqrt(repeats), values.mean()


def test_leave_one_out_has_the_gradient_of_the_exact_expectation():
    def exact_expectation(logits):
        one, other = jax.nn.softmax(logits[:2]), jax.nn.softmax(logits[2:])
        return one @ CURVE @ other + 5.0

    want, slope = jax.value_and_grad(exact_expectation)(Q)
    for num_samples in (2, 5):
        mean, error, value = gradient_of(leave_one_out, curved, num_samples)
        assert (np.abs(mean - slope) < 4.5 * error).all()
        assert (error < 0.05).all()
        assert value == pytest.approx(float(want), abs=0.1)
    with pytest.raises(ValueError, match="num_samples must be at least 2 .*, but is 1"):
        leave_one_out(categoricals(Q), curved, key=KEY, num_samples=1)


def test_straight_through_is_exact_for_linear_functions_only():
    weights = jnp.array([3.0, -1.0, 0.5, 2.0])
    slope = jax.grad(lambda logits: categoricals(logits).mean() @ weights)(Q)
    mean, _, _ = gradient_of(straight_through, lambda code: code @ weights, 1, repeats=3)
    np.testing.assert_allclose(mean, slope, rtol=1e-5)
    cube = lambda code: (code @ weights) ** 3  # noqa: E731
    biased, error, _ = gradient_of(straight_through, cube, 1)
    honest, other, _ = gradient_of(leave_one_out, cube, 2)
    assert (np.abs(biased - honest) > 10 * (error + other)).any()
    with pytest.raises(ValueError, match="num_samples must be at least 1, but is 0"):
        straight_through(categoricals(Q), curved, key=KEY, num_samples=0)


# --- losses -----------------------------------------------------------------------------------
ROW = SimpleNamespace(state=STATE, action=ACTION, next_state=NEXT)


LOSSES = {
    "plain": negative_elbo(),
    "balanced": negative_elbo(balanced_kl(0.8)),
    "no divergence": negative_elbo(lambda posterior, prior: jnp.zeros(())),
    "free bits": negative_elbo(
        free_bits(0.0, 1.0, 0.1), noise=0.1, expectation=straight_through, num_samples=1
    ),
}


@cache
def slopes_of(name):
    return gradient_by_path(LOSSES[name], sampled_latent(KEY))


def gradient_by_path(loss, model):
    trainable, fixed = partition_trainable(model)

    @eqx.filter_jit
    def slopes(trainable):
        return eqx.filter_grad(lambda t: loss(eqx.combine(t, fixed), ROW, key=KEY))(trainable)

    paths = jax.tree_util.tree_leaves_with_path(slopes(trainable))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_loss_is_minus_the_evidence_bound_of_the_target_with_its_noise(exact, noise):
    """Of a posterior that is far from the prior."""
    last = lambda m: m.posterior_head.layers[-1].bias  # noqa: E731
    model = eqx.tree_at(last, exact, jnp.array([4.0, 0.0, 0.0, 0.0, 0.0, 4.0]))
    loss, keys = negative_elbo(noise=noise, num_samples=20), jax.random.split(KEY, 4_000)
    values = eqx.filter_jit(jax.vmap(lambda key: loss(model, ROW, key=key)))(keys)

    def bound(key):
        key_noise, key = jax.random.split(key)
        target = NEXT + noise * jax.random.normal(key_noise, NEXT.shape)
        return -elbo(model, STATE, ACTION, target, key=key, num_samples=20)

    wanted = eqx.filter_jit(jax.vmap(bound))(jax.random.split(jax.random.key(9), 4_000))
    error = np.hypot(values.std(), wanted.std()) / np.sqrt(4_000)
    assert abs(values.mean() - wanted.mean()) < 4 * error
    assert error < 0.05


@pytest.mark.parametrize("name", ["plain", "balanced", "free bits"])
def test_the_gradient_of_each_loss_reaches_every_parameter(name):
    slopes = slopes_of(name)
    assert len(slopes) == 14
    for path, slope in slopes.items():
        assert np.isfinite(slope).all(), path
        assert slope.any(), path


def test_the_exact_likelihood_trains_everything_but_the_posterior(exact):
    slopes = gradient_by_path(negative_log_likelihood(), exact)
    still = {path.split(".")[1] for path, slope in slopes.items() if not slope.any()}
    assert still == {"posterior_head"}


def test_prior_and_posterior_share_the_gradient_as_balanced():
    """Of the divergence alone: the losses differ in nothing else."""
    plain, none, mixed = (slopes_of(name) for name in ("plain", "no divergence", "balanced"))
    for path, share in ((".prior_head.weight", 0.8), (".posterior_head.layers[0].bias", 0.2)):
        want = share * (plain[path] - none[path])
        np.testing.assert_allclose(mixed[path] - none[path], want, rtol=1e-3, atol=1e-6)


# --- learning ---------------------------------------------------------------------------------
def two_ways(number, seed):
    """s' = +-1 + 0.1 noise; up with probability 0.8 where the action is positive, else 0.3."""
    rng = np.random.default_rng(seed)
    data = line_data(number, seed)
    up = rng.random((number, 1)) < np.where(data.action > 0, 0.8, 0.3)
    next_state = np.where(up, 1.0, -1.0) + 0.1 * rng.normal(size=(number, 1))
    return eqx.tree_at(lambda d: d.next_state, data, next_state.astype("float32"))


@eqx.filter_jit
def judged(model, data):
    """Mean negative log likelihood, probability of up, and density in the middle, of each row."""

    def one(state, action, next_state):
        prediction, middle = model(state, action), jnp.zeros(1)
        density = jnp.exp(prediction.log_prob(middle))
        return -prediction.log_prob(next_state), 1 - prediction.cdf(middle)[0], density

    return jax.vmap(one)(data.state, data.action, data.next_state)


@pytest.mark.parametrize("name", ["exact", "elbo"])
def test_both_ways_and_their_weights_are_learned(name):
    loss, groups, steps = {
        "exact": (negative_log_likelihood(), 1, 400),
        "elbo": (negative_elbo(), 2, 800),
    }[name]
    model = DiscreteLatent(
        1, 1, num_groups=groups, num_classes=3, features=16, width=16, depth=1, key=KEY
    )
    fitted = fit(
        model, two_ways(4_000, 0), loss, default_optimizer(steps, 2e-2), key=KEY,
        steps=steps, batch_size=128, evaluate_every=400, progress=False,
    )  # fmt: skip
    data = two_ways(1_000, 1)
    nll, prob_up, middle = (np.asarray(x) for x in judged(fitted.model, data))
    chance = np.where(data.action[:, 0] > 0, 0.8, 0.3)
    of_way = np.where(data.next_state[:, 0] > 0, chance, 1 - chance)
    truth = np.mean(0.5 * np.log(2 * np.pi * np.e * 0.1**2) - np.log(of_way))
    assert nll.mean() < truth + 0.1
    far = np.abs(data.action[:, 0]) > 0.5  # from the jump at 0, which a small network blurs
    for way in (0.8, 0.3):
        assert prob_up[far & (chance == way)].mean() == pytest.approx(way, abs=0.05)
    assert middle.max() < 0.05  # no future between the two
