"""The choices of the main job: checks, and their JSON form."""

import json
import math

import pytest

from stochwm._learn import LearnConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1), ("seed", 2**32), ("steps", 2), ("members", 0), ("components", 0),
        ("width", 0), ("depth", -1), ("updates", 0), ("batch_size", 0), ("futures", 1),
        ("horizons", ()), ("horizons", (0, 1)), ("noise", -0.1), ("noise", math.nan),
        ("learning_rate", 0.0), ("learning_rate", math.nan), ("family", "gauss"),
    ],
)  # fmt: skip
def test_impossible_choices_are_refused_by_name(name, value):
    # A TypeError for the family, where types are checked on entry.
    with pytest.raises((ValueError, TypeError), match=name):
        LearnConfig("stochwm/Fork-v0", **{name: value})


def test_arguments_of_the_environment_are_json_or_text():
    config = LearnConfig(
        "x", env_args=("is_rainy=true", "wind_power=15.5", "map_name=8x8", "a=b=c")
    )
    assert config.env_kwargs == {
        "is_rainy": True,
        "wind_power": 15.5,
        "map_name": "8x8",
        "a": "b=c",
    }
    assert LearnConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("text", ["is_rainy", "=true", "is rainy=true"])
def test_arguments_of_the_environment_have_a_name(text):
    with pytest.raises(ValueError, match=r"env_args must be NAME=VALUE.*is_rainy=true"):
        LearnConfig("x", env_args=(text,))


def test_horizons_are_sorted_and_distinct():
    assert LearnConfig("x", horizons=(5, 1, 5)).horizons == (1, 5)


def test_recorded_actions_leave_no_choice_to_a_policy():
    with pytest.raises(ValueError, match=r"policy 'my:expert'.*those of data are recorded"):
        LearnConfig("x", data="log", policy="my:expert")


@pytest.mark.parametrize("noise", [None, 0.0, 0.25])
def test_json_round_trip(noise):
    config = LearnConfig("CartPole-v1", seed=2**32 - 1, noise=noise, horizons=(3,), depth=0)
    assert LearnConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("change", [{"colour": "red"}, {"steps": None}])
def test_foreign_entries_are_refused(change):
    data = json.loads(LearnConfig("x").to_json()) | change
    data = {name: value for name, value in data.items() if value is not None or name == "noise"}
    with pytest.raises(ValueError, match="another version"):
        LearnConfig.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["[1, 2]", "3", "null", "{"])
def test_foreign_json_is_refused(text):
    with pytest.raises(ValueError, match=r"another version|Expecting"):
        LearnConfig.from_json(text)
