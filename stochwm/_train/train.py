"""Train an agent into a run folder; the same call goes on with what is there."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .._learn.worlds import env_of
from .._storage import latest_step, library_version, write_text
from ..agents import DreamerConfig, train_dreamer, train_ppo
from ..agents.checkpoints import Row
from ..training import JsonlLogger
from .config import AgentConfig
from .run import AgentRun

LOG_EVERY = 250
CHECKPOINTS, HISTORY, CURVES = "checkpoints", "history.jsonl", "history.png"
COUNTS = {"env_steps", "updates", "seconds", "episodes"}  # known where nothing else is
NAMED = ("jax", "equinox", "optax", "gymnasium")


def train_agent(config: AgentConfig, out: str | os.PathLike, *, progress: bool = True) -> AgentRun:
    """Train an agent, and keep it with all that is known of its training.

    Writes a run folder (see `AgentRun`). If `out` holds a run of the same choices, that one goes on
    at its last checkpoint; a Dreamer that is finished goes on to more `steps`.

    Args:
        config: the choices.
        out: the run folder. It is made when the first row of the history is known, so that choices
            which cannot work leave nothing behind. It has no curves before an episode has ended or
            something was learned.
        progress: whether to show a progress bar and what is being done.

    Raises:
        FileExistsError: `out` is not empty, and holds no run.
        ValueError: `out` holds a run of other choices; choices that cannot work.
        AgentDiverged: a loss became NaN or infinite; the last checkpoint is kept.
        ImportError: matplotlib is missing (extra `plots`).
    """
    from ..report import agent_history
    from ..report.style import require_matplotlib

    require_matplotlib()  # before the work, not after it
    out = Path(out)
    begun = _check(out)
    env_of(config).close()
    rows = None

    def log(row: Row) -> None:
        nonlocal rows
        if rows is None:
            if begun and progress:  # beside the bar, not in its line
                tqdm.write(f"goes on with the run in {os.fspath(out)!r}", file=sys.stderr)
            if not begun:
                _begin(out, config)
            rows = JsonlLogger(out / HISTORY)
        rows(row)

    trained = _train(config, out / CHECKPOINTS, log, progress)
    _write_config(out, config)
    run = AgentRun(out)
    write_text(out / HISTORY, "".join(json.dumps(row) + "\n" for row in trained.history))
    run.save_agent(trained.agent, run.source(1))
    if any(row[name] is not None for row in trained.history for name in row.keys() - COUNTS):
        title = f"{config.agent} on {config.env_id}, seed {config.seed}"
        agent_history(trained.history, title=title).savefig(out / CURVES, dpi=130)
    return run


def _check(out: Path) -> bool:
    """Whether `out` holds a run that came to a checkpoint.

    Raises:
        FileExistsError: it holds something else.
        StorageError: it holds another kind of run.
    """
    if (out / "config.json").is_file():
        AgentRun(out)
        return latest_step(out / CHECKPOINTS) is not None
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(
            f"{os.fspath(out)!r} is not empty, and holds no run. Choose another --out."
        )
    return False


def _begin(out: Path, config: AgentConfig) -> None:
    """A fresh run in place of one that did not come to a checkpoint."""
    out.mkdir(parents=True, exist_ok=True)
    (out / HISTORY).unlink(missing_ok=True)
    _write_config(out, config)


def _write_config(out: Path, config: AgentConfig) -> None:
    versions = {"stochwm": library_version()} | {name: version(name) for name in NAMED}
    data = config.to_json() | {"versions": versions}
    write_text(out / "config.json", json.dumps(data, indent=2) + "\n")


def _train(config: AgentConfig, folder: Path, log: Any, progress: bool) -> Any:
    choices = config.of_agent
    options: dict[str, Any] = {
        "steps": config.steps,
        "seed": config.seed,
        "folder": folder,
        "checkpoint_every": config.checkpoint_every,
        "log": log,
        "progress": progress,
    }
    if isinstance(choices, DreamerConfig):
        return train_dreamer(config.env, choices, log_every=LOG_EVERY, **options)
    return train_ppo(config.env, choices, **options)
