"""The run folder: how it is made, refused, and opened again."""

import dataclasses
import os

import gymnasium
import numpy as np
import pytest

from stochwm._learn import LearnConfig, Run, dream, write_report
from stochwm._learn.run import create_run
from stochwm._storage import StorageError
from stochwm.data import from_arrays
from tests.test_learn_recipes import numbers

CONFIG = LearnConfig("stochwm/Fork-v0", steps=40, members=2)


class Words(gymnasium.Env):
    """An environment whose observations have no flat encoding."""

    observation_space = gymnasium.spaces.Text(5)
    action_space = gymnasium.spaces.Discrete(2)


@pytest.fixture
def words():
    gymnasium.register("test/Words-v0", Words)
    yield "test/Words-v0"
    del gymnasium.registry["test/Words-v0"]


def test_a_run_is_made_and_opened(tmp_path):
    create_run(tmp_path / "deep" / "run", CONFIG, resume=False)
    assert Run(tmp_path / "deep" / "run").config == CONFIG
    assert os.listdir(tmp_path / "deep" / "run") == ["config.json"]


def test_a_run_that_is_there_is_not_overwritten(tmp_path):
    create_run(tmp_path, CONFIG, resume=False)
    with pytest.raises(FileExistsError, match="not empty. Go on with it by --resume"):
        create_run(tmp_path, CONFIG, resume=False)
    assert create_run(tmp_path, CONFIG, resume=True).config == CONFIG


@pytest.mark.parametrize("resume", [True, False])
def test_a_foreign_folder_is_refused(tmp_path, resume):
    (tmp_path / "data").mkdir()
    with pytest.raises(FileExistsError, match="It holds no run"):
        create_run(tmp_path, CONFIG, resume=resume)
    assert os.listdir(tmp_path) == ["data"]


def test_resume_of_another_configuration_says_what_differs(tmp_path):
    create_run(tmp_path, CONFIG, resume=False)
    with pytest.raises(ValueError, match="has seed 0, not 1, steps 40, not 50; resume"):
        create_run(tmp_path, dataclasses.replace(CONFIG, steps=50, seed=1), resume=True)


def test_resume_of_nothing_starts(tmp_path):
    assert create_run(tmp_path / "new", CONFIG, resume=True).config == CONFIG


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"env_id": "NoSuchEnv-v0"}, ValueError, "env_id 'NoSuchEnv-v0' cannot be made"),
        ({"env_args": ("size=3",)}, ValueError, r"cannot be made with {'size': 3}"),
        ({"env_id": "stochwm/NoSuch-v0"}, ValueError, "env_id 'stochwm/NoSuch-v0' cannot be made"),
        ({"family": "categorical"}, ValueError, "all discrete"),
        ({"policy": "no_such_module:policy"}, ValueError, "cannot import 'no_such_module'"),
        ({"policy": "os:getcwdx"}, ValueError, "no attribute"),
        ({"env_id": "test/Words-v0"}, TypeError, "Text"),
    ],
)
def test_choices_that_cannot_work_leave_no_folder(tmp_path, words, change, error, message):
    with pytest.raises(error, match=message):
        create_run(tmp_path / "run", dataclasses.replace(CONFIG, **change), resume=False)
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(StorageError, match="is not a run folder.*stochwm learn"):
        Run(tmp_path)
    for text in ("{", '{"steps": 3}', CONFIG.to_json().replace("40", '"many"')):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(StorageError, match="damaged or foreign"):
            Run(tmp_path)


def test_an_unfinished_run_says_so(tmp_path):
    run = create_run(tmp_path, CONFIG, resume=False)
    with pytest.raises(StorageError, match="not finished.*--resume"):
        _ = run.cards
    with pytest.raises(StorageError, match="not finished"):
        write_report(run)
    with pytest.raises(StorageError, match="nothing at"):
        run.model()
    with pytest.raises(StorageError):
        dream(run)


def test_split_is_by_episode_and_by_seed(tmp_path):
    run = create_run(tmp_path / "a", CONFIG, resume=False)
    other = create_run(tmp_path / "b", dataclasses.replace(CONFIG, seed=1), resume=False)
    parts = run.split(numbers())
    assert {name: part.num_episodes for name, part in parts.items()} == {
        "train": 16,
        "validation": 2,
        "test": 2,
    }
    again = run.split(numbers())["test"].observation
    np.testing.assert_array_equal(parts["test"].observation, again)
    assert (other.split(numbers())["test"].observation != again).any()
    seen = np.concatenate([part.observation for part in parts.values()])
    assert len(np.unique(seen)) == len(np.unique(numbers().observation)) == len(seen)


# --- recorded data ------------------------------------------------------------------------------
def log(folder, episodes=10, observations=2):
    """A folder of recorded episodes, of a cart that is pushed."""
    pushes = np.random.default_rng(0).uniform(-1, 1, (episodes, 8, 1))
    path = np.concatenate([np.zeros((episodes, 1, 1)), pushes.cumsum(1)], axis=1)
    from_arrays(np.repeat(path, observations, axis=-1), pushes).save(folder)
    return str(folder)


def refused(config, path, error, message):
    with pytest.raises(error, match=message):
        create_run(path, config, resume=False)
    assert not path.exists()


def test_recorded_data_need_no_environment(tmp_path):
    config = LearnConfig("my-cart", data=log(tmp_path / "log"))
    assert create_run(tmp_path / "run", config, resume=False).world is None


def test_data_that_are_not_there_or_something_else(tmp_path):
    run = tmp_path / "run"
    missing = LearnConfig("my-cart", data=str(tmp_path / "no"))
    refused(missing, run, (FileNotFoundError, ImportError), "neither a folder of episodes nor")
    (tmp_path / "other").mkdir()
    other = dataclasses.replace(missing, data=str(tmp_path / "other"))
    refused(other, run, StorageError, "data must be a folder of episodes.*from_arrays")


def test_data_must_be_enough_and_of_the_world_that_is_named(tmp_path):
    run = tmp_path / "run"
    few = LearnConfig("my-cart", data=log(tmp_path / "few", episodes=2))
    refused(few, run, ValueError, "2 episodes cannot be split into 3 parts")
    wide = LearnConfig("stochwm/Fork-v0", data=log(tmp_path / "wide", observations=5))
    refused(wide, run, ValueError, "not have the spaces of stochwm/Fork-v0")
    words = LearnConfig("my-cart", data=log(tmp_path / "log"), family="categorical")
    refused(words, run, ValueError, "needs observations that are all discrete")
