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
def sampled(model, numbers=LAW, draws=120, **options):
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
    if weight_error is not None:  # the shares of 120 draws are off by some .042
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


# --- several dimensions, of their own units ----------------------------------------------------
def test_near_is_near_in_every_dimension_in_units_of_the_tolerance():
    """Metres beside kilometres: one mode is off by 2.5 tolerances in its small dimension only."""

    def modes(place):
        scale = jnp.array([[10.0, 0.02]] * 2)
        return lambda s, a: DiagNormalMixture(jnp.log(jnp.array([0.2, 0.8])), place + 0 * s, scale)

    law, model = (
        modes(jnp.array(x)) for x in ([[0.0, 0.0], [300.0, 1.0]], [[250.0, 0.0], [50.0, 1.5]])
    )
    origin = np.zeros((1, 2), np.float32)
    options = {"tolerance": np.array([1000.0, 0.2]), "key": jax.random.key(0)}
    found = mode_report(model, law, origin, origin, **options)
    assert (found.recall, found.precision) == (0.5, 0.5)
    assert found.weight_error < 0.03  # draws belong to the mode that is near in these units


def test_the_kernels_of_a_reference_sample_are_half_a_tolerance_wide():
    """So that draws 1.5 tolerances apart are two modes; as wide as it, they would be one."""
    reference = np.array([[[-0.75], [0.75]]])
    model = lambda s, a: DiagNormalMixture([0.0], [[0.75]], [[0.1]])  # noqa: E731
    origin = np.zeros((1, 1), np.float32)
    options = {"tolerance": 1.0, "key": jax.random.key(0)}
    assert mode_report(model, reference, origin, origin, **options).recall == 0.5


def test_a_tolerance_of_other_dimensions_is_refused():
    """It would stretch the only dimension that there is to three, of which the least would count"""
    with pytest.raises(ValueError, match=r"tolerance must be one number or \[1\], but has shape"):
        report(LAW, tolerance=np.array([0.2, 0.3, 0.4]))
