"""Everything by horizon: what is planted at one horizon is found there, and only there."""

import json

import jax
import numpy as np
import pytest

from stochwm.calibration import diagnose, pit_tests

STARTS, PARTICLES, HORIZONS = 120, 25, (1, 3, 6, 9)
EPISODE = np.repeat(np.arange(30), 4)


def rollout(seed=0):
    """Clouds and futures of standard normals, too narrow a cloud at the second horizon.

    One coordinate sits on an atom half of the time. The last start of half of the episodes is too
    late for the second horizon; at the third one few are left, at the fourth a future is missing.
    """
    rng = np.random.default_rng(seed)
    clouds = rng.normal(size=(STARTS, PARTICLES, 4, 2)).astype(np.float32)
    futures = rng.normal(size=(STARTS, 4, 2)).astype(np.float32)
    clouds[:, :, :, 1], futures[:, :, 1] = clouds[:, :, :, 1].clip(0), futures[:, :, 1].clip(0)
    clouds[:, :, 1] *= 0.5
    futures[5, 3, 0] = np.nan
    mask = np.ones((STARTS, 4), bool)
    mask[3:60:4, 1], mask[9:, 2] = False, False
    return clouds, futures, mask, EPISODE


@pytest.fixture(scope="module")
def found():
    return diagnose(*rollout(), horizons=HORIZONS, key=jax.random.key(0))


def test_a_right_horizon_passes_every_test(found):
    row = found.get(1)
    assert min(t.p_value for tests in row.tests.values() for t in tests) > 0.005
    assert row.values["pit"].shape == (STARTS, 2)
    assert row.values["copula"].shape == (STARTS,)
    np.testing.assert_allclose(row.coverage.observed, row.coverage.level, atol=0.1)
    assert row.area < 0.05


def test_a_narrow_horizon_fails(found):
    row = found.get(3)
    for name in ("pit", "band depth", "density"):
        assert row.tests[name].cramer_von_mises.p_value < 0.05
        assert row.tests[name].chi_square.p_value < 0.01
    assert row.coverage.high[-2] < 0.9
    assert row.area > 2 * found.get(1).area


def test_what_is_tested_are_the_starts_that_lasted_and_those_a_horizon_apart(found):
    row = found.get(3)
    there = rollout()[2][:, 1]
    np.testing.assert_array_equal(row.episode, EPISODE[there])
    assert row.values["pit"].shape == (105, 2)
    assert row.tests["pit"].serial == pit_tests(row.values["pit"], row.episode, lag=3).serial


def test_what_cannot_be_judged_is_skipped_with_the_reason(found):
    assert [row.horizon for row in found.horizons] == [1, 3]
    assert found.skipped == (
        "horizon 6: only 9 futures are that long",
        "horizon 9: 1 futures or clouds are not finite",
    )
    with pytest.raises(KeyError, match=r"no horizon 6; there are \[1, 3\]"):
        found.get(6)


def test_forms(found):
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [row["horizon"] for row in data["horizons"]] == [1, 3]
    first = data["horizons"][0]
    assert (first["starts"], first["episodes"]) == (120, 30)
    expected = found.get(1).tests["density"].chi_square.p_value
    assert first["tests"]["density"]["chi_square"]["p_value"] == expected
    lines = str(found).splitlines()
    assert lines[1].split()[:5] == ["horizon", "n", "50", "%", "90"]
    assert lines[2].split()[:2] == ["1", "120"]
    assert lines[-1] == "skipped: horizon 9: 1 futures or clouds are not finite"
    assert len({len(line) for line in lines[1:4]}) == 1


def test_the_same_key_gives_the_same_ranks(found):
    again = diagnose(*rollout(), horizons=HORIZONS, key=jax.random.key(0))
    assert again.to_json() == found.to_json()
    other = diagnose(*rollout(), horizons=HORIZONS, key=jax.random.key(1))
    assert other.to_json() != found.to_json()


def test_a_mask_of_numbers_is_a_mask_and_no_list_of_rows(found):
    clouds, futures, mask, episode = rollout()
    options = {"horizons": HORIZONS, "key": jax.random.key(0)}
    assert diagnose(clouds, futures, mask.astype(int), episode, **options).to_json() == (
        found.to_json()
    )


@pytest.mark.parametrize(("position", "name"), [(1, "futures"), (2, "mask"), (3, "episode")])
def test_refuses_shapes_that_do_not_fit(position, name):
    inputs = list(rollout())
    inputs[position] = inputs[position][:-1]
    with pytest.raises((ValueError, TypeError)):  # a TypeError where shapes are checked on entry
        diagnose(*inputs, horizons=HORIZONS, key=jax.random.key(0))


def test_refuses_horizons():
    with pytest.raises(ValueError, match=r"horizons must have shape \[4\]"):
        diagnose(*rollout(), horizons=(1, 2), key=jax.random.key(0))
    with pytest.raises(ValueError, match="horizons must be at least 1"):
        diagnose(*rollout(), horizons=(0, 1, 2, 3), key=jax.random.key(0))
