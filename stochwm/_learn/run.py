"""A run folder: what the main job writes, and how it is read again."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax

from .._storage import StorageError, load_metadata, load_tree, save_tree, saved_at, write_text
from ..calibration import Scorecard
from ..data import Episodes
from ..drift import DriftGuard
from ..models import Markov
from ..transitions import Ensemble
from .checks import check_choices
from .config import FRACTIONS, LearnConfig
from .guards import guard_like
from .kernels import Recipe, recipes
from .worlds import noise_convention, world_of
from .wrappers import repaired_like

PARTS = ("train", "validation", "test")
REPAIRED = "recalibrated"
GUARD = "guard"


class Run:
    """A run folder and lazy access to what it holds.

    Layout: `config.json`, `data/` (episodes), `checkpoints/` (of training), `model/` and
    `baseline/` (learned ensembles), `metrics.json` (scores), `metrics.csv` (training), `futures/`
    (what the charts show), `diagnosis-model/` (is it calibrated?), `report.html`; and after
    `stochwm calibrate`, `recalibrated/`, `recalibration.json` and `diagnosis-recalibrated/`; after
    `stochwm drift`, `guard/` and `watched/` (futures that it watched).
    """

    def __init__(self, path: str | os.PathLike):
        """Open a run folder.

        Raises:
            StorageError: there is no run in that folder, or it comes from another version.
        """
        self.path = Path(path)
        config = self.path / "config.json"
        if not config.is_file():
            raise StorageError(
                f"{os.fspath(path)!r} is not a run folder: it holds no config.json. `stochwm learn "
                "ENV_ID --out FOLDER` makes one."
            )
        try:
            self.config = LearnConfig.from_json(config.read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise StorageError(f"{config} is damaged or foreign: {error}") from error

    @property
    def has_data(self) -> bool:
        """Whether there are episodes, perhaps not all of them yet."""
        return saved_at(self.path / "data")

    @property
    def episodes(self) -> Episodes:
        """All collected episodes."""
        return Episodes.load(self.path / "data")

    def state_names(self, episodes: Episodes) -> list[str]:
        """Of the dimensions of the state: the world's own, or those of its space."""
        world = self.world
        return list(episodes.observation_space.names if world is None else world.state_names)

    def split(self, episodes: Episodes) -> dict[str, Episodes]:
        """Train, validation and test episodes, the same for the same seed."""
        parts = episodes.split(FRACTIONS, seed=self.config.seed)
        return dict(zip(PARTS, parts, strict=True))

    def recipes(self, train: Episodes) -> dict[str, Recipe]:
        """How the two ensembles of this run are made."""
        return recipes(self.config, train, noise_convention(self.world))

    def ensemble(self, recipe: Recipe, name: str) -> Ensemble:
        """An untrained ensemble, its initial weights a function of the seed and the name."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), sum(name.encode()))
        return Ensemble(recipe.make, self.config.members, key=key)

    def model(self, name: str = "model") -> Any:
        """A trained world model of this run: `model`, `baseline` or `recalibrated`.

        Raises:
            StorageError: it was not trained or recalibrated yet, or its file is damaged.
        """
        if name == REPAIRED:
            return self._repaired()
        train = self.split(self.episodes)["train"]
        like = self.ensemble(self.recipes(train)[name], name)
        return Markov(load_tree(self.path / name, like))

    def _repaired(self) -> Any:
        folder = self.path / REPAIRED
        if not saved_at(folder):
            raise StorageError(
                f"the run in {os.fspath(self.path)!r} was not recalibrated yet: `stochwm calibrate "
                f"{os.fspath(self.path)}` does it."
            )
        return load_tree(folder, repaired_like(self.model(), load_metadata(folder)))

    def guard(self) -> DriftGuard:
        """What `stochwm drift` fitted to `model`: pass it to `imagine(..., guard=guard)`.

        Raises:
            StorageError: nothing was fitted yet, or its file is damaged.
        """
        folder = self.path / GUARD
        if not saved_at(folder):
            raise StorageError(
                f"the run in {os.fspath(self.path)!r} has no guard yet: `stochwm drift "
                f"{os.fspath(self.path)}` fits one."
            )
        return load_tree(folder, guard_like(load_metadata(folder)))

    def save_model(self, name: str, model: Ensemble) -> None:
        """Keep a trained ensemble."""
        save_tree(self.path / name, model, {"env_id": self.config.env_id})

    @property
    def world(self) -> Any:
        """The environment's own law, or None when nobody knows it."""
        return world_of(self.config)

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds.

        Raises:
            StorageError: the run did not get as far as its scores.
        """
        file = self.path / "metrics.json"
        if not file.is_file():
            raise StorageError(
                f"the run in {os.fspath(self.path)!r} is not finished: it holds no metrics.json. "
                "Go on with it by `stochwm learn ... --resume`."
            )
        return json.loads(file.read_text(encoding="utf-8"))

    @property
    def cards(self) -> dict[str, Scorecard]:
        """The score cards by model: `model`, `baseline`, `persistence`, and `law` where known."""
        cards = self.metrics["cards"]
        return {name: Scorecard.from_json(card) for name, card in cards.items()}

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all."""
        write_text(self.path / name, text)


def create_run(path: str | os.PathLike, config: LearnConfig, *, resume: bool) -> Run:
    """Make a run folder, or open the one to go on with.

    Raises:
        FileExistsError: the folder is not empty, and `resume` is off or it holds no run.
        ValueError: the run to resume has another configuration, or `check_choices` says no.
    """
    path = Path(path)
    is_run = (path / "config.json").exists()
    if is_run and resume:
        run = Run(path)
        if run.config != config:
            raise ValueError(
                f"the run in {os.fspath(path)!r} has {_differences(run.config, config)}; resume it "
                "with its own choices, or use another folder."
            )
        return run
    if path.exists() and any(path.iterdir()):
        mend = "Go on with it by --resume, or choose" if is_run else "It holds no run: choose"
        raise FileExistsError(f"{os.fspath(path)!r} is not empty. {mend} another --out.")
    check_choices(config)
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / "config.json", config.to_json())
    return Run(path)


def _differences(kept: LearnConfig, asked: LearnConfig) -> str:
    pairs = ((f.name, getattr(kept, f.name), getattr(asked, f.name)) for f in fields(LearnConfig))
    return ", ".join(f"{name} {was!r}, not {now!r}" for name, was, now in pairs if was != now)
