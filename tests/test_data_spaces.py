"""Flat encodings agree with Gymnasium's, in both directions, batched or not."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces as gs
from gymnasium.vector.utils import batch_space

from stochwm.data import FlatSpace, flat_space, flatten_value, unflatten_value
from stochwm.data.spaces import out_of_bounds

SPACES = {
    "box": gs.Box(-1, 2, (2, 3)),
    "scalar box": gs.Box(-np.inf, np.inf, ()),
    "float64 box": gs.Box(-0.1, np.inf, (2,), np.float64),
    "pixels": gs.Box(0, 255, (2, 2), np.uint8),
    "long box": gs.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (1,), np.int64),
    "discrete": gs.Discrete(4),
    "offset discrete": gs.Discrete(3, start=-1),
    "multi discrete": gs.MultiDiscrete([2, 3]),
    "offset multi discrete": gs.MultiDiscrete([2, 3], start=[5, -1]),
    "grid of discretes": gs.MultiDiscrete([[2, 3], [1, 2]]),
    "multi binary": gs.MultiBinary((2, 2)),
    "dict": gs.Dict({"velocity": gs.Box(-1, 1, (2,)), "cell": gs.Discrete(3, start=1)}),
    "nested": gs.Tuple(
        (gs.Discrete(2), gs.Dict({"a": gs.Tuple((gs.Box(0, 1, (1,)),)), "b": gs.MultiBinary(2)}))
    ),
}


def assert_same(one, two):
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        one, two = tuple(one.values()), tuple(two.values())
    if isinstance(one, tuple):
        assert len(one) == len(two)
        for x, y in zip(one, two, strict=True):
            assert_same(x, y)
    else:
        assert np.asarray(one).dtype == np.asarray(two).dtype
        np.testing.assert_allclose(one, two, rtol=1e-6)


@pytest.mark.parametrize("name", SPACES)
def test_agrees_with_gymnasium(name):
    space = SPACES[name]
    space.seed(0)
    flat = flat_space(space)
    assert flat.size == gs.flatdim(space)
    for _ in range(5):
        value = space.sample()
        ours = flatten_value(space, value)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, gs.flatten(space, value), rtol=1e-6)
        back = unflatten_value(space, ours)
        assert back in space
        if name != "long box":  # beyond 2**24 integers are rounded
            assert_same(back, value)
        assert out_of_bounds(flat, ours) is None


@pytest.mark.parametrize("name", SPACES)
def test_batches_are_in_the_vector_layout(name):
    space = SPACES[name]
    batched = batch_space(space, 3)
    batched.seed(1)
    values = batched.sample()
    flat = flatten_value(space, values)
    assert flat.shape == (3, gs.flatdim(space))
    rows = [flatten_value(space, x) for x in gym.vector.utils.iterate(batched, values)]
    np.testing.assert_array_equal(flat, rows)
    assert unflatten_value(space, flat) in batched


@pytest.mark.parametrize("name", ["box", "float64 box", "pixels", "dict", "long box"])
def test_bounds_decode_into_the_space(name):
    space = SPACES[name]
    flat = flat_space(space)
    for bound in (flat.low, flat.high):
        if np.isfinite(bound).all():
            assert out_of_bounds(flat, np.float32(bound)) is None
            assert unflatten_value(space, np.float32(np.where(flat.one_hot, 0, bound))) in space


def test_any_real_vector_is_decoded():
    space = gs.Tuple((gs.Discrete(3, start=5), gs.MultiBinary(2), gs.Box(0, 9, (1,), np.int8)))
    cell, bits, number = unflatten_value(space, np.float32([-3.0, 0.2, 0.1, 0.4, 0.6, 2.7]))
    assert cell == 6
    assert bits.tolist() == [0, 1]
    assert number.tolist() == [3]
    assert number.dtype == np.int8


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int32, np.int64])
def test_integers_beyond_their_dtype_do_not_begin_again_at_the_other_end(kind):
    space = gs.Box(0, 9, (4,), kind)
    decoded = unflatten_value(space, np.float32([-300.4, -3e38, 1e20, 120.6])).astype(float)
    low, high = float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    np.testing.assert_allclose(decoded, [max(low, -300), low, high, 121], rtol=1e-15)


def test_description_and_names():
    space = gs.Dict(
        {
            "cell": gs.Discrete(2, start=3),
            "dice": gs.MultiDiscrete([2, 1]),
            "inner": gs.Tuple((gs.Box(-1, np.inf, (1, 2)), gs.MultiBinary(1))),
        }
    )
    flat = flat_space(space)
    assert flat.names == (
        *("cell=3", "cell=4", "dice[0]=0", "dice[0]=1", "dice[1]=0"),
        *("inner.0[0,0]", "inner.0[0,1]", "inner.1[0]"),
    )
    assert flat.groups == ((0, 2), (2, 2), (4, 1))
    assert flat.low == (0, 0, 0, 0, 0, -1, -1, 0)
    assert flat.high == (1, 1, 1, 1, 1, np.inf, np.inf, 1)
    assert flat.one_hot == (True,) * 5 + (False,) * 3
    assert not flat.discrete
    assert flat_space(gs.MultiDiscrete([2, 2])).discrete
    assert flat_space(gs.Discrete(2, start=-1), "s").names == ("s=-1", "s=0")
    assert flat_space(gs.Box(0, 1, ()), "s").names == ("s",)
    assert flat_space(gs.Box(0, 1, (2,)), "s").names == ("s[0]", "s[1]")


@pytest.mark.parametrize("name", SPACES)
def test_json_round_trip(name):
    flat = flat_space(SPACES[name])
    text = json.dumps(flat.to_json(), allow_nan=False)
    assert FlatSpace.from_json(json.loads(text)) == flat
    assert hash(FlatSpace.from_json(json.loads(text))) == hash(flat)


def test_json_of_something_else():
    with pytest.raises(ValueError, match="a flat space has the fields"):
        FlatSpace.from_json({"size": 1})


@pytest.mark.parametrize(
    "space",
    [
        gs.Text(3),
        gs.Sequence(gs.Discrete(2)),
        gs.Graph(gs.Discrete(2), None),
        gs.OneOf((gs.Discrete(2), gs.Discrete(3))),
        gs.Dict({"word": gs.Text(3)}),
    ],
)
def test_unsupported_spaces_are_named(space):
    message = (
        r"(state|word): the space .*(Text|Sequence|Graph|OneOf).* is not supported; expected Box"
    )
    with pytest.raises(TypeError, match=message):
        flat_space(space)
    with pytest.raises(TypeError, match="not supported"):
        flatten_value(space, {"word": "a"})


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (gs.Box(0, 1, (2,)), np.zeros(3), r"shape \(3,\)"),
        (gs.Box(0, 1, (2, 2)), np.zeros(2), r"shape \(2,\)"),
        (gs.Discrete(3), 3, "not an integer element"),
        (gs.Discrete(3, start=1), 0, "not an integer element"),
        (gs.Discrete(3), 1.0, "not an integer element"),
        (gs.Dict({"x": gs.Discrete(3)}), {"x": -1}, "value.x = -1"),
    ],
)
def test_values_outside_the_space(space, value, message):
    with pytest.raises(ValueError, match=message):
        flatten_value(space, value)


def test_flat_value_of_the_wrong_size():
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \[..., 3\]"):
        unflatten_value(gs.Discrete(3), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0, "low": (), "high": (), "names": (), "groups": ()}, "at least one entry"),
        ({"low": (0.0,)}, "low has 1 entries"),
        ({"names": ("a",)}, "names has 1 entries"),
        ({"low": (2.0, 0.0, 0.0)}, r"bounds of a are \[2.0, 1.0\]"),
        ({"high": (1.0, float("nan"), 1.0)}, "bounds of b"),
        ({"groups": ((1, 3),)}, "leaves"),
        ({"groups": ((0, 2), (1, 1))}, "overlaps"),
    ],
)
def test_contradictory_descriptions(change, message):
    good = {"size": 3, "low": (0.0,) * 3, "high": (1.0,) * 3, "groups": (), "names": tuple("abc")}
    FlatSpace(**good)
    with pytest.raises(ValueError, match=message):
        FlatSpace(**{**good, **change})


@pytest.mark.parametrize(("x", "found"), [(2.5, "= 2.5"), (np.nan, "= nan"), (np.inf, "= inf")])
def test_out_of_bounds_names_the_entry(x, found):
    flat = flat_space(gs.Box(-2, 2, (2,)), "action")
    message = out_of_bounds(flat, np.float32([0, x]))
    assert message == f"action[1] {found}, expected a value in [-2, 2]"
