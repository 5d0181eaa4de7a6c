"""An episode of a run's agent, with pictures where its environment draws any."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import PRNGKeyArray

from .._learn.worlds import env_of
from ..agents import AbstractSource, Steps, acting, make_source, record_episode
from ..agents.source import picture_shape
from .config import AgentConfig


class Episode(NamedTuple):
    """One episode, row by row."""

    steps: Steps
    frames: np.ndarray | None
    """uint8 `[time, height, width, 3]`; None where nothing is drawn."""
    fps: float
    why_blind: str
    """Why there are no frames."""


def record(
    config: AgentConfig, agent: Any, *, key: PRNGKeyArray, longest: int, greedy: bool = False
) -> Episode:
    """One episode of an agent in the Gymnasium environment of its run."""
    source, env, why_blind = _source(config)
    act, memory = acting(agent, source, greedy=greedy)

    def look() -> Any:
        return None if why_blind else env.render()

    try:
        steps, seen = record_episode(
            source, act, agent, key=key, memory=memory, longest=longest, look=look
        )
    finally:
        env.close()
    frames = None if why_blind else np.stack(seen)
    if source.image is not None:
        frames, why_blind = as_frames(steps.observation, source.image), ""
    fps = min(float(env.metadata.get("render_fps") or 10.0), 50.0)
    return Episode(steps, frames, fps, why_blind)


def as_frames(observations: Any, image: tuple[int, int, int]) -> np.ndarray:
    """Flat pictures `[..., pixels]` as uint8 `[..., height, width, 3]`; grey ones become so."""
    array = np.asarray(observations)
    pixels = np.clip(np.nan_to_num(array), 0, 255).reshape(*array.shape[:-1], *image)
    colours = pixels[..., :3] if image[2] >= 3 else pixels[..., :1].repeat(3, axis=-1)
    return np.round(colours).astype(np.uint8)


def _source(config: AgentConfig) -> tuple[AbstractSource, gymnasium.Env, str]:
    """A source of one environment, that environment, and why it is not drawn."""
    with_pictures, why_blind = _probe(config)
    made = []

    def make() -> gymnasium.Env:
        made.append(env_of(config, **with_pictures))
        return made[-1]

    source = make_source(make, 1)
    return source, made[0], why_blind


def _probe(config: AgentConfig) -> tuple[dict[str, str], str]:
    """Options that make the environment draw itself, or why it does not."""
    env = env_of(config)
    env.close()
    if picture_shape(env.observation_space) is not None:
        return {}, "its observations are its pictures"
    modes = env.metadata.get("render_modes") or []
    if "rgb_array" not in modes:
        return {}, "it does not draw itself"
    options = {"render_mode": "rgb_array"}
    env = env_of(config, **options)
    try:
        env.reset(seed=0)
        picture: Callable[[], Any] = env.render
        shape = np.shape(picture())
    except Exception as error:  # of any drawing library: a picture is not worth more than a line
        return {}, f"it could not be drawn: {str(error).strip().splitlines()[0]}"
    finally:
        env.close()
    return (options, "") if len(shape) == 3 else ({}, "what it draws is no picture")
