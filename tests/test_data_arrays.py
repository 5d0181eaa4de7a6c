"""Episodes from arrays that were recorded elsewhere."""

import gymnasium as gym
import numpy as np
import pytest

from stochwm.data import Episodes, from_arrays

OBSERVATIONS = [np.arange(12.0).reshape(4, 3), -np.ones((2, 3))]
ACTIONS = [np.full((3, 2), 0.5), np.zeros((1, 2))]
REWARDS = [np.array([1.0, 2.0, 3.0]), np.array([4.0])]


def test_rows_stand_where_the_contract_has_them():
    episodes = from_arrays(OBSERVATIONS, ACTIONS, REWARDS, [True, False])
    np.testing.assert_array_equal(episodes.observation, np.concatenate(OBSERVATIONS))
    np.testing.assert_array_equal(episodes.action[[3, 5]], 0.0)
    np.testing.assert_array_equal(episodes.action[:3], 0.5)
    np.testing.assert_array_equal(episodes.reward, [0, 1, 2, 3, 0, 4])  # on arrival
    np.testing.assert_array_equal(episodes.is_first, [1, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(episodes.is_last, [0, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(episodes.is_terminal, [0, 0, 0, 1, 0, 0])
    assert episodes.observation_space.high == (np.inf,) * 3


def test_without_rewards_and_ends(tmp_path):
    episodes = from_arrays(OBSERVATIONS, ACTIONS)
    assert not episodes.reward.any()
    assert not episodes.is_terminal.any()
    episodes.save(tmp_path / "log")
    assert Episodes.load(tmp_path / "log").num_transitions == 4


def test_one_array_for_all_episodes_of_the_same_length():
    episodes = from_arrays(np.ones((5, 4)), np.ones((5, 3)), np.ones((5, 3)), np.array([True] * 5))
    assert (episodes.num_episodes, episodes.observation.shape) == (5, (20, 1))
    assert episodes.is_terminal.sum() == 5


def test_spaces_say_what_is_a_category():
    spaces = {
        "observation_space": gym.spaces.Dict(
            {"cell": gym.spaces.Discrete(3), "x": gym.spaces.Box(-1, 1)}
        ),
        "action_space": gym.spaces.Discrete(2),
    }
    log = {"cell": np.array([0, 2]), "x": np.array([[0.5], [-0.5]])}
    episodes = from_arrays([log], [np.array([1])], **spaces)
    np.testing.assert_array_equal(episodes.observation, [[1, 0, 0, 0.5], [0, 0, 1, -0.5]])
    np.testing.assert_array_equal(episodes.action, [[0, 1], [0, 0]])


WRONG = {
    "one observation too few": ({"observations": [np.ones((3, 3)), np.ones((2, 3))]}, r"episode 0"),
    "fewer actions": ({"actions": ACTIONS[:1]}, r"actions must hold 2 elements.*but has 1"),
    "one flag": ({"terminated": True}, r"terminated must hold 2 elements.*but has True"),
    "other width": ({"actions": [ACTIONS[0], np.zeros((1, 1))]}, r"episode 1: .*\(1, 1\)"),
    "no step": ({"observations": [np.ones((1, 3))], "actions": [np.ones((0, 2))]}, "at least 1"),
    "no episode": ({"observations": [], "actions": []}, "holds no episode"),
    "not in a list": ({"observations": np.ones(4), "actions": np.ones(4)}, "a list of one"),
    "NaN": (
        {"observations": [OBSERVATIONS[0], np.full((2, 3), np.nan)]},
        "in episode 1, step 0, expected finite",
    ),
    "outside": (
        {"action_space": gym.spaces.Box(-0.1, 0.1, (2,))},
        "action in episode 0, step 0",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named(wrong):
    change, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        from_arrays(**({"observations": OBSERVATIONS, "actions": ACTIONS} | change))
