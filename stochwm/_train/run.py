"""The run folder of an agent: what training writes, and how it is read again."""

import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from .._storage import StorageError, load_metadata, load_tree, save_tree, saved_at
from ..agents import AbstractSource, Dreamer, DreamerConfig, make_learner, make_source
from ..agents.checkpoints import Row
from ..agents.ppo import ActorCritic, make_actor_critic
from ..data import FlatSpace
from .config import AgentConfig


class AgentRun:
    """A run folder of an agent, and lazy access to what it holds.

    Layout: `config.json` (choices, and the versions that they were made with), `checkpoints/` (of
    training), `history.jsonl`, `history.png`, `agent/` (when training is finished); after `stochwm
    play`, `play/`; after `stochwm dream`, `dream/`.
    """

    def __init__(self, path: str | os.PathLike):
        """Open a run folder.

        Raises:
            StorageError: there is no run of an agent in that folder, or it is of another version.
        """
        self.path = Path(path)
        file = self.path / "config.json"
        if not file.is_file():
            raise StorageError(
                f"{os.fspath(path)!r} is not the run folder of an agent: it holds no config.json. "
                "`stochwm train dreamer ENV_ID --out FOLDER` makes one."
            )
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            self.versions: dict[str, str] = data.pop("versions", {})
            self.config = AgentConfig.from_json(data)
        except (ValueError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{file} is not of an agent, or is damaged or of another version: {error}"
            ) from error

    @property
    def history(self) -> list[Row]:
        """Rows of `train_dreamer` or `train_ppo`, those of a run that goes on included."""
        file = self.path / "history.jsonl"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        rows = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        # What came after the last checkpoint of an interrupted run was done again.
        return [row for _, row in sorted({row["env_steps"]: row for row in rows}.items())]

    @property
    def agent(self) -> Dreamer | ActorCritic:
        """The trained agent; `agent.model` is what a `Dreamer` dreams with.

        Raises:
            StorageError: training is not finished, or its file is damaged.
        """
        folder = self.path / "agent"
        if not saved_at(folder):
            raise StorageError(
                f"the run in {os.fspath(self.path)!r} is not finished: it holds no agent. The "
                "command that began it goes on with it."
            )
        noted = load_metadata(folder)
        spaces = [FlatSpace.from_json(noted[name]) for name in ("observation", "action")]
        image = None if noted["image"] is None else tuple(noted["image"])
        like = eqx.filter_eval_shape(_untrained, self.config.of_agent, *spaces, image)
        return load_tree(folder, like)

    def save_agent(self, agent: Any, source: AbstractSource) -> None:
        """Keep a trained agent, and the spaces that it is made for."""
        spaces = {"observation": source.observation_space, "action": source.action_space}
        noted = {name: space.to_json() for name, space in spaces.items()}
        save_tree(self.path / "agent", agent, noted | {"image": source.image})

    def source(self, num_envs: int) -> AbstractSource:
        """Copies of the environment that the agent learned in."""
        return make_source(self.config.env, num_envs)


def _untrained(config: Any, observation: FlatSpace, action: FlatSpace, image: Any) -> Any:
    key = jax.random.key(0)
    if isinstance(config, DreamerConfig):
        return make_learner(observation, action, config, image=image, key=key).agent
    return make_actor_critic(observation, action, config, key=key)
