"""The command line: help, what each verb passes on, and errors without a traceback."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stochwm import _learn as jobs
from stochwm._learn import LearnConfig
from stochwm._train import AgentConfig
from stochwm.envs import WORLDS
from stochwm.training import TrainingDiverged
from tests.cases_runs import command_line

VERBS = ["learn", "demo", "imagine", "calibrate", "drift", "report", "worlds"]
VERBS += ["train dreamer", "train ppo", "play", "dream"]


@pytest.fixture
def stochwm(monkeypatch, capsys):
    return command_line(monkeypatch, capsys)


@pytest.fixture
def told(monkeypatch):
    """What the verbs tell the main job, which is not done."""
    calls = []
    monkeypatch.setattr(jobs, "learn", lambda *args, **options: calls.append((args, options)))
    return calls


def test_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "stochwm", "--help"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert verb.split()[0] in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "stochwm", "worlds"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize("verb", VERBS)
def test_help(stochwm, verb):
    code, text = stochwm(*verb.split(), "--help")
    assert code == 0
    assert f"usage: stochwm {verb}" in text
    text = re.sub(r"[│\s]+", " ", text)
    lacking = re.findall(r"--\S+ (?:\S+ )?\((?:default|required)", text)
    assert not lacking, f"options without a word of help: {lacking}"


def test_help_of_learn_explains_every_choice(stochwm):
    _, text = stochwm("learn", "--help")
    for word in (
        "registered Gymnasium id",
        "--seed",
        "--steps",
        "--members",
        "--components",
        "--out",
        "--resume",
    ):
        assert word in text
    choices = "{auto,mixture,full-mixture,discrete-latent,boxes,categorical,autoregressive}"
    assert choices in re.sub(r"[│\s]+", "", text)


def test_worlds_are_listed(stochwm):
    code, text = stochwm("worlds")
    assert code == 0
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == sorted(WORLDS)
    assert len(lines) == 9
    assert all(len(line.split()) > 3 for line in lines)


# --- what is passed on --------------------------------------------------------------------------
def test_learn_passes_its_choices_on(stochwm, told):
    code, _ = stochwm(
        "learn", "Pendulum-v1", "--steps", 50, "--members", 2, "--family", "full-mixture",
        "--horizons", 1, 3, "--noise", 0.5, "--seed", 7, "--out", "somewhere", "--resume",
    )  # fmt: skip
    assert code == 0
    expected = LearnConfig(
        "Pendulum-v1",
        steps=50,
        members=2,
        family="full-mixture",
        horizons=(1, 3),
        noise=0.5,
        seed=7,
    )
    ((config, out), options) = told[0]
    assert (config, out, options["resume"]) == (expected, Path("somewhere"), True)


def test_learn_has_a_folder_of_its_own_for_each_seed(stochwm, told):
    stochwm("learn", "stochwm/Fork-v0", "--seed", 3)
    assert told[0][0][1] == Path("runs/stochwm-Fork-v0-seed3")
    assert told[0][1] == {"resume": False, "log": None}
    stochwm("learn", "Ant-v5", "--env-args", "xml_file=../my/ant.xml")
    assert told[1][0][1] == Path("runs/Ant-v5-xml_file=..-my-ant.xml-seed0")


def test_demo_passes_its_seed_on(stochwm, told):
    assert stochwm("demo", "--seed", 5, "--out", "there")[0] == 0
    ((config, out), _) = told[0]
    assert (config.env_id, config.seed, out) == ("stochwm/Fork-v0", 5, Path("there"))


@pytest.mark.extra
def test_tensorboard_leaves_the_folder_empty_until_the_first_row(stochwm, told, tmp_path):
    pytest.importorskip("tensorboardX")
    stochwm("learn", "Pendulum-v1", "--out", tmp_path / "run", "--tensorboard")
    log = told[0][1]["log"]
    assert not (tmp_path / "run").exists()
    log({"step": 1, "model/loss": 0.5})
    log({"step": 2, "model/loss": 0.4})
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


# --- errors -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learn", "NoSuchEnv-v0"], "env_id 'NoSuchEnv-v0' cannot be made"),
        (["learn", "nowhere/NoSuch-v0"], "cannot be made"),
        (["learn", "stochwm/Fork-v0", "--family", "categorical"], "all discrete"),
        (["learn", "stochwm/Fork-v0", "--policy", "nothing"], "module:attribute"),
        (["imagine", "no-such-run"], "'no-such-run' is not a run folder"),
        (["report", "no-such-run"], "'no-such-run' is not a run folder"),
    ],
)
def test_errors_are_one_line(stochwm, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, text = stochwm(*arguments)
    assert str(code).startswith("stochwm: ")
    assert message in str(code)
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learn", "stochwm/Fork-v0", "--steps", "0"], "steps must be at least 3, but is 0"),
        (["learn", "stochwm/Fork-v0", "--steps", "many"], "many"),
        (["learn", "stochwm/Fork-v0", "--components", "0"], "components must be at least 1"),
        (["learn", "stochwm/Fork-v0", "--horizons", "0"], "horizons must be positive"),
        (["learn", "stochwm/Fork-v0", "--seed", "-1"], "seed must be an integer in"),
        (["learn", "stochwm/Fork-v0", "--family", "gauss"], "gauss"),
        (["learn", "stochwm/Fork-v0", "--colour", "red"], "colour"),
        (["learn"], "registered Gymnasium id"),
        (["think"], "think"),
    ],
)
def test_bad_arguments_say_what_is_wrong(stochwm, told, arguments, message):
    code, text = stochwm(*arguments)
    assert code not in (0, None)
    assert message in f"{code}\n{text}".replace("\n", " ")
    assert "Traceback" not in text
    assert not told


def test_a_foreign_folder_is_no_run(stochwm, tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    code, _ = stochwm("report", tmp_path)
    assert "damaged or foreign" in code
    config = AgentConfig("ppo", "CartPole-v1").to_json()
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code, _ = stochwm("report", tmp_path)
    assert "use `stochwm play` or `stochwm dream`" in code


def test_only_verbs_that_can_go_on_are_said_to(stochwm, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "describe_worlds", stop)
    assert stochwm("worlds")[0] == "stochwm: stopped"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            TrainingDiverged(step=3, member=1, seed=(0, 7), model=None, history=[]),
            "stochwm: The loss, a gradient or an update of member 1 became NaN",
        ),
        (KeyboardInterrupt(), "stochwm: stopped; go on with --resume"),
        (FileExistsError("'x' is not empty."), "stochwm: 'x' is not empty."),
    ],
)
def test_failures_of_a_job_are_one_line(stochwm, monkeypatch, error, message):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(jobs, "learn", fail)
    code, text = stochwm("demo")
    assert str(code).startswith(message)
    assert "Traceback" not in text


@pytest.mark.parametrize("value", [None, "0", "1"])
def test_a_traceback_is_shown_on_request(stochwm, monkeypatch, value):
    """A ValueError may be a mistake of the library: the line says how to see more."""

    def fail(*args, **options):
        raise ValueError("a riddle")

    monkeypatch.setattr(jobs, "learn", fail)
    monkeypatch.delenv("STOCHWM_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("STOCHWM_DEBUG", value)
    if value == "1":
        with pytest.raises(ValueError, match="a riddle"):
            stochwm("demo")
    else:
        assert stochwm("demo")[0] == "stochwm: a riddle [STOCHWM_DEBUG=1 shows where]"


def test_mistakes_of_the_library_keep_their_traceback(stochwm, monkeypatch):
    def fail(*args, **options):
        raise AttributeError("a bug")

    monkeypatch.setattr(jobs, "learn", fail)
    with pytest.raises(AttributeError, match="a bug"):
        stochwm("demo")
