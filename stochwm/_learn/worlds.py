"""The environment of a run, and what is known about the bundled worlds."""

from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np

from .. import envs as envs  # registers the bundled worlds
from ..data import make_env
from .config import LearnConfig


@runtime_checkable
class NamesEnv(Protocol):
    """What every configuration says of its environment."""

    @property
    def env_id(self) -> str: ...
    @property
    def env_args(self) -> tuple[str, ...]: ...
    @property
    def env_kwargs(self) -> dict[str, Any]: ...


def refuse_an_id(config: NamesEnv) -> None:
    """Raises a TypeError where an id stands in place of choices."""
    if isinstance(config, str):
        raise TypeError(
            f"config must be choices, but is {config!r}: pass LearnConfig({config!r}) to learn, "
            f'AgentConfig("dreamer", {config!r}) to train_agent.'
        )


def env_of(config: NamesEnv, **options: Any) -> gymnasium.Env:
    """The environment that the configuration names; `options` are arguments of it as well.

    Raises:
        TypeError: an id in place of choices.
        ValueError: there is none of that name, or it does not take these arguments.
    """
    refuse_an_id(config)
    return make_env(config.env_id, **(config.env_kwargs | options))


def world_of(config: LearnConfig) -> Any:
    """The law of the next observation given this one, of a bundled world; None if there is none.

    A world that hides a part of its state has none: what comes next depends on the whole past.
    """
    world = bundled_world(config)
    return world if world is not None and world.fully_observed else None


def bundled_world(config: NamesEnv) -> Any:
    """A bundled world, observed or not, or None."""
    if not config.env_id.startswith("stochwm/"):
        return None
    env = env_of(config)
    try:
        return getattr(env.unwrapped, "world", None)
    finally:
        env.close()


def noise_convention(world: Any) -> np.ndarray | None:
    """The target noise that a world declares, `[state]`, or None."""
    return None if world is None else np.asarray(world.noise_convention, np.float32)


def describe_worlds() -> list[tuple[str, str]]:
    """Id and one-line description of every bundled world."""
    rows = []
    for env_id in sorted(gymnasium.registry):
        if env_id.startswith("stochwm/"):
            env = make_env(env_id)
            world = getattr(env.unwrapped, "world", env.unwrapped)
            rows.append((env_id, (type(world).__doc__ or "").strip().splitlines()[0]))
            env.close()
    return rows
