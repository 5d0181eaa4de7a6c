"""What a run of an agent is told: written into the run folder."""

import dataclasses
from functools import partial
from typing import Any

from .._learn.config import keywords_of
from .._learn.worlds import bundled_world
from ..agents import PRESETS, DreamerConfig, PPOConfig
from ..data import make_env
from ..data.checks import checked_seed

AGENTS = ("dreamer", "ppo")
DEFAULT = "v3-tiny"
Number = int | float | bool


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """Choices of `train_agent`.

    Attributes:
        agent: `dreamer` or `ppo`.
        env_id: a registered Gymnasium id, such as `CartPole-v1` or `stochwm/Doors-v0`.
        env_args: `NAME=VALUE` for `gymnasium.make`, as those of `LearnConfig`.
        preset: of Dreamer, `v3-tiny` where nothing is said; see `stochwm.agents.PRESETS`.
        changes: numbers of `DreamerConfig` or `PPOConfig` that differ from the preset, by name.
        steps: of the environment, all copies together.
        seed: of everything random, in [0, 2**32).
        checkpoint_every: steps of the environment.
    """

    agent: str
    env_id: str
    env_args: tuple[str, ...] = ()
    preset: str | None = None
    changes: dict[str, Number] = dataclasses.field(default_factory=dict)
    steps: int = 20_000
    seed: int = 0
    checkpoint_every: int = 5_000

    def __post_init__(self):
        """Refuse impossible choices before anything is done."""
        if self.agent not in AGENTS:
            raise ValueError(f"agent must be one of {AGENTS}, but is {self.agent!r}.")
        if self.agent == "dreamer" and self.preset is None:
            object.__setattr__(self, "preset", DEFAULT)
        if self.preset not in (PRESETS if self.agent == "dreamer" else (None,)):
            known = f"one of {sorted(PRESETS)}" if self.agent == "dreamer" else "None"
            raise ValueError(f"preset of {self.agent} must be {known}, but is {self.preset!r}.")
        checked_seed(self.seed)
        for name in ("steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}.")
        unknown = set(self.changes) - set(settable(self.agent))
        if unknown:
            raise ValueError(
                f"changes of {self.agent} must be among {sorted(settable(self.agent))}, but name "
                f"{sorted(unknown)}."
            )
        self.env_kwargs  # noqa: B018, raises where one is no NAME=VALUE

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """`env_args` as keyword arguments of `gymnasium.make`."""
        return keywords_of(self.env_args)

    @property
    def env(self) -> Any:
        """What `train_dreamer` and `train_ppo` take: a bundled world, an id, or a function.

        A bundled world is stepped as its law, compiled, and its place is saved with the run.
        """
        kwargs = self.env_kwargs
        world = None if "max_episode_steps" in kwargs else bundled_world(self)
        if world is not None:
            return world
        return partial(make_env, self.env_id, **kwargs) if kwargs else self.env_id

    @property
    def of_agent(self) -> DreamerConfig | PPOConfig:
        """All choices of the agent: those of the preset, and the changes."""
        changes: Any = self.changes
        if self.preset is None:
            return PPOConfig(**changes)
        return PRESETS[self.preset](**changes)

    def to_json(self) -> dict[str, Any]:
        """Entries that `from_json` reads."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(data: Any) -> "AgentConfig":
        """The inverse of `to_json`.

        Raises:
            ValueError: these are not the entries of this version of the library.
        """
        known = {field.name for field in dataclasses.fields(AgentConfig)}
        if isinstance(data, dict) and "family" in data:
            raise ValueError(
                "it is of `stochwm learn`, whose runs hold a world model and no agent: use "
                "`stochwm imagine` or `stochwm report`, or another folder."
            )
        if not isinstance(data, dict) or set(data) != known:
            have = sorted(data) if isinstance(data, dict) else data
            raise ValueError(f"the entries must be {sorted(known)}, but are {have}.")
        entries: Any = data | {"env_args": tuple(data["env_args"])}
        return AgentConfig(**entries)


def settable(agent: str) -> dict[str, type]:
    """The plain numbers among the choices of an agent: name and kind."""
    kind: Any = DreamerConfig if agent == "dreamer" else PPOConfig
    fields = dataclasses.fields(kind)
    return {field.name: field.type for field in fields if field.type in (int, float, bool)}
