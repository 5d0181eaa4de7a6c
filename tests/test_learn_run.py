"""The main job, very small: what it writes, what it survives, and what can be read back."""

import contextlib
import csv
import dataclasses
import json
import shutil

import gymnasium
import jax
import numpy as np
import pytest

from stochwm._learn import (
    Dream,
    LearnConfig,
    Run,
    dream,
    drift,
    job,
    learn,
    save_dream,
    write_report,
)
from stochwm._learn.futures import load_futures
from stochwm._learn.run import create_run
from stochwm._storage import StorageError, load_tree, save_tree
from stochwm.data import CollectionError
from stochwm.training import TrainingDiverged
from tests.cases_models import same_bits

TINY = LearnConfig(
    "stochwm/Fork-v0",
    steps=400,
    members=2,
    components=2,
    width=8,
    updates=20,
    batch_size=32,
    futures=20,
    horizons=(1, 2),
)
FILES = {"config.json", "metrics.json", "metrics.csv", "training.jsonl", "report.html"}
FOLDERS = {"data", "checkpoints", "model", "baseline", "futures", "diagnosis-model"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    return learn(TINY, tmp_path_factory.mktemp("runs") / "fork", progress=False)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    config = dataclasses.replace(TINY, env_id="FrozenLake-v1")
    return learn(config, tmp_path_factory.mktemp("runs") / "lake", progress=False)


@contextlib.contextmanager
def no_page():
    """For runs whose page nobody looks at: drawing it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "write_report", lambda run: run.path / "report.html")
        yield


def page(run):
    return (run.path / "report.html").read_text(encoding="utf-8")


# --- what is there ------------------------------------------------------------------------------
def test_everything_is_written(fork):
    assert {entry.name for entry in fork.path.iterdir()} == FILES | FOLDERS
    for file in fork.path.rglob("*"):
        assert file.is_dir() or file.suffix in {".json", ".jsonl", ".csv", ".html", ".safetensors"}
    assert fork.episodes.num_transitions == TINY.steps


def test_report_is_self_contained(fork):
    text = page(fork)
    assert "://" not in text
    assert text.count("<img") >= 6
    assert "Is it calibrated?" in text
    for word in (
        "stochwm/Fork-v0",
        "mixture",
        "Gaussian",
        "true law",
        "coverage90",
        "learning_rate",
    ):
        assert word in text


def test_metrics_parse_and_cover_every_model(fork):
    text = (fork.path / "metrics.json").read_text(encoding="utf-8")
    metrics = json.loads(text, parse_constant=pytest.fail)
    assert set(fork.cards) == {"model", "baseline", "law", "persistence"}
    for card in fork.cards.values():
        assert np.isfinite([score.value for score in card.scores]).all()
        assert card.series("energy")["horizon"] == [1, 2]
    assert len(metrics["histories"]["mixture"]) == 20
    assert 0 <= metrics["modes"]["model"]["recall"] <= 1


def test_the_law_is_the_best(fork):
    """Twenty updates do not teach a model more than the truth knows."""
    law = fork.cards.pop("law")
    for name in ("model", "baseline"):
        assert law.get("nll").value < fork.cards[name].get("nll").value - 0.3
        assert law.get("energy", 2).value < fork.cards[name].get("energy", 2).value


def test_csv_and_jsonl_hold_the_histories(fork):
    with (fork.path / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = (fork.path / "training.jsonl").read_text(encoding="utf-8").splitlines()
    assert [row["model"] for row in rows] == ["mixture"] * 20 + ["Gaussian"] * 20
    for row, line in zip(rows, map(json.loads, lines), strict=True):
        name = {"mixture": "model", "Gaussian": "baseline"}[row.pop("model")]
        step = row.pop("step")
        assert {f"{name}/{k}": float(v) for k, v in row.items()} | {"step": int(step)} == line
        assert 1 <= line["step"] <= 20


def test_a_single_test_episode_has_no_interval_and_says_so(fork):
    assert fork.split(fork.episodes)["test"].num_episodes == 1
    said = fork.metrics["sentences"]
    assert "a single episode has no interval" in said[0]
    assert "away from the true law" in said[1]
    assert "nan" not in " ".join(said)


def test_model_is_loaded_as_it_was(fork):
    train = fork.split(fork.episodes)["train"]
    for name, recipe in fork.recipes(train).items():
        one, other = (Run(fork.path).model(name) for _ in range(2))
        assert same_bits(one, other)
        assert not same_bits(one.kernel, fork.ensemble(recipe, name))
        state, action = jax.numpy.zeros(2), jax.numpy.zeros(1)
        draws = [m.transition(state, action).sample(seed=jax.random.key(0)) for m in (one, other)]
        np.testing.assert_array_equal(*draws)


def test_model_is_the_best_of_its_checkpoints(fork):
    """The file on disk predicts as well on validation data as the history says it did."""
    history = fork.metrics["histories"]["Gaussian"]
    rows = fork.split(fork.episodes)["validation"].transitions()
    ensemble = fork.model("baseline").kernel

    def losses_of(state, action, next_state):
        return jax.vmap(lambda member: -member.log_prob(next_state))(ensemble.each(state, action))

    inputs = (rows.state, rows.action, rows.next_state)
    losses = jax.vmap(losses_of)(*map(jax.numpy.asarray, inputs))
    assert np.mean(losses) == pytest.approx(history[-1]["best_validation_loss"], rel=1e-4)


# --- again, and interrupted ---------------------------------------------------------------------
class PowerCut(Exception):
    """Ends a run at some row of training."""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The same choices; stopped in the middle of the baseline's training, and resumed."""
    seen = []

    def cut(row):
        seen.append(row)
        if "baseline/loss" in row and row["step"] == 7:
            raise PowerCut

    path = tmp_path_factory.mktemp("runs") / "interrupted"
    with pytest.raises(PowerCut):
        learn(TINY, path, log=cut, progress=False)
    assert not (path / "baseline").exists()
    with no_page():
        return learn(TINY, path, resume=True, log=seen.append, progress=False), seen


def test_an_interrupted_run_ends_as_an_uninterrupted_one(fork, interrupted):
    run, _ = interrupted
    for name in ("metrics.json", "metrics.csv", "training.jsonl"):
        assert (run.path / name).read_bytes() == (fork.path / name).read_bytes()
    for name in ("model", "baseline", "futures"):
        arrays = "arrays.safetensors"
        assert (run.path / name / arrays).read_bytes() == (fork.path / name / arrays).read_bytes()


def test_log_gets_every_row_once_under_the_name_of_its_model(interrupted):
    _, seen = interrupted
    for name in ("model", "baseline"):
        rows = [row for row in seen if f"{name}/validation_loss" in row]
        assert [row["step"] for row in rows] == list(range(1, 21))
    assert len(seen) == 40


def test_resume_of_a_finished_run_repairs_what_is_missing(fork, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(fork.path, path)
    for name in ("metrics.json", "report.html"):
        (path / name).unlink()
    for name in ("model", "baseline", "futures"):
        shutil.rmtree(path / name)
    learn(TINY, path, resume=True, progress=False)
    assert (path / "metrics.json").read_bytes() == (fork.path / "metrics.json").read_bytes()
    assert {entry.name for entry in path.iterdir()} == FILES | FOLDERS


def test_a_run_is_not_overwritten(fork):
    before = (fork.path / "metrics.json").read_bytes()
    with pytest.raises(FileExistsError, match="--resume"):
        learn(TINY, fork.path, progress=False)
    with pytest.raises(ValueError, match="has seed 0, not 1"):
        learn(dataclasses.replace(TINY, seed=1), fork.path, resume=True, progress=False)
    assert (fork.path / "metrics.json").read_bytes() == before


def test_report_can_be_written_again(fork):
    before = page(fork)
    (fork.path / "report.html").unlink()
    assert write_report(Run(fork.path)) == fork.path / "report.html"
    assert len(page(fork)) == pytest.approx(len(before), rel=0.01)


# --- discrete, and without a law ----------------------------------------------------------------
def test_futures_that_become_infinite_end_in_the_charts(fork, tmp_path):
    run = Run(shutil.copytree(fork.path, tmp_path / "run"))
    arrays = {name: np.array(values) for name, values in load_futures(run).items()}
    arrays["baseline"][:, ::2, -1] = np.inf
    save_tree(run.path / "futures", arrays, {"shapes": {k: v.shape for k, v in arrays.items()}})
    write_report(run)
    assert "Some of the Gaussian ensemble became infinite, and end." in page(run)


def test_discrete_states_are_learned_by_categories(lake):
    assert set(lake.cards) == {"model", "baseline", "persistence"}
    assert lake.metrics["labels"]["model"] == "categorical"
    assert lake.world is None
    assert lake.metrics["modes"] == {}
    assert "true law" not in page(lake)
    assert "://" not in page(lake)


def test_a_mass_is_no_more_than_one(lake):
    """Neither the categorical's nll nor the Gaussian's, shifted to be comparable, is negative."""
    for name in ("model", "baseline"):
        assert lake.cards[name].get("nll").value > 0
    assert lake.cards["model"].get("nll").value < 2 * np.log(16)


def test_imagined_categories_are_one_hot(lake):
    dreamt = dream(lake, futures=5, length=3)
    assert dreamt.futures.shape == (5, 3, 16)
    assert (dreamt.futures.sum(axis=-1) == 1).all()
    assert (dreamt.futures.max(axis=-1) == 1).all()


def test_an_environment_whose_law_nobody_knows(tmp_path):
    config = dataclasses.replace(TINY, env_id="CartPole-v1", members=1)
    run = learn(config, tmp_path / "pole", progress=False)
    assert set(run.cards) == {"model", "baseline", "persistence"}
    assert run.cards["model"].get("nll").low < run.cards["model"].get("nll").high
    assert "single episode" not in " ".join(run.metrics["sentences"])
    assert run.episodes.observation.shape[1] == 4


def test_recorded_episodes_are_learned_from_as_collected_ones(fork, tmp_path):
    source = tmp_path / "recorded"
    shutil.copytree(fork.path / "data", source)
    # More steps are wanted than there are: of recorded ones all are taken.
    config = dataclasses.replace(TINY, data=str(source), steps=10_000)
    with no_page():
        run = learn(config, tmp_path / "run", progress=False)
    shutil.rmtree(source)  # the run has its own copy
    assert same_bits(run.model(), fork.model())
    assert run.metrics["cards"] == fork.metrics["cards"]
    with pytest.raises(ValueError, match="at least 20 recorded episodes"):
        drift(run, promise="false-alarm", rate=0.05, horizon=2)
    # By another name its law is not known, and nobody compares with it.
    config = dataclasses.replace(config, env_id="my-road", data=str(fork.path / "data"))
    unknown = learn(config, tmp_path / "unknown", progress=False)
    assert set(unknown.cards) == {"model", "baseline", "persistence"}
    assert "my-road" in page(unknown)


# --- dreams -------------------------------------------------------------------------------------
def still(state, *, key):
    """Straight ahead."""
    return jax.numpy.zeros(1)


def test_dream(fork):
    dreamt = dream(fork, futures=6, length=5, seed=3)
    assert dreamt.futures.shape == (6, 5, 2)
    test = fork.split(fork.episodes)["test"]
    np.testing.assert_array_equal(dreamt.start, test.observation[0])
    same, other = (dream(fork, futures=6, length=5, seed=seed).futures for seed in (3, 4))
    np.testing.assert_array_equal(dreamt.futures, same)
    assert (dreamt.futures != other).any()
    assert len(np.unique(dreamt.futures[:, -1, 0])) == 6
    assert dreamt.quantiles(5).shape == (3, 2)
    assert dreamt.names == ("y", "speed")  # as in the report
    assert "6 imagined futures of 5 steps" in str(dreamt)
    assert len(str(dreamt).splitlines()) == 3 + 3 * 2


def test_dream_under_a_policy(fork):
    steered = dream(fork, futures=6, length=5, policy=f"{__name__}:still")
    assert (steered.futures != dream(fork, futures=6, length=5).futures).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"futures": 0}, "futures must be at least 1"),
        ({"length": 0}, "length must be at least 1"),
        ({"start": 1}, r"start must be in \[0, 1\), the test episodes, but is 1"),
        ({"start": -1}, "start"),
        ({"seed": 2**32}, "seed must be an integer in"),
        ({"policy": "nothing"}, "module:attribute"),
    ],
)
def test_dream_refuses(fork, options, message):
    with pytest.raises(ValueError, match=message):
        dream(fork, **options)


def test_quantiles_refuse_steps_that_were_not_imagined(fork):
    dreamt = dream(fork, futures=6, length=5)
    for step in (0, 6):
        with pytest.raises(ValueError, match=r"step must be in \[1, 5\]"):
            dreamt.quantiles(step)


def test_quantiles_are_of_what_has_come_after_so_many_steps():
    futures = np.arange(21.0)[:, None, None] * np.array([[1.0], [10.0]])
    dreamt = Dream(np.zeros(1), futures, ("x",))
    np.testing.assert_allclose(dreamt.quantiles(1)[:, 0], [1, 10, 19])
    np.testing.assert_allclose(dreamt.quantiles(2)[:, 0], [10, 100, 190])


def test_save_dream(fork, tmp_path):
    dreamt = dream(fork, futures=6, length=5)
    path = save_dream(dreamt, tmp_path / "imagined")
    assert path.read_bytes().startswith(b"\x89PNG")
    like = {"start": np.zeros(2, np.float32), "futures": np.zeros((6, 5, 2), np.float32)}
    saved = load_tree(tmp_path / "imagined" / "futures", like)
    np.testing.assert_array_equal(saved["futures"], dreamt.futures)
    assert save_dream(dreamt, tmp_path / "imagined") == path  # again, over the first
    infinite = np.where(np.arange(5)[:, None] == 4, np.inf, dreamt.futures)
    save_dream(dreamt._replace(futures=infinite), tmp_path / "infinite")


def test_far_and_near_numbers_keep_to_their_columns(fork):
    dreamt = dream(fork, futures=6, length=5)
    for size in (1e-9, 1e9):
        lines = str(dreamt._replace(futures=size * dreamt.futures)).splitlines()[3:]
        assert {len(line) for line in lines} == {24 + 6 + 3 * 12}
        assert " 0.000" not in "".join(lines)


# --- what goes wrong ----------------------------------------------------------------------------
class Trap(gymnasium.Env):
    """Episodes of ten steps; the thirty-sixth step of all raises."""

    observation_space = gymnasium.spaces.Box(-10, 10, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))
    raises_at = 36

    def __init__(self):
        self.total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time, self.total = self.time + 1, self.total + 1
        if self.total == self.raises_at:
            raise RuntimeError("the bridge is out")
        state = np.array([0.1 * self.time], np.float32)
        return state, 0.0, False, self.time == 10, {}


class Road(Trap):
    """The same without the trap."""

    raises_at = -1


@pytest.fixture(autouse=True)
def registered():
    envs = {"test/Trap-v0": Trap, "test/Road-v0": Road, "test/Fragile-v0": Fragile}
    for env_id, env in envs.items():
        gymnasium.register(env_id, env)
    yield
    for env_id in envs:
        del gymnasium.registry[env_id]


def test_an_environment_that_raises_keeps_what_was_collected(tmp_path):
    config = dataclasses.replace(TINY, env_id="test/Trap-v0")
    with pytest.raises(CollectionError, match="after 35 of 400 transitions.*the bridge is out"):
        learn(config, tmp_path / "run", progress=False)
    assert Run(tmp_path / "run").episodes.num_transitions == 35
    assert not (tmp_path / "run" / "model").exists()


class Fragile(Trap):
    """Raises at every thirty-sixth step of its life, and at once for the seed that broke it."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.first_seed = seed
        return super().reset(seed=seed, options=options)

    def step(self, action):
        before = np.array([self.first_seed], np.float32) / 100
        return before, *super().step(action)[1:]


def test_resume_collects_what_the_environment_did_not_give(tmp_path, capsys):
    """Each attempt gets 35 steps further, under a seed of its own, until all are there."""
    config = dataclasses.replace(TINY, env_id="test/Fragile-v0", steps=100)
    have = []
    for attempt in range(2):
        message = rf"{35 * (attempt + 1)} of 100 transitions are kept in .*--resume collects"
        with pytest.raises(CollectionError, match=message) as info:
            learn(config, tmp_path / "run", resume=attempt > 0, progress=False)
        have.append(Run(tmp_path / "run").episodes)
        assert have[-1].num_transitions == info.value.episodes.num_transitions
    run = create_run(tmp_path / "run", config, resume=True)
    whole = job._collected(run, print, False)
    assert whole.num_transitions == 100
    assert "collecting 30 transitions of test/Fragile-v0 more: 70 of 100 were there" in (
        capsys.readouterr().out
    )
    # What was there stays as it was, and every attempt had another seed.
    rows = len(have[1].observation)
    np.testing.assert_array_equal(whole.observation[:rows], have[1].observation)
    seeds = whole.observation[~whole.is_first, 0] * 100
    assert np.unique(seeds.round()).tolist() == [0.0, 35.0, 70.0]
    assert job._collected(run, print, False).num_transitions == 100
    assert capsys.readouterr().out == ""


def test_training_that_diverges_keeps_what_was_collected(tmp_path):
    config = dataclasses.replace(TINY, env_id="test/Road-v0", learning_rate=1e38, updates=20)
    with pytest.raises(TrainingDiverged, match="lower the learning rate"):
        learn(config, tmp_path / "run", progress=False)
    run = Run(tmp_path / "run")
    assert run.episodes.num_transitions == 400
    with pytest.raises(StorageError):
        run.model()


def test_too_few_episodes_to_split(tmp_path):
    config = dataclasses.replace(TINY, env_id="test/Road-v0", steps=15)
    with pytest.raises(ValueError, match="2 episodes cannot be split into 3 parts; collect more"):
        learn(config, tmp_path / "run", progress=False)
