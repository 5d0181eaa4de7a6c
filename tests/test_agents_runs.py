"""Runs of agents: what a folder holds, going on, playing, and dreams beside what happened."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from stochwm import cli
from stochwm._learn import LearnConfig
from stochwm._storage import StorageError
from stochwm._train import (
    AgentConfig,
    AgentRun,
    DreamtBeside,
    dream_agent,
    play_agent,
    train_agent,
)
from stochwm._train.dream import _held
from stochwm._train.options import TrainDreamer
from stochwm._train.rendered import as_frames, record
from stochwm.agents import (
    PRESETS,
    Beside,
    Dreamer,
    Steps,
    dream_beside,
    make_source,
    record_episode,
)
from stochwm.distributions import Deterministic, DiagNormal
from stochwm.models import AbstractFilter
from tests.cases_runs import command_line

KEY = jax.random.key(0)
# Random actions only: what is tested here is not learning, and compiling that takes longest.
TINY = AgentConfig(
    "dreamer",
    "stochwm/Doors-v0",
    env_args=("stages=2", "doors=2"),
    changes={"deter": 8, "width": 8, "depth": 1, "num_envs": 2, "prefill": 512, "capacity": 512},
    steps=256,
)
PPO = AgentConfig(
    "ppo",
    TINY.env_id,
    TINY.env_args,
    changes={"width": 8, "depth": 1, "num_envs": 2, "rollout": 16, "epochs": 1, "minibatches": 2},
    steps=64,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return train_agent(TINY, tmp_path_factory.mktemp("runs") / "doors", progress=False)


@pytest.fixture
def run(made, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(made.path, tmp_path / "run")
    return AgentRun(tmp_path / "run")


def without_time(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# --- folders ------------------------------------------------------------------------------------
def test_a_run_holds_what_is_needed_to_use_it(made):
    assert {file.name for file in made.path.iterdir()} == {
        "agent", "checkpoints", "config.json", "history.jsonl", "history.png",
    }  # fmt: skip
    again = AgentRun(made.path)
    assert again.config == TINY
    assert again.versions["jax"] == jax.__version__
    assert again.history[-1]["env_steps"] == 256
    assert again.history[-1]["mean_length"] > 2
    assert isinstance(again.agent, Dreamer)
    assert again.agent.model.feature_size == 8 + 64


def test_the_same_call_goes_on_to_more_steps(run):
    with (run.path / "history.jsonl").open("a") as file:  # of steps that no checkpoint kept
        file.write('{"env_steps": 300}\n')
    before = without_time(run.history[:1])
    more = train_agent(dataclasses.replace(TINY, steps=480), run.path, progress=False)
    assert without_time(more.history[:1]) == before
    assert [row["env_steps"] for row in more.history] == [240, 256, 480]
    assert more.config.steps == 480
    history, after = run.history, more.agent.actor.output.weight
    entropy = dataclasses.replace(TINY, changes=TINY.changes | {"entropy": 0.5})
    with pytest.raises(ValueError, match=r"has entropy 0.0003, not 0\.5\. Go on"):
        train_agent(entropy, run.path, progress=False)
    assert run.history == history
    assert AgentRun(run.path).config == more.config
    np.testing.assert_array_equal(AgentRun(run.path).agent.actor.output.weight, after)


def test_choices_that_cannot_work_leave_nothing_behind(tmp_path):
    out = tmp_path / "out"
    for changed, message in (
        ({"env_id": "stochwm/Nowhere-v0"}, "cannot be made"),
        ({"changes": {"prefill": 1}}, "prefill must be at least"),
    ):
        with pytest.raises(ValueError, match=message):
            train_agent(dataclasses.replace(TINY, **changed), out, progress=False)
    assert not out.exists()
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="holds no run"):
        train_agent(TINY, tmp_path, progress=False)
    with pytest.raises(StorageError, match=r"stochwm train dreamer ENV_ID"):
        AgentRun(tmp_path)


def test_a_folder_of_another_kind_is_named(run):
    (run.path / "config.json").write_text('{"env_id": "Fork"}')
    with pytest.raises(StorageError, match="not of an agent"):
        AgentRun(run.path)
    (run.path / "config.json").write_text(LearnConfig("stochwm/Fork-v0").to_json())
    with pytest.raises(StorageError, match=r"it is of `stochwm learn`.* use `stochwm imagine`"):
        AgentRun(run.path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"agent": "muzero"}, "agent must be one of"),
        ({"preset": "v4"}, r"preset of dreamer must be one of .*'v1-tiny'"),
        ({"agent": "ppo", "preset": "v3-tiny", "changes": {}}, "preset of ppo must be None"),
        ({"changes": {"latent": 3}}, r"must be among .*'entropy'.* but name \['latent'\]"),
        ({"seed": -1}, "seed must be an integer in"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"env_args": ("stages",)}, "NAME=VALUE"),
    ],
)
def test_impossible_choices_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changed)


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        *((TINY, name, 0) for name in ("batch_size", "num_envs", "width", "patch")),
        (TINY, "horizon", 0.5),
        *((TINY, "observation_scale", scale) for scale in (0.0, -0.1, float("inf"))),
        (TINY, "replay_critic", -0.3),
        *((PPO, name, 0) for name in ("num_envs", "rollout", "minibatches", "epochs", "width")),
        (PPO, "rollout", 1),
        (PPO, "minibatches", 31),
        (PPO, "gamma", float("nan")),
        (PPO, "gamma", 1.5),
        (PPO, "learning_rate", -1e-3),
        (PPO, "clip", -0.2),
        (TINY, "learning_rate", float("nan")),
    ],
)
def test_impossible_numbers_are_refused_by_name(config, name, value):
    changed = dataclasses.replace(config, changes=config.changes | {name: value})
    with pytest.raises(ValueError, match=f"{name} must be .*, but is {value}"):
        changed.of_agent  # noqa: B018, it is made when it is asked for


def test_a_run_too_short_to_tell_anything_has_no_curves(made, tmp_path, monkeypatch):
    row = dict.fromkeys(made.history[0]) | {"env_steps": 16, "seconds": 1.0, "episodes": 0}

    def trained(config, folder, log, progress):
        log(row)
        return SimpleNamespace(agent=made.agent, history=[row])

    monkeypatch.setattr("stochwm._train.train._train", trained)
    run = train_agent(TINY, tmp_path / "out", progress=False)
    assert isinstance(run.agent, Dreamer)
    assert not (run.path / "history.png").exists()


def number_of_frames(path):
    with Image.open(path) as movie:
        return movie.n_frames


# --- playing and dreaming -----------------------------------------------------------------------
def test_playing_tells_returns_and_shows_an_episode(run):
    played = play_agent(run, episodes=3, seed=1)
    assert len(played.episodes) == 3
    kept = json.loads((run.path / "play" / "returns.json").read_text())["episodes"]
    assert [one["return"] for one in kept] == [one.total for one in played.episodes]
    assert f"{np.mean([one.total for one in played.episodes]):10.2f}" in str(played)
    assert 3 <= number_of_frames(played.video) <= 5  # two stages of one or two steps


def test_a_dream_is_drawn_beside_reality(run):
    dreamt = dream_agent(run, seen=1, length=4, dreams=6)
    rows = len(dreamt.real.reward)
    assert dreamt.dreams.observation.shape == (6, rows, 7)
    assert number_of_frames(dreamt.video) == rows
    assert list(dreamt.real.is_first) == [True] + [False] * (rows - 1)
    assert list(dreamt.real.is_last) == [False] * (rows - 1) + [True]
    assert dreamt.video.with_suffix(".png").is_file()
    assert "6 dreams" in str(dreamt)
    assert "sum of dreamt rewards" in str(dreamt)


def test_ppo_plays_but_has_nothing_to_dream_with(tmp_path):
    run = train_agent(PPO, tmp_path / "ppo", progress=False)
    assert [row["env_steps"] for row in run.history] == [32, 64]
    assert len(play_agent(run, episodes=2, greedy=True).episodes) == 2
    assert json.loads((run.path / "play" / "returns.json").read_text())["greedy"]
    with pytest.raises(ValueError, match="no model to dream with"):
        dream_agent(run)


@pytest.mark.parametrize(("verb", "first"), [(play_agent, "record"), (dream_agent, "dream_beside")])
def test_an_episode_has_draws_of_its_own(made, tmp_path, monkeypatch, verb, first):
    """Another one than those that count, and none that its dreams have, too."""

    class Told(Exception):
        pass

    def tell(*args, key, **options):
        raise Told(key)

    run = AgentRun(shutil.copytree(made.path, tmp_path / "run"))
    monkeypatch.setattr(f"{verb.__module__}.{first}", tell)
    with pytest.raises(Told) as told:
        verb(run)
    known = jax.random.key_data(jnp.stack([KEY, *jax.random.split(KEY)]))
    assert not (known == jax.random.key_data(told.value.args[0])).all(axis=1).any()


def test_an_environment_that_cannot_be_drawn_says_why(made, monkeypatch):
    def broken(self, state):
        raise RuntimeError("no display\nat all")

    monkeypatch.setattr("stochwm.envs.Doors.render", broken)
    shown = record(TINY, made.agent, key=KEY, longest=9)
    assert shown.frames is None
    assert shown.why_blind == "it could not be drawn: no display"
    assert shown.steps.is_last[-1]


def test_one_episode_is_of_one_copy():
    with pytest.raises(ValueError, match="one copy"):
        record_episode(make_source(TINY.env, 2), print, None, key=KEY)


class Adder(AbstractFilter):
    """Adds up actions; an observation puts it right. Pays ten times the action, ends above 5."""

    def initial(self):
        return jnp.zeros(1)

    def transition(self, state, action):
        return Deterministic(state + action)

    def posterior(self, prior, observation):
        return Deterministic(observation)

    def decode(self, state):
        return DiagNormal(state, jnp.ones(1))

    def reward(self, state, action, next_state):
        return 10 * action[0]

    def discount(self, state, action, next_state):
        return jnp.where(next_state[0] > 5, 0.0, 1.0)


def test_dreams_follow_the_actions_that_were_taken():
    """Shown 2 of 5 rows: the dream starts at the second, under the action chosen there."""
    observation = jnp.array([[0.5], [1.5], [7.0], [8.0], [9.0]])
    action = jnp.array([[1.0], [2.0], [3.0], [4.0], [99.0]])
    no = jnp.zeros(5, bool)
    episode = Steps(
        observation, action, jnp.arange(5.0), no.at[0].set(True), no.at[4].set(True), no
    )
    found = dream_beside(Adder(), episode, seen=2, dreams=3, key=KEY)
    for dream in range(3):
        np.testing.assert_allclose(found.observation[dream, :, 0], [0.5, 1.5, 3.5, 6.5, 10.5])
        np.testing.assert_allclose(found.reward[dream], [0, 1, 20, 30, 40])
        np.testing.assert_array_equal(found.ended[dream], [False, False, False, True, True])
        np.testing.assert_array_equal(found.over[dream], [False, False, False, False, True])
    for wrong in (0, 5):
        with pytest.raises(ValueError, match="seen must be from 1 to 4"):
            dream_beside(Adder(), episode, seen=wrong, dreams=3, key=KEY)


def test_what_is_told_of_dreams_that_are_left():
    """Two of three dreams are over at row 2 of 4, and count for nothing from row 3 on."""
    ended = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], bool)
    number = np.array([[0.0, 1.0, 2.0, 3.0]]) + [[0.0], [100.0], [200.0]]
    dreams = Beside(number[..., None], np.ones((3, 4)), ended, 1)
    np.testing.assert_array_equal(_held(dreams.observation, dreams.over)[:, 3, 0], [3, 102, 202])
    no = np.zeros(4, bool)
    real = Steps(np.arange(4.0)[:, None], np.zeros((4, 1)), np.arange(4.0), no, no, no)
    told = str(DreamtBeside("title", ("x",), (), real, dreams, Path("dream.gif"))).splitlines()
    (at,) = (i for i, line in enumerate(told) if line.startswith("step 3"))
    assert told[at] == "step 3, 3 dreamt, 33 % of dreams go on"
    assert told[at + 1].split() == ["x", "3.000", "3.000", "3.000", "3.000"]
    (total,) = (line for line in told if line.startswith("sum of dreamt rewards"))
    assert total.split()[4:] == ["6.000", "2.000", "2.000", "2.900"]
    assert told[3].startswith("step 1, 1 dreamt")


def test_flat_pictures_become_frames():
    grey = as_frames(np.array([[0.0, 300.0, 12.6, np.nan]]), (2, 2, 1))
    assert grey.shape == (1, 2, 2, 3)
    np.testing.assert_array_equal(grey[0, ..., 2], [[0, 255], [13, 0]])
    np.testing.assert_array_equal(as_frames(np.arange(8.0), (1, 2, 4)), [[[0, 1, 2], [4, 5, 6]]])


# --- the command line ---------------------------------------------------------------------------
@pytest.fixture
def stochwm(monkeypatch, capsys):
    return command_line(monkeypatch, capsys)


def test_options_become_changes(stochwm, monkeypatch):
    calls = []
    monkeypatch.setattr(cli.agent_jobs, "train_agent", lambda *args: calls.append(args))
    code, text = stochwm(
        "train", "dreamer", "CartPole-v1", "--preset", "v2-tiny", "--entropy", 0.1, "--lambda", 0.9,
        "--soft-discount", "True", "--learning-rate", 0.01, "--depth", 3,
        "--steps", 50, "--env-args", "max_episode_steps=9",
    )  # fmt: skip
    assert code == 0
    config, out = calls[0]
    changes = {"entropy": 0.1, "lambda_": 0.9, "soft_discount": True, "depth": 3}
    changes["learning_rate"] = 0.01
    args = ("max_episode_steps=9",)
    assert config == AgentConfig("dreamer", "CartPole-v1", args, "v2-tiny", changes, steps=50)
    assert (config.of_agent.lambda_, config.of_agent.horizon) == (0.9, 100.0)
    assert out == Path("runs/CartPole-v1-max_episode_steps=9-dreamer-seed0")
    assert "stochwm dream" in text
    _, text = stochwm("train", "ppo", "stochwm/Doors-v0", "--gamma", 0.9, "--out", "here")
    assert calls[1] == (
        AgentConfig(
            "ppo", "stochwm/Doors-v0", changes={"gamma": 0.9}, steps=60_000, checkpoint_every=20_000
        ),
        Path("here"),
    )
    assert "stochwm dream" not in text


def test_every_preset_is_on_offer():
    assert get_args(get_type_hints(TrainDreamer)["preset"]) == tuple(PRESETS)


def test_playing_and_dreaming_are_verbs(stochwm, made, monkeypatch):
    for verb in ("play_agent", "dream_agent"):
        monkeypatch.setattr(cli.agent_jobs, verb, lambda run, **options: (run.path, options))
    _, text = stochwm("play", made.path, "--episodes", 2, "--greedy")
    assert f"{(made.path, {'episodes': 2, 'seed': 0, 'greedy': True})}" in text
    _, text = stochwm("dream", made.path, "--dreams", 3, "--seen", 9)
    assert f"{(made.path, {'seen': 9, 'length': 50, 'dreams': 3, 'seed': 0})}" in text
    code, _ = stochwm("play", "nowhere")
    assert str(code).startswith("stochwm: 'nowhere' is not the run folder of an agent")
