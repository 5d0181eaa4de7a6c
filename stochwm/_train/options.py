"""What the command line asks of a user who trains an agent."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .._learn.config import EnvId
from ..agents import DreamerConfig, PPOConfig
from .config import AgentConfig, settable


def _numbers(agent: str, kind: Any) -> Any:
    """Every plain number of a configuration as an option, which is None where nothing is said.

    Made from the configuration itself, so that no option and no word of help is forgotten.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    fields = []
    for name, number in settable(agent).items():
        hint = "the preset's" if agent == "dreamer" else str(defaults[name])
        shown = tyro.conf.arg(
            name=name.rstrip("_"),
            metavar="{True,False}" if number is bool else number.__name__.upper(),
            help_behavior_hint=f"(default: {hint})",
        )
        option: Any = Annotated[number | None, shown]  # pyright: ignore[reportInvalidTypeForm]
        fields.append((name, option, dataclasses.field(default=None)))
    made = dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
    made.__doc__ = kind.__doc__
    return tyro.conf.arg(name="", constructor=made)


@dataclasses.dataclass(frozen=True)
class TrainDreamer:
    """Dreamer: learn a world model of the environment, and to act inside its dreams.

    Attributes:
        env_id: a registered Gymnasium id, such as `CartPole-v1` or `stochwm/Doors-v0`.
        changes: what differs from the preset.
        preset: the choices to begin with: DreamerV3, V3 with chained latents (for worlds where
            chance decides), V2 or V1.
        env_args: `NAME=VALUE` for `gymnasium.make`; values are JSON, and text where they are not.
        steps: of the environment, all copies together.
        seed: of everything random, in [0, 2**32).
        checkpoint_every: steps of the environment.
        out: the run folder; by default runs/ENV_ID-dreamer-seedSEED.
    """

    env_id: EnvId
    changes: Annotated[Any, _numbers("dreamer", DreamerConfig)]
    preset: Literal["v3-tiny", "v3-chained", "v2-tiny", "v1-tiny"] = "v3-tiny"
    env_args: tuple[str, ...] = ()
    steps: int = 20_000
    seed: int = 0
    checkpoint_every: int = 5_000
    out: Path | None = None


@dataclasses.dataclass(frozen=True)
class TrainPPO:
    """PPO: learn to act by trial and error, without a model of the world.

    Attributes:
        env_id: a registered Gymnasium id, such as `CartPole-v1` or `stochwm/Doors-v0`.
        changes: what differs from the defaults.
        env_args: `NAME=VALUE` for `gymnasium.make`; values are JSON, and text where they are not.
        steps: of the environment, all copies together; rounded down to whole rollouts, or one.
        seed: of everything random, in [0, 2**32).
        checkpoint_every: steps of the environment.
        out: the run folder; by default runs/ENV_ID-ppo-seedSEED.
    """

    env_id: EnvId
    changes: Annotated[Any, _numbers("ppo", PPOConfig)]
    env_args: tuple[str, ...] = ()
    steps: int = 60_000
    seed: int = 0
    checkpoint_every: int = 20_000
    out: Path | None = None


Train = (
    Annotated[TrainDreamer, tyro.conf.subcommand("dreamer")]
    | Annotated[TrainPPO, tyro.conf.subcommand("ppo")]
)
"""`dreamer` or `ppo`, and its options."""


def config_of(asked: TrainDreamer | TrainPPO) -> AgentConfig:
    """The configuration of a run that was asked for."""
    entries = {name: value for name, value in vars(asked).items() if name != "out"}
    said = dataclasses.asdict(asked.changes)
    entries["changes"] = {name: value for name, value in said.items() if value is not None}
    return AgentConfig("dreamer" if isinstance(asked, TrainDreamer) else "ppo", **entries)
