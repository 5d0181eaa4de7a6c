"""Whole trajectories as frames."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from .base import AbstractWorld


def render_video(world: AbstractWorld, states: Any) -> UInt8[np.ndarray, "time height width 3"]:
    """One frame a state: what a video writer, a notebook or `report.filmstrip` takes.

    Args:
        world: any world; it draws each state by its `render`.
        states: full states, `[time, state]`, real ones or imagined ones, at least one. Futures of a
            model of a one-hot state must be one-hot too.

    Raises:
        ValueError: another shape, or no state.
    """
    rows = np.asarray(states, np.float32)
    size = len(world.state_names)
    if rows.ndim != 2 or rows.shape[1] != size or not len(rows):
        raise ValueError(
            f"states has the shape {list(rows.shape)}, expected [time, {size}] with at least one "
            f"state of {type(world).__name__}"
        )
    return np.stack([world.render(row) for row in rows])
