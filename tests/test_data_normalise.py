"""Statistics of the training data."""

import numpy as np
import pytest
from gymnasium import spaces as gs

from stochwm.data import Transitions, fit_standardiser, flat_space, standardisers

RNG = np.random.default_rng(0)


def test_moments():
    values = RNG.normal([3, -1e4], [0.1, 20], (2000, 2))
    fitted = fit_standardiser(values)
    np.testing.assert_allclose(fitted.mean, np.float32(values).mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(fitted.scale, np.float32(values).std(0, dtype=float), rtol=1e-6)


def test_moments_need_float64():
    """A naive float32 mean of these is off by many standard deviations."""
    values = np.float32(1e6) + RNG.choice(np.float32([-1, 1]), (300_000, 1))
    fitted = fit_standardiser(values)
    np.testing.assert_allclose(fitted.mean, 1e6, atol=0.07)
    np.testing.assert_allclose(fitted.scale, 1, rtol=1e-2)


@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678, 3e38])
def test_constant_columns_have_scale_one(value):
    values = np.stack([np.full(1000, value), np.arange(1000.0)], axis=1)
    values[0, 0] = np.nextafter(np.float32(value), np.float32(0))  # a rounding error
    fitted = fit_standardiser(values)
    assert fitted.scale[0] == 1
    assert fitted.scale[1] > 100


def test_one_hot_is_left_alone_and_delta_is_a_difference():
    space = flat_space(gs.Dict({"cell": gs.Discrete(2), "x": gs.Box(-9, 9, (1,))}))
    cells = np.eye(2, dtype="f4")[RNG.integers(2, size=(2, 500))]
    x = np.cumsum(RNG.normal([[5]], 2, (2, 500)), axis=0).astype("f4")
    state, next_state = np.concatenate([cells, x[..., None]], axis=-1)
    action = RNG.uniform(-2, 2, (500, 1)).astype("f4")
    flat = np.ones(500, "f4")
    data = Transitions(state, action, flat, flat, next_state, np.arange(500))
    fitted = standardisers(data, space, flat_space(gs.Box(-2, 2, (1,))))
    for one, column in zip(fitted, (x[0], None, x[1] - x[0]), strict=True):
        if column is not None:
            np.testing.assert_array_equal(one.mean[:2], 0)
            np.testing.assert_array_equal(one.scale[:2], 1)
            np.testing.assert_allclose(
                [one.mean[2], one.scale[2]], [column.mean(), column.std()], 1e-5
            )
    np.testing.assert_allclose(fitted[1].scale, action.std(0), rtol=1e-5)
    chosen = Transitions(x[0][:, None], cells[0], flat, flat, x[1][:, None], np.arange(500))
    real, discrete = flat_space(gs.Box(-9, 9, (1,))), flat_space(gs.Discrete(2))
    one_hot = standardisers(chosen, real, discrete)[1]
    np.testing.assert_array_equal([one_hot.mean, one_hot.scale], [[0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 1)), "at least one row"),
        (np.zeros(3), r"shape \(3,\), expected \[n, 1\]"),
        (np.zeros((3, 2)), r"shape \(3, 2\), expected \[n, 1\]"),
        (np.array([[1.0], [np.nan]]), r"row 1 of values is \[nan\]"),
        ([[1.0], [1.0, 2.0]], "ragged"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        fit_standardiser(values, flat_space(gs.Box(0, 1, (1,))))
