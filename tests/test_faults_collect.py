"""Workers that raise, die or hang are named and lose nothing; bad data sets are named, too."""

import pathlib
import time

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv

from stochwm._storage import StorageError, save_tree
from stochwm.data import CollectionError, Episodes, collect, flat_space
from tests.test_storage import edit_manifest

GOOD_STEPS = 5


def faulty(fault=None):
    """A maker; all is local to it, so that workers do not import this file (nor JAX)."""

    def make():
        import os
        import signal
        import time

        import gymnasium as gym
        import numpy as np

        class Counter(gym.Env):
            observation_space = gym.spaces.Box(0, 99, (1,))
            action_space = gym.spaces.Box(-1, 1, (1,))
            time = 0

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                return np.zeros(1, np.float32), {}

            def step(self, action):
                self.time += 1
                if self.time > 5 and fault == "raises":
                    raise ConnectionError("the robot is gone")
                if self.time > 5 and fault == "dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.time > 5 and fault == "hangs":
                    time.sleep(1000)
                return np.full(1, self.time, np.float32), 1.0, False, False, {}

        return Counter()

    return make


MESSAGES = {
    "raises": "environment 1 raised ConnectionError: the robot is gone",
    "dies": "worker process of environment 1 died, with exit code -9",
    "hangs": "environment 1 did not answer within 3.0 seconds.*terminate=True",
}


@pytest.mark.parametrize("fault", MESSAGES)
@pytest.mark.filterwarnings("ignore:.*(ERROR|WARN. Calling .close):UserWarning")  # Gymnasium's log
def test_a_worker_is_named_and_nothing_is_lost(fault):
    env = AsyncVectorEnv([faulty(), faulty(fault)], context="spawn")
    start = time.monotonic()
    try:
        with pytest.raises(CollectionError, match=MESSAGES[fault]) as info:
            collect(env, steps=40, seed=3, timeout=3.0, progress=False)
    finally:
        env.close(terminate=True)
    assert time.monotonic() - start < 100  # a hang would last 1000 seconds
    kept = info.value.episodes
    assert "after 10 of 40 transitions" in str(info.value)
    assert kept.num_episodes == 2
    for i in range(2):
        rows = kept.episode(i)
        np.testing.assert_array_equal(rows.observation[:, 0], np.arange(GOOD_STEPS + 1))
        assert rows.is_last[-1]
        assert not rows.is_terminal.any()


@pytest.mark.parametrize(
    ("timeout", "message"),
    [(0, "timeout must be a positive"), (-1.0, "positive"), (2.0, "in a process of its own")],
)
def test_a_timeout_that_cannot_be_kept_is_refused(timeout, message):
    with pytest.raises(ValueError, match=message):
        collect(faulty()(), steps=1, seed=0, timeout=timeout, progress=False)


# --- actions ------------------------------------------------------------------------------------
def integers(state, *, key):
    return jnp.ones(1, "int32")


def scalar(state, *, key):
    return jnp.zeros(())


def words(state, *, key):
    return "left"


def test_actions_of_another_kind():
    """Integers are numbers; another shape, or what is no array, is refused before any step."""
    episodes = collect(faulty()(), integers, steps=3, seed=0, progress=False)
    np.testing.assert_array_equal(episodes.transitions().action, 1.0)
    assert episodes.action.dtype == np.float32
    for policy in (scalar, words):
        with pytest.raises(ValueError, match=r"expected an action of shape \(1,\)"):
            collect(faulty()(), policy, steps=3, seed=0, progress=False)


# --- data sets on disk --------------------------------------------------------------------------
@pytest.fixture
def saved(tmp_path):
    collect(faulty()(), steps=4, seed=0, progress=False).save(tmp_path / "good")
    collect(faulty()(), steps=4, seed=0, progress=False).save(tmp_path / "bad")
    return tmp_path


def rewrite(path: pathlib.Path, **changes):
    """A data set whose checksums are right and whose contents are not."""
    episodes = Episodes.load(path)
    names = ("observation", "action", "reward", "is_first", "is_last", "is_terminal")
    arrays = {name: getattr(episodes, name) for name in names} | changes
    spaces = {"observation": episodes.observation_space, "action": episodes.action_space}
    metadata = {"kind": "Episodes", "length": 5}
    metadata["spaces"] = {name: space.to_json() for name, space in spaces.items()}
    save_tree(path, {name: array for name, array in arrays.items() if array is not None}, metadata)


def truncated(path):
    file = path / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def missing_array(path):
    rewrite(path, reward=None)


def ragged(path):
    rewrite(path, reward=np.zeros(4, np.float32))


def zero_length_episode(path):
    rewrite(path, is_last=np.array([0, 0, 0, 1, 1], bool), is_first=np.array([1, 0, 0, 0, 1], bool))


def nan(path):
    rewrite(path, observation=np.full((5, 1), np.nan, np.float32))


def no_spaces(path):
    edit_manifest(path, metadata={"kind": "Episodes", "length": 5})


def a_model(path):
    save_tree(path, {"weight": np.zeros(3)})


DAMAGES = {
    truncated: "truncated",
    missing_array: r"missing leaves \[\['reward'\]\]",
    ragged: r"leaf \['reward'\] .* shape \(4,\)",
    zero_length_episode: "episode 1, step 0 has no transition",
    nan: r"observation is \[nan\] in episode 0, step 0",
    no_spaces: "whole Episodes: KeyError",
    a_model: "does not hold Episodes",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_bad_data_set_is_named(saved, damage):
    damage(saved / "bad")
    with pytest.raises(StorageError, match=DAMAGES[damage]) as info:
        Episodes.load(saved / "bad")
    assert str(saved / "bad") in str(info.value)
    assert Episodes.load(saved / "good").num_transitions == 4  # the others load


def test_spaces_survive_their_round_trip(saved):
    space = flat_space(gym.spaces.Box(0, 99, (1,)))
    assert Episodes.load(saved / "good").observation_space == space
