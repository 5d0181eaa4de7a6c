"""Modes of a prediction against those of a law, with planted mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.calibration import mode_report
from stochwm.distributions import DiagNormalMixture

STATES = np.linspace(-1, 1, 4, dtype=np.float32)[:, None]
NOTHING = -20.0  # the logit of a component that is not there


def peaks(places, weights):
    """Up to three narrow peaks around the state, as six numbers."""
    missing = 3 - len(places)
    return [*places, *[0.0] * missing, *np.log(weights), *[NOTHING] * missing]


def predict(state, numbers):
    loc = state[0] + numbers[:3, None]
    return DiagNormalMixture(numbers[3:], loc, jnp.full((3, 1), 0.1))


LAW = peaks([-2.0, 2.0], [0.3, 0.7])


def report(model, law=LAW, **options):
    """The numbers of model and law travel as the action, so that all reports compile to one."""
    options = {"tolerance": 0.2, "key": jax.random.key(0)} | options
    action = np.tile(np.array([*model, *law], np.float32), (4, 1))
    return mode_report(
        lambda s, a: predict(s, a[:6]), lambda s, a: predict(s, a[6:]), STATES, action, **options
    )


def test_the_truth_is_found():
    found = report(LAW)
    assert (found.recall, found.precision) == (1.0, 1.0)
    assert found.weight_error < 0.02


def test_a_dropped_mode_lowers_recall():
    found = report(peaks([2.0], [1.0]))
    assert (found.recall, found.precision) == (0.5, 1.0)
    assert found.weight_error == pytest.approx(0.3, abs=0.02)


def test_an_invented_mode_lowers_precision():
    found = report(peaks([-2.0, 2.0, 0.5], [0.3, 0.5, 0.2]))
    assert found.recall == 1.0
    assert found.precision == pytest.approx(2 / 3)


def test_wrong_weights_are_seen():
    found = report(peaks([-2.0, 2.0], [0.5, 0.5]))
    assert (found.recall, found.precision) == (1.0, 1.0)
    assert found.weight_error == pytest.approx(0.2, abs=0.02)


def test_a_mode_beyond_the_tolerance_is_not_found():
    shifted = peaks([-2.0, 2.3], [0.3, 0.7])
    assert report(shifted).recall == 0.5
    assert report(shifted, tolerance=np.array([0.35])).recall == 1.0


def test_light_modes_are_left_out():
    law = peaks([-2.0, 2.0, 6.0], [0.3, 0.68, 0.02])
    assert report(LAW, law).recall == 1.0
    assert report(LAW, law, min_weight=0.01).recall == pytest.approx(2 / 3)


# --- against a reference sample ----------------------------------------------------------------
def sampled(model, numbers=LAW, draws=300, **options):
    """`report` against draws of the law instead of the law itself."""
    keys = jax.random.split(jax.random.key(1), (len(STATES), draws))
    each = jax.vmap(lambda s, key: predict(s, jnp.asarray(numbers)).sample(seed=key), (None, 0))
    reference = np.asarray(jax.vmap(each)(jnp.asarray(STATES), keys))
    action = np.tile(np.array(model, np.float32), (len(STATES), 1))
    options = {"tolerance": 0.2, "key": jax.random.key(0)} | options
    return mode_report(predict, reference, STATES, action, **options)


@pytest.mark.parametrize(
    ("model", "recall", "precision", "weight_error"),
    [
        (LAW, 1.0, 1.0, 0.0),
        (peaks([2.0], [1.0]), 0.5, 1.0, 0.3),
        (peaks([-2.0, 2.0, 0.5], [0.3, 0.5, 0.2]), 1.0, 2 / 3, None),
        (peaks([-2.0, 2.0], [0.6, 0.4]), 1.0, 1.0, 0.3),
        (peaks([-2.0, 2.4], [0.3, 0.7]), 0.5, 0.5, 0.0),
    ],
    ids=["the truth", "dropped", "invented", "weights", "shifted"],
)
def test_a_reference_sample_shows_what_the_law_shows(model, recall, precision, weight_error):
    found = sampled(model)
    assert (found.recall, found.precision) == pytest.approx((recall, precision))
    if weight_error is not None:  # the shares of 300 draws are off by some .026
        assert found.weight_error == pytest.approx(weight_error, abs=0.06)


@pytest.mark.parametrize("shape", [(4, 300), (3, 300, 1), (4, 300, 2), (4, 1, 1)])
def test_reference_samples_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \[points, draws, dim\], here \[4, 2 or more, 1\]"):
        mode_report(predict, np.zeros(shape), STATES, STATES, tolerance=0.2, key=jax.random.key(0))


def test_reference_samples_with_nan_are_refused():
    broken = np.full((4, 9, 1), np.nan)
    with pytest.raises(ValueError, match="must be finite"):
        mode_report(predict, broken, STATES, STATES, tolerance=0.2, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "tolerance and min_weight must be positive"),
        ({"tolerance": np.array([-1.0])}, "tolerance"),
        ({"min_weight": 0.0}, "min_weight must be positive"),
        ({"min_weight": 0.9}, "no mode of the law has weight 0.9"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        report(LAW, **options)
