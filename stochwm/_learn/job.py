"""The main job: collect, train, score, imagine, report. Each stage can be resumed."""

import contextlib
import csv
import io
import json
import os
import sys
from typing import Any

import jax

from ..data import CollectionError, Episodes, collect, load_policy
from ..training import (
    Fitted,
    JsonlLogger,
    Logger,
    Loss,
    default_optimizer,
    fit,
    negative_log_likelihood,
    smoothed_likelihood,
)
from ..transitions import Ensemble
from .config import LearnConfig
from .diagnosis import diagnose_run
from .futures import imagine_futures
from .kernels import Recipe
from .page import write_report
from .recorded import recorded
from .run import Run, create_run
from .score import score
from .worlds import env_of

EVALUATIONS = 20


def learn(
    config: LearnConfig,
    out: str | os.PathLike,
    *,
    resume: bool = False,
    log: Logger | None = None,
    progress: bool = True,
) -> Run:
    """Learn a world model of an environment and report how good its futures are.

    Collects transitions, or takes recorded ones, splits them by episode, standardises on the
    training part, trains an ensemble and a Gaussian ensemble of the same size as the baseline,
    scores both on held-out episodes, imagines futures from held-out starts, and writes a run folder
    (see `Run`).

    Args:
        config: the choices.
        out: the run folder.
        resume: go on with a run that was interrupted; finished stages are not done again.
        log: called with every row of training metrics, as `training.jsonl` gets them: the names
            begin with `model/` or `baseline/`.
        progress: whether to show progress bars and what is being done.

    Returns:
        The run, from which models, scores and data can be loaded.

    Raises:
        FileExistsError: `out` is not empty and `resume` is off.
        ValueError, TypeError: choices that cannot work; no folder is made.
        CollectionError: the environment failed; what was collected is kept in `data/`, and a
            resumed run collects the rest, with another seed for the environment.
        TrainingDiverged: a loss became NaN or infinite.
        ImportError: matplotlib is missing (extra `plots`).
    """
    from ..report.style import require_matplotlib

    require_matplotlib()  # before the work, not after it
    run = create_run(out, config, resume=resume)
    say = say_to_stderr if progress else say_nothing
    episodes = _experience(run, say, progress)
    parts = run.split(episodes)
    counts = ", ".join(f"{p.num_episodes} {name}" for name, p in parts.items())
    say(f"{episodes.num_transitions} transitions in {episodes.num_episodes} episodes ({counts})")
    histories = {}
    for name, recipe in run.recipes(parts["train"]).items():
        say(f"training {config.members} x {recipe.label} ({name})")
        histories[recipe.label] = _trained(run, name, recipe, parts, log, progress).history
    run.write_text("metrics.csv", _to_csv(histories))
    say("scoring on held-out episodes")
    metrics = score(run, parts)
    run.write_text("metrics.json", json.dumps(metrics | {"histories": histories}, indent=1))
    say(f"imagining {config.futures} futures from held-out starts")
    imagine_futures(run, parts["test"])
    say("asking whether they are calibrated")
    diagnose_run(run, "model", parts["test"])
    page = write_report(run)
    say("\n".join(metrics["sentences"]))
    say(f"report: {page}")
    return run


def _experience(run: Run, say, progress: bool) -> Episodes:
    """The episodes to learn from, recorded or collected; a run keeps its own copy of them."""
    if run.config.data is None:
        return _collected(run, say, progress)
    if not run.has_data:
        say(f"reading the episodes in {run.config.data}")
        recorded(run.config.data).save(run.path / "data")
    return run.episodes


def _collected(run: Run, say, progress: bool) -> Episodes:
    """All episodes of the run; collects what is missing after an environment had failed."""
    config, parts = run.config, [run.episodes] if run.has_data else []
    have = sum(part.num_transitions for part in parts)
    if have >= config.steps:
        return parts[0]
    again = f" more: {have} of {config.steps} were there" if have else ""
    say(f"collecting {config.steps - have} transitions of {config.env_id}{again}")
    policy = None if config.policy == "random" else load_policy(config.policy)
    # What went on in the environment is lost with it. The seed that broke it may do so again.
    seed = (config.seed + have) % 2**32
    try:
        with contextlib.closing(env_of(config)) as env:
            steps = config.steps - have
            parts.append(collect(env, policy, steps=steps, seed=seed, progress=progress))
    except CollectionError as error:
        parts += [] if error.episodes is None else [error.episodes]
        if not parts:
            raise
        kept = Episodes.concatenate(parts)
        kept.save(run.path / "data")
        raise CollectionError(
            f"{error} {kept.num_transitions} of {config.steps} transitions are kept in "
            f"{os.fspath(run.path / 'data')!r}; --resume collects the rest.",
            kept,
        ) from error
    episodes = Episodes.concatenate(parts)
    episodes.save(run.path / "data")
    return episodes


def _trained(run: Run, name: str, recipe, parts, log: Logger | None, progress: bool) -> Fitted:
    config = run.config
    rows = JsonlLogger(run.path / "training.jsonl")

    def log_all(row: dict[str, Any]) -> None:
        named = {k if k == "step" else f"{name}/{k}": value for k, value in row.items()}
        for logger in (rows, log):
            if logger is not None:
                logger(named)

    fitted = fit(
        run.ensemble(recipe, name),
        parts["train"].transitions(),
        _loss_of(recipe),
        default_optimizer(config.updates, config.learning_rate),
        key=jax.random.fold_in(jax.random.key(config.seed), 1 + sum(name.encode())),
        validation=parts["validation"].transitions(),
        steps=config.updates,
        batch_size=config.batch_size,
        evaluate_every=max(1, config.updates // EVALUATIONS),
        devices=jax.device_count(),
        checkpoint=run.path / "checkpoints" / name,
        log=log_all,
        progress=progress,
    )
    assert isinstance(fitted.model, Ensemble)
    run.save_model(name, fitted.model)
    return fitted


def _loss_of(recipe: Recipe) -> Loss:
    likelihood = smoothed_likelihood if recipe.smoothed else negative_log_likelihood
    return likelihood(recipe.noise)


def _to_csv(histories: dict[str, list[dict[str, Any]]]) -> str:
    columns = ["model", *dict.fromkeys(k for rows in histories.values() for r in rows for k in r)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for label, rows in histories.items():
        writer.writerows({"model": label, **row} for row in rows)
    return text.getvalue()


def say_to_stderr(text: str) -> None:
    """One line of progress, beside what is printed as the result."""
    print(text, file=sys.stderr)


def say_nothing(text: str) -> None:
    """For callers who want no progress."""
    del text
