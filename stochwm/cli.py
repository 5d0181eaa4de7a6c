"""The command line: one verb a job, each a thin shell over public functions."""

import dataclasses
import functools
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from . import _learn as jobs
from . import _train as agent_jobs
from ._devices import use_host_devices
from ._learn import LearnConfig, Run
from ._train import AgentConfig, AgentRun
from ._train.options import Train, config_of
from .agents import AgentDiverged
from .training import Logger, TensorBoardLogger, TrainingDiverged

DEBUG = "STOCHWM_DEBUG"
DEMO = LearnConfig("stochwm/Fork-v0", steps=10_000, width=64, updates=2_000)
Flat = tyro.conf.arg(name="")
RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]

app = tyro.extras.SubcommandApp()


@app.command
def learn(
    config: Annotated[LearnConfig, Flat],
    out: Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
) -> None:
    """Learn a world model of a Gymnasium environment, and report how good its futures are.

    Args:
        config: the choices.
        out: the run folder; by default runs/ENV_ID-seedSEED.
        resume: go on with an interrupted run of the same choices.
        tensorboard: also write training metrics for TensorBoard (extra `tensorboard`).
    """
    out = _default_out(config) if out is None else out
    log = _tensorboard(out / "tensorboard") if tensorboard else None
    jobs.learn(config, out, resume=resume, log=log)


@app.command
def demo(out: Path = Path("runs/demo"), resume: bool = False, seed: int = 0) -> None:
    """Learn stochwm/Fork-v0, a road that forks at random, in about two minutes.

    Args:
        out: the run folder.
        resume: go on with an interrupted demo.
        seed: of everything random.
    """
    jobs.learn(dataclasses.replace(DEMO, seed=seed), out, resume=resume)


@app.command
def imagine(
    run: RunFolder,
    futures: int = 1000,
    length: int = 20,
    policy: str = "random",
    start: int = 0,
    seed: int = 0,
    model: Literal["model", "baseline", "recalibrated"] = "model",
    out: Path | None = None,
) -> None:
    """Imagine futures with the model of a run: a table, the arrays, and a chart.

    Args:
        run: the run folder.
        futures: how many futures.
        length: steps in each.
        policy: `random`, or `module:attribute` of a function `(state, *, key) -> action`.
        start: which held-out test episode begins them.
        seed: of the futures.
        model: which model of the run; `stochwm calibrate` makes `recalibrated`.
        out: where to write them; by default RUN/imagined.
    """
    dreamt = jobs.dream(
        Run(run), futures=futures, length=length, policy=policy, start=start, seed=seed, model=model
    )
    print(dreamt)
    print(f"chart: {jobs.save_dream(dreamt, run / 'imagined' if out is None else out)}")


@app.command
def calibrate(
    run: RunFolder,
    method: Literal["scale", "pit", "beta", "weights", "conformal"] = "scale",
    per: Literal["step", "horizon"] = "step",
    level: float = 0.9,
) -> None:
    """Recalibrate the model of a run on its validation episodes: a table before and after.

    Writes RUN/recalibrated beside the model, which stays, and the report again.

    Args:
        run: the run folder.
        method: `scale` finds one spread factor a dimension, `pit` recodes marginals by 19 numbers
            each and `beta` by 3, `weights` finds a temperature of mixture weights or classes,
            `conformal` a spread that guarantees coverage.
        per: `step` repairs the one-step prediction, `horizon` gives the steps up to each of the
            horizons of the run a factor of their own (method `scale`).
        level: the coverage that `conformal` guarantees.
    """
    print(jobs.calibrate(Run(run), method=method, per=per, level=level))


@app.command
def drift(
    run: RunFolder,
    promise: Literal["false-alarm", "coverage", "calibration", "accuracy"] = "false-alarm",
    rate: float | None = None,
    risk: float | None = None,
    tolerance: float | None = None,
    horizon: int | None = None,
    cumulative: bool = False,
) -> None:
    """Fit a guard on a run's validation episodes: until when can its imagination be trusted?

    Writes RUN/guard, which `Run.guard` loads, and the report again.

    Args:
        run: the run folder.
        promise: `false-alarm` bounds how often futures of known situations are flagged, `coverage`
            how often what comes is outside the model's 90 % region while a future is trusted;
            `calibration` also forbids regions that are too wide, at 50 and at 90 %; `accuracy`
            bounds how often a future is trusted longer than what comes is near it, in worlds that
            are nearly certain.
        rate: of false alarms, or of futures that `accuracy` trusts too long; by default 5 %, or the
            lowest that the episodes allow.
        risk: how much more often than 10 % it may be outside, or of `calibration` how far the
            share inside may be from 50 and 90 % either way; by default 5 points.
        tolerance: what `accuracy` calls near, an energy distance in standard deviations.
        horizon: steps of a future; by default the longest horizon of the run.
        cumulative: compare the sum of disagreement over all steps so far, not each step.
    """
    found = jobs.drift(
        Run(run),
        promise=promise,
        rate=rate,
        risk=risk,
        tolerance=tolerance,
        horizon=horizon,
        cumulative=cumulative,
    )
    print(found)


@app.command
def train(agent: Annotated[Train, Flat]) -> None:
    """Train an agent that acts: Dreamer in its dreams, or PPO in the world.

    The same command goes on with a run that was interrupted, or to more steps.
    """
    config = config_of(agent)
    out = _default_out(config, config.agent) if agent.out is None else agent.out
    try:
        agent_jobs.train_agent(config, out)
    except KeyboardInterrupt:
        sys.exit(
            "stochwm: stopped; the same command goes on from the last checkpoint, if there is one"
        )
    curves = out / "history.png"
    none = "none yet: no episode has ended, and nothing was learned"
    print(f"agent: {out / 'agent'}\ncurves: {curves if curves.is_file() else none}")
    print(f"next: stochwm play {out}" + f", stochwm dream {out}" * (config.agent == "dreamer"))


@app.command
def play(run: RunFolder, episodes: int = 10, seed: int = 0, greedy: bool = False) -> None:
    """Let a trained agent play: its returns, and a video of an episode.

    Args:
        run: the run folder of `stochwm train`.
        episodes: how many count.
        seed: of the episodes.
        greedy: take the most probable action in the most probable latent state, instead of drawing
            both, as in training.
    """
    print(agent_jobs.play_agent(AgentRun(run), episodes=episodes, seed=seed, greedy=greedy))


@app.command
def dream(
    run: RunFolder,
    seen: int = 5,
    length: int = 50,
    dreams: int = 1_000,
    seed: int = 0,
) -> None:
    """Let a trained Dreamer dream an episode, beside how it really went: a table and a video.

    Args:
        run: the run folder of `stochwm train dreamer`.
        seen: observations that its model is shown before it dreams.
        length: steps that it then dreams, under the actions that were really taken.
        dreams: how many.
        seed: of the episode and of the dreams.
    """
    options = {"seen": seen, "length": length, "dreams": dreams, "seed": seed}
    print(agent_jobs.dream_agent(AgentRun(run), **options))


@app.command
def report(run: RunFolder) -> None:
    """Write the report of a finished run again.

    Args:
        run: the run folder.
    """
    print(jobs.write_report(Run(run)))


@app.command
def worlds() -> None:
    """List the bundled worlds, whose law is known exactly."""
    for env_id, description in jobs.describe_worlds():
        print(f"{env_id:<26}{description}")


def main() -> None:
    """Run the command line; errors that a user can mend are printed without a traceback.

    STOCHWM_DEBUG=1 in the environment shows the traceback of every error.
    """
    use_host_devices()  # one a core, unless JAX runs already
    try:
        app.cli(
            prog="stochwm",
            description="Probabilistic world models for stochastic and multimodal futures.",
            config=(tyro.conf.PositionalRequiredArgs,),
        )
    except BrokenPipeError:
        # Whoever read what is printed has seen enough; closing it at the end must not fail, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, ImportError, TypeError, TrainingDiverged, AgentDiverged) as error:
        if os.environ.get(DEBUG, "0") not in ("", "0"):
            raise
        sys.exit(f"stochwm: {error} [{DEBUG}=1 shows where]")
    except KeyboardInterrupt:
        mend = "; go on with --resume" if sys.argv[1:2] in (["learn"], ["demo"]) else ""
        sys.exit(f"stochwm: stopped{mend}")


def _tensorboard(folder: Path) -> Logger:
    """A logger that makes its folder with the first row: a new run wants an empty folder."""
    open_once = functools.cache(lambda: TensorBoardLogger(folder))
    return lambda row: open_once()(row)


def _default_out(config: LearnConfig | AgentConfig, *kind: str) -> Path:
    """A folder name that tells the run from others of the same environment."""
    name = "-".join((config.env_id, *config.env_args, *kind, f"seed{config.seed}"))
    return Path("runs") / re.sub(r"[/\\:]", "-", name)  # values may be paths, too
