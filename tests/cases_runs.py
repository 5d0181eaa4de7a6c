"""A run as the main job leaves it, without the training, and its command line in this process."""

import json
import sys

import numpy as np

from stochwm import cli
from stochwm._learn.run import create_run
from stochwm._learn.worlds import env_of
from stochwm._storage import save_tree
from stochwm.calibration import Scorecard
from stochwm.data import collect


def untrained_run(folder, config, change=lambda ensemble: ensemble):
    """A run with episodes, untrained models, empty scores and futures that mean nothing.

    Args:
        folder: which is made.
        config: a `LearnConfig`.
        change: what is done to each ensemble before it is saved.
    """
    run = create_run(folder, config, resume=False)
    with env_of(config) as env:
        collect(env, steps=config.steps, seed=0, progress=False).save(run.path / "data")
    parts = run.split(run.episodes)
    for name, recipe in run.recipes(parts["train"]).items():
        run.save_model(name, change(run.ensemble(recipe, name)))
    metrics = {
        "labels": {"model": "mixture", "baseline": "Gaussian"},
        "cards": {name: Scorecard(()).to_json() for name in ("model", "baseline")},
        "sentences": [],
        "histories": {"mixture": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]},
    }
    run.write_text("metrics.json", json.dumps(metrics))
    rng, dim = np.random.default_rng(0), parts["test"].observation_space.size
    arrays = {name: rng.normal(size=(1, 12, 2, dim)) for name in ("model", "baseline", "real")}
    arrays |= {f"step_{name}": rng.normal(size=(30, dim)) for name in ("real", "model", "baseline")}
    arrays["start"] = rng.normal(size=(1, dim))
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    save_tree(run.path / "futures", arrays, {"shapes": {k: v.shape for k, v in arrays.items()}})
    return run


def command_line(monkeypatch, capsys):
    """Runs the command line in this process: `(exit code or message, printed)`."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["stochwm", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as done:
            code = done.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call
