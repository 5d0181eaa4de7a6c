"""What the scores refuse, with the words that tell how to mend it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
from stochwm.distributions import DiagNormal, OneHotCategoricals, UniformMixture
from tests import cases

SAMPLES, VALUE = np.arange(8.0).reshape(4, 2), np.zeros(2)
EQUAL = np.full(4, 0.25)
NORMAL = DiagNormal(np.zeros(2), np.ones(2))
STACK = DiagNormal(np.zeros((5, 2)), np.ones((5, 2)))

SCORES = {
    "crps": crps,
    "threshold": threshold_weighted_crps,
    "energy": energy_score,
    "variogram": variogram_score,
    "kernel": kernel_score,
    "dawid": dawid_sebastiani,
    "interval": lambda *args, **options: interval_score(*args, 0.9, **options),
    "quantile": lambda *args, **options: quantile_score(*args, [0.1, 0.5], **options),
}
WEIGHTED = ("crps", "threshold", "energy", "kernel")
PLAIN = ("crps", "threshold", "energy", "kernel", "variogram")


def with_nan(array):
    array = array.copy()
    array.flat[0] = np.nan
    return array


@pytest.mark.parametrize("name", SCORES)
def test_every_score_refuses_bad_samples_and_values(name):
    score = SCORES[name]
    for samples, value, message in (
        (np.zeros((0, 2)), VALUE, r"samples must be .*at least 2 samples.*\(0, 2\)"),
        (SAMPLES[:1], VALUE, r"at least 2 samples.*\(1, 2\)"),
        (SAMPLES, np.zeros(3), r"dimensions of value.*\(4, 2\) and value \(3,\)"),
        (SAMPLES[:, 0], VALUE, r"samples must be \[samples, dim\]"),
        (SAMPLES, np.zeros((1, 2)), r"value must be one vector.*vmap"),
        (with_nan(SAMPLES), VALUE, r"samples must be finite.*samples\[0, 0\] is nan"),
        (SAMPLES, with_nan(VALUE), r"value must be finite.*value\[0\] is nan"),
        (NORMAL, np.zeros(3), r"one distribution over values of shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            score(samples, value)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_asks_for_a_key_where_it_draws(name):
    bins = cases.autoregressive_bins(0.0)
    with pytest.raises(ValueError, match=r"AutoregressiveBins has no closed form: pass key="):
        SCORES[name](bins, VALUE)
    with pytest.raises(ValueError, match="num_samples must be at least 2, but is 1"):
        SCORES[name](bins, VALUE, key=jax.random.key(0), num_samples=1)
    with pytest.raises(TypeError, match="must draw vectors, but a LatentStateDistribution"):
        SCORES[name](cases.latent_state(0.0), VALUE, key=jax.random.key(0))


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_must_sum_to_one(name):
    for weights, message in (
        (2 * EQUAL, r"must sum to one .*their sum 2\.0"),
        (np.array([0.5, 0.7, -0.1, -0.1]), r"must not be negative.*smallest is -0\.1"),
        (with_nan(EQUAL), "must sum to one"),
        (EQUAL[:3], r"weights must be one number a sample, \[4\]"),
        (np.array([1.0, 0.0, 0.0, 0.0]), "at least two positive entries.*fair=False"),
    ):
        with pytest.raises(ValueError, match=message):
            SCORES[name](SAMPLES, VALUE, weights=weights)
    with pytest.raises(ValueError, match="weights belong to an array of samples"):
        SCORES[name](NORMAL, VALUE, weights=EQUAL, key=jax.random.key(0))


@pytest.mark.parametrize("name", PLAIN)
def test_one_sample_has_a_plain_score_but_no_fair_one(name):
    assert np.isfinite(SCORES[name](SAMPLES[:1], VALUE, fair=False)).all()
    with pytest.raises(ValueError, match="at least 1 sample,? "):
        SCORES[name](SAMPLES[:0], VALUE, fair=False)


@pytest.mark.parametrize("name", SCORES)
def test_a_stack_of_distributions_is_refused(name):
    with pytest.raises(ValueError, match=r"one distribution.*draws \(5, 2\).*filter_vmap"):
        SCORES[name](STACK, VALUE, key=jax.random.key(0))


def test_options_are_checked():
    for call, message in (
        (lambda: interval_score(SAMPLES, VALUE, 1.0), "level must be strictly between 0 and 1"),
        (lambda: interval_score(SAMPLES, VALUE, [0.5, 0.9]), "level must be one number"),
        (lambda: quantile_score(SAMPLES, VALUE, [0.5, 0.0]), "strictly between 0 and 1"),
        (lambda: quantile_score(SAMPLES, VALUE, []), r"levels must be one number or \[levels\]"),
        (lambda: variogram_score(SAMPLES, VALUE, p=0.0), "p must be positive"),
        (lambda: variogram_score(SAMPLES, VALUE, weights=EQUAL), r"\[2, 2\], but has shape \(4,\)"),
        (lambda: variogram_score(SAMPLES, VALUE, weights=-np.eye(2)), "must not be negative"),
        (lambda: kernel_score(SAMPLES, VALUE, bandwidth=0.0), "bandwidth must be positive"),
        (lambda: kernel_score(SAMPLES, VALUE, bandwidth=np.ones(3)), r"one number or \[2\]"),
        (lambda: threshold_weighted_crps(NORMAL, VALUE, lower=1.0, upper=1.0), "below upper"),
        (lambda: threshold_weighted_crps(NORMAL, VALUE, lower=np.zeros(3)), r"number or \[2\]"),
        (lambda: threshold_weighted_crps(NORMAL, VALUE, lower=np.nan), "lower must be below"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_singular_covariance_is_an_error_or_nan():
    line = SAMPLES + 0.0
    flat = np.stack([SAMPLES[:, 0] ** 2, np.ones(4)], axis=1)
    traced = jax.jit(dawid_sebastiani)
    for singular in (line, flat, OneHotCategoricals(np.zeros(2))):
        with pytest.raises(ValueError, match="covariance of full rank"):
            dawid_sebastiani(singular, VALUE)
        assert np.isnan(eqx.filter_jit(dawid_sebastiani)(singular, VALUE))
    with pytest.raises(ValueError, match="samples must be more than their 2 dimensions"):
        dawid_sebastiani(SAMPLES[:2], VALUE)
    assert np.isfinite(traced(SAMPLES**2, VALUE))


def test_the_log_score_needs_a_density():
    with pytest.raises(TypeError, match="log_score needs a density, and a ndarray has no"):
        log_score(SAMPLES, VALUE)
    np.testing.assert_allclose(log_score(NORMAL, VALUE), np.log(2 * np.pi), rtol=1e-6)


PROBS = np.array([0.2, 0.3, 0.5])


def test_scores_of_categories_by_hand():
    classes = OneHotCategoricals(np.log(PROBS))
    members = UniformMixture(OneHotCategoricals(np.log([[0.1, 0.1, 0.8], [0.3, 0.5, 0.2]])))
    for prediction in (PROBS, classes, members):
        for value in (1, jnp.int32(1), np.array([0.0, 1.0, 0.0])):
            np.testing.assert_allclose(brier(prediction, value), 0.78, rtol=1e-5)
            np.testing.assert_allclose(ranked_probability(prediction, value), 0.29, rtol=1e-5)


@pytest.mark.parametrize("score", [brier, ranked_probability])
def test_scores_of_categories_refuse(score):
    for prediction, value, message in (
        (2 * PROBS, 1, "sum to one.*their sum 2"),
        (np.array([1.2, -0.2, 0.0]), 1, r"not negative.*smallest is -0\.2"),
        (with_nan(PROBS), 1, "sum to one"),
        (np.zeros(0), 0, r"probabilities \[classes\]"),
        (np.stack([PROBS, PROBS]), 0, r"shape \(2, 3\); vmap"),
        (PROBS, 3, "class from 0 to 2, but is 3"),
        (PROBS, -1, "class from 0 to 2, but is -1"),
        (PROBS, 0.5, "index of a class"),
        (PROBS, np.array([1.0, 1.0, 0.0]), "value must be one-hot"),
        (PROBS, np.zeros(2), "index of a class"),
        (cases.one_hots(0.0), 1, "one group of classes, but has 2"),
    ):
        with pytest.raises(ValueError, match=message):
            score(prediction, value)
    with pytest.raises(TypeError, match="but is a DiagNormal of no categories"):
        score(NORMAL, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("score", [energy_score, variogram_score])
def test_a_broken_prediction_does_not_score_as_a_perfect_one(score, bad):
    """Inside jit nothing is refused: NaN has to stay NaN, and inf - inf is NaN."""
    value_and_gradient = jax.jit(jax.value_and_grad(score))
    assert np.isnan(value_and_gradient(jnp.full((4, 2), bad), jnp.asarray(VALUE))[0])
    assert np.isfinite(value_and_gradient(jnp.zeros((4, 2)), jnp.asarray(VALUE))[1]).all()
