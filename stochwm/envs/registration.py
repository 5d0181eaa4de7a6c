"""The bundled worlds under their Gymnasium ids."""

from typing import Any

import gymnasium as gym

from .base import AbstractWorld
from .cricket import Cricket
from .curtain import Curtain
from .doors import Doors
from .fork import Fork
from .galton import Galton
from .gym import WorldEnv
from .hidden_switch import HiddenSwitch
from .mixture_walk import MixtureWalk
from .noisy_tv import NoisyTV
from .wet_chicken import WetChicken

WORLDS: dict[str, type[AbstractWorld]] = {
    "stochwm/Fork-v0": Fork,
    "stochwm/WetChicken-v0": WetChicken,
    "stochwm/Doors-v0": Doors,
    "stochwm/MixtureWalk-v0": MixtureWalk,
    "stochwm/Galton-v0": Galton,
    "stochwm/NoisyTV-v0": NoisyTV,
    "stochwm/Cricket-v0": Cricket,
    "stochwm/HiddenSwitch-v0": HiddenSwitch,
    "stochwm/Curtain-v0": Curtain,
}
"""Every bundled world by its registered id."""


def make_world_env(world: str, render_mode: str | None = None, **parameters: Any) -> WorldEnv:
    """What `gymnasium.make` calls: `parameters` are the arguments of the world.

    Raises:
        ValueError: there is no world of this id.
    """
    if world not in WORLDS:
        raise ValueError(f"there is no world {world!r}, expected one of {sorted(WORLDS)}")
    return WorldEnv(WORLDS[world](**parameters), render_mode)


def register_worlds() -> None:
    """Register every bundled world that is not registered yet."""
    for name, world in WORLDS.items():
        if name not in gym.registry:
            gym.register(
                name,
                entry_point=f"{__name__}:{make_world_env.__name__}",
                kwargs={"world": name},
                max_episode_steps=world.max_episode_steps,
            )


register_worlds()
