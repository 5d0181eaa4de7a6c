"""Minari data sets: out and in again, with no network."""

import sys

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium import spaces as gs

from stochwm.data import collect, from_minari, to_minari


class Mixed(gym.Env):
    """Dict observations, Tuple actions; even episodes terminate, odd ones are truncated."""

    observation_space = gs.Dict(
        {"cell": gs.Discrete(3, start=1), "x": gs.Box(-99, 99, (2,), np.float32)}
    )
    action_space = gs.Tuple((gs.Discrete(2), gs.Box(-1, 1, (1,), np.float32)))
    episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.time, self.last = self.episode + 1, 0, 0.0
        return self.observe(), {}

    def step(self, action):
        self.time, self.last = self.time + 1, action[1][0]
        over = self.time == 2 + self.episode % 3
        return self.observe(), float(self.last), over and self.episode % 2 == 0, over, {}

    def observe(self):
        return {"cell": np.int64(1 + self.time % 3), "x": np.array([self.time, self.last], "f4")}


@pytest.fixture
def minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return pytest.importorskip("minari")


@pytest.mark.extra
@pytest.mark.parametrize("name", ["mixed", "FrozenLake-v1"])
def test_round_trip(minari, name):
    env = Mixed() if name == "mixed" else name
    episodes = collect(env, steps=20, seed=0, progress=False)
    to_minari(episodes, "test/mixed-v0", env=env, author="nobody")
    stored = minari.load_dataset("test/mixed-v0")
    assert stored.total_steps == 20
    first = stored[0]
    assert len(first.rewards) == episodes.lengths[0] - 1
    np.testing.assert_allclose(first.rewards, episodes.reward[1 : episodes.lengths[0]])
    if name == "mixed":
        np.testing.assert_array_equal(first.observations["cell"], [1, 2, 3])
        np.testing.assert_allclose(first.actions[1][:, 0], first.rewards)
    for dataset in ("test/mixed-v0", stored):
        again = from_minari(dataset)
        assert again.observation_space == episodes.observation_space
        assert again.action_space == episodes.action_space
        for one, two in zip(jax.tree.leaves(again), jax.tree.leaves(episodes), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.extra
def test_errors(minari):
    episodes = collect(Mixed(), steps=5, seed=0, progress=False)
    with pytest.raises(FileNotFoundError, match="nothing/here-v0"):
        from_minari("nothing/here-v0")
    with pytest.raises(ValueError, match="the observation space of the episodes is"):
        to_minari(episodes, "test/wrong-v0", env="Pendulum-v1")


def test_without_minari(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ImportError, match=r"pip install 'stochwm\[data\]'"):
        from_minari("a/b-v0")
