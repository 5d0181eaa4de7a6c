"""Episodes: what they refuse, how they are cut, split, joined and stored."""

import dataclasses

import jax
import numpy as np
import pytest
from gymnasium import spaces as gs

from stochwm._storage import StorageError, save_tree
from stochwm.data import Episodes, flat_space

OBSERVATION = flat_space(gs.Box(-np.inf, np.inf, (3,)))
ACTION = flat_space(gs.Tuple((gs.Box(-2, 2, (1,)), gs.Discrete(2))), "action")


def arrays(lengths=(2, 4, 3)):
    """Observations say (episode, step, previous action); odd episodes end in termination."""
    episode = np.repeat(np.arange(len(lengths)), lengths)
    step = np.concatenate([np.arange(n) for n in lengths])
    last = np.append(step[1:] == 0, True)
    rng = np.random.default_rng(0)
    chosen = rng.uniform(-1, 1, len(step)).astype("f4")
    before = np.where(step == 0, 0, np.roll(chosen, 1))
    return {
        "observation": np.stack([episode, step, before], axis=1),
        "action": np.stack([chosen, step % 2 == 0, step % 2 == 1], axis=1).astype("f4"),
        "reward": 2 * before,
        "is_first": step == 0,
        "is_last": last,
        "is_terminal": last & (episode % 2 == 1),
    }


def make(**changes):
    lengths = changes.pop("lengths", (2, 4, 3))
    spaces = {"observation_space": OBSERVATION, "action_space": ACTION}
    return Episodes(**{**arrays(lengths), **spaces, **changes})


def changed(name, index, value):
    array = arrays()[name].astype("f4" if arrays()[name].dtype != bool else bool)
    array[index] = value
    return {name: array}


def test_shape_of_things():
    episodes = make()
    assert (episodes.num_episodes, episodes.num_transitions) == (3, 6)
    np.testing.assert_array_equal(episodes.lengths, [2, 4, 3])
    assert episodes.observation.dtype == episodes.action.dtype == episodes.reward.dtype == "f4"
    np.testing.assert_array_equal(episodes.action[episodes.is_last], 0)
    np.testing.assert_array_equal(episodes.episode(1).observation[:, 0], 1)
    np.testing.assert_array_equal(episodes.episode(-1).observation[:, 0], 2)
    np.testing.assert_array_equal(episodes.select([2, 0]).observation[:, 0], [2, 2, 2, 0, 0])
    for index in (3, -4):
        with pytest.raises(IndexError):
            episodes.episode(index)
        with pytest.raises(IndexError):
            episodes.select([index])
    assert len(jax.tree.leaves(episodes)) == 6


def test_episodes_are_selected_by_number_or_by_mask():
    episodes = make()
    for mask in ([True, False, True], np.array([True, False, True])):
        np.testing.assert_array_equal(episodes.select(mask).lengths, [2, 3])
    for indices, error in (
        ([-1], IndexError),
        ([True, False], IndexError),
        ([0.5], TypeError),
        ([], ValueError),
        ([False] * 3, ValueError),
    ):
        with pytest.raises(error):
            episodes.select(indices)


def test_the_input_is_neither_changed_nor_shared():
    given = arrays()
    kept = {name: x.copy() for name, x in given.items()}
    episodes = Episodes(**given, observation_space=OBSERVATION, action_space=ACTION)
    for name, x in given.items():
        np.testing.assert_array_equal(x, kept[name])
        assert not np.shares_memory(x, getattr(episodes, name))


def test_transitions_obey_the_time_convention():
    steps = make().transitions()
    assert len(steps) == 6
    np.testing.assert_array_equal(steps.state[:, 0], steps.next_state[:, 0])
    np.testing.assert_array_equal(steps.state[:, 1] + 1, steps.next_state[:, 1])
    np.testing.assert_array_equal(steps.action[:, 0], steps.next_state[:, 2])
    np.testing.assert_array_equal(steps.reward, 2 * steps.action[:, 0])
    np.testing.assert_array_equal(steps.discount, [1, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(steps.episode, [0, 1, 1, 1, 2, 2])
    assert len(np.unique(steps.action[:, 0])) == 6


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_windows_obey_the_time_convention(length, stride):
    windows = make().windows(length, stride)
    starts = [(e, t) for e, n in enumerate((2, 4, 3)) for t in range(0, n - length, stride)]
    np.testing.assert_array_equal(windows.state[:, 0, :2], starts)
    np.testing.assert_array_equal(windows.episode, [e for e, _ in starts])
    assert windows.state.shape == (len(starts), length + 1, 3)
    steps = windows.state[:, :1, 1] + np.arange(length + 1)
    np.testing.assert_array_equal(windows.state[..., 1], steps)
    np.testing.assert_array_equal(windows.state[:, 1:, 2], windows.action[..., 0])
    np.testing.assert_array_equal(windows.reward, 2 * windows.action[..., 0])


@pytest.mark.parametrize(
    ("length", "stride", "message"),
    [
        (0, 1, "at least 1"),
        (2, 0, "at least 1"),
        (4, 1, r"length 4 .* longest episode .3 transitions"),
    ],
)
def test_impossible_windows(length, stride, message):
    with pytest.raises(ValueError, match=message):
        make().windows(length, stride)


def test_split_is_by_whole_episodes():
    episodes = make(lengths=[2 + i % 3 for i in range(20)])
    parts = episodes.split([0.7, 0.2, 0.1], seed=3)
    ids = [set(part.observation[:, 0]) for part in parts]
    assert [len(x) for x in ids] == [14, 4, 2] == [part.num_episodes for part in parts]
    assert set.union(*ids) == set(range(20))
    for part in parts:
        for i in np.unique(part.observation[:, 0]):
            assert (part.observation[:, 0] == i).sum() == episodes.lengths[int(i)]
    again = episodes.split([0.7, 0.2, 0.1], seed=3)
    other = episodes.split([0.7, 0.2, 0.1], seed=4)
    assert ids == [set(part.observation[:, 0]) for part in again]
    assert ids != [set(part.observation[:, 0]) for part in other]


def test_split_gives_every_part_an_episode():
    parts = make().split([0.98, 0.01, 0.01], seed=0)
    assert [part.num_episodes for part in parts] == [1, 1, 1]
    with pytest.raises(ValueError, match="^1 episode cannot be split into 2 parts"):
        make().episode(0).split([0.5, 0.5], seed=0)
    with pytest.raises(ValueError, match="3 episodes cannot be split into 4 parts; collect more"):
        make().split([0.25] * 4, seed=0)


@pytest.mark.parametrize("fractions", [[0.5, 0.4], [1.5, -0.5], [], [np.nan, 1.0]])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match="fractions must be positive and sum to 1"):
        make().split(fractions, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_bad_split_seed(seed):
    with pytest.raises(ValueError, match=r"seed must be an integer in \[0, 2\*\*32\)"):
        make().split([0.5, 0.5], seed=seed)


def test_concatenate():
    episodes = make()
    joined = Episodes.concatenate([episodes.episode(i) for i in range(3)])
    for name, x in arrays().items():
        expected = getattr(episodes, name)
        np.testing.assert_array_equal(getattr(joined, name), expected)
        assert x.shape == expected.shape
    other = dataclasses.replace(OBSERVATION, names=("x", "y", "z"))
    with pytest.raises(ValueError, match="part 1 has another observation_space"):
        Episodes.concatenate([episodes, make(observation_space=other)])
    with pytest.raises(ValueError, match="at least one"):
        Episodes.concatenate([])


def test_save_and_load(tmp_path):
    episodes = make()
    episodes.save(tmp_path / "data")
    loaded = Episodes.load(tmp_path / "data")
    assert loaded.observation_space == OBSERVATION
    assert loaded.action_space == ACTION
    for name in arrays():
        one, two = getattr(loaded, name), getattr(episodes, name)
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    save_tree(tmp_path / "other", {"x": np.ones(2)}, {"kind": "model"})
    with pytest.raises(StorageError, match="does not hold Episodes"):
        Episodes.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": np.zeros((9, 2))}, r"observation has shape \(9, 2\), expected \[n, 3\]"),
        ({"action": np.zeros(9)}, r"action has shape \(9,\), expected \[n, 3\]"),
        ({"reward": np.zeros((9, 1))}, r"reward has shape \(9, 1\), expected \[n\]"),
        ({"reward": np.zeros(8)}, "must have one length"),
        ({"reward": [[0.0], [1.0, 2.0]]}, "reward is ragged"),
        (
            {name: x[:0] for name, x in arrays().items()},
            r"no data \(length 0\)",
        ),
        (changed("observation", (3, 1), np.nan), r"observation is .* in episode 1, step 1"),
        (changed("action", (6, 0), np.inf), r"action is .* in episode 2, step 0"),
        (changed("reward", 5, np.nan), "reward is nan in episode 1, step 3"),
        ({"observation": np.full((9, 3), 1e300)}, r"observation is \[inf inf inf\]"),
        (changed("reward", 2, 1.0), "reward is 1.0 in episode 1, step 0, expected 0"),
        (changed("action", (3, 0), 2.5), r"episode 1, step 1: action.0\[0\] = 2.5, .* \[-2, 2\]"),
        (changed("action", (3, 1), 1.0), r"episode 1, step 1, expected one-hot .* action.1=0"),
        (changed("action", (3, slice(1, 3)), 0.5), "expected one-hot"),
        (changed("is_first", 0, False), r"is_first\[0\] is False"),
        (changed("is_last", 8, False), r"is_last\[-1\] is False"),
        (changed("is_first", 3, True), r"is_last\[2\] is False but is_first\[3\] is True"),
        (changed("is_last", 4, True), r"is_last\[4\] is True but is_first\[5\] is False"),
        (changed("is_terminal", 3, True), r"is_terminal\[3\] is True but is_last\[3\] is False"),
        (
            {
                **changed("is_first", 1, True),
                **changed("is_last", 0, True),
            },
            "episode 0, step 0 has no transition",
        ),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": np.zeros((9, 3), complex)}, "observation has dtype complex128"),
        ({"observation": np.full((9, 3), "a")}, "observation has dtype <U1"),
        ({"is_last": np.zeros(9)}, "is_last has dtype float64, expected bool"),
    ],
)
def test_bad_dtypes_are_named(changes, message):
    with pytest.raises(TypeError, match=message):
        make(**changes)


def test_observations_in_one_hot_blocks_are_one_hot():
    cells = flat_space(gs.Tuple((gs.Box(0, 9, (1,)), gs.Discrete(2))), "state")
    observation = np.tile([3.0, 1.0, 0.0], (9, 1))
    make(observation=observation, observation_space=cells)
    observation[4, 2] = 1.0
    with pytest.raises(ValueError, match=r"observation is .* in episode 1, step 2, expected one-"):
        make(observation=observation, observation_space=cells)


def test_what_stands_at_a_last_step_is_ignored():
    assert (make(**changed("action", (1, 0), np.nan)).action[1] == 0).all()
