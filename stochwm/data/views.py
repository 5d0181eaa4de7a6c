"""What models are trained and scored on: transitions and windows cut out of episodes."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int


class Transitions(eqx.Module):
    """N single steps (s, a, r, s'), none of which crosses a reset. Arrays of numpy or jax.

    Attributes:
        state: flat observation s.
        action: flat action a chosen at s.
        reward: reward received on arrival at s'.
        discount: 0 where s' is a true termination, else 1 (a truncation bootstraps).
        next_state: flat observation s'.
        episode: which episode each step came from.
    """

    state: Float[Array | np.ndarray, "n state"]
    action: Float[Array | np.ndarray, "n action"]
    reward: Float[Array | np.ndarray, " n"]
    discount: Float[Array | np.ndarray, " n"]
    next_state: Float[Array | np.ndarray, "n state"]
    episode: Int[Array | np.ndarray, " n"]

    def __len__(self) -> int:
        return self.state.shape[0]


class Windows(eqx.Module):
    """N runs of H steps, none of which crosses a reset; they overlap. Arrays of numpy or jax.

    Attributes:
        state: flat observations s_0 ... s_H.
        action: flat actions; the h-th leads from s_h to s_{h+1}.
        reward: rewards; the h-th is received on arrival at s_{h+1}.
        episode: which episode each window came from.
    """

    state: Float[Array | np.ndarray, "n horizon_plus_1 state"]
    action: Float[Array | np.ndarray, "n horizon action"]
    reward: Float[Array | np.ndarray, "n horizon"]
    episode: Int[Array | np.ndarray, " n"]

    def __len__(self) -> int:
        return self.state.shape[0]


def cut_transitions(episodes: Any) -> Transitions:
    """Every step of some `Episodes` that does not cross a reset, in order."""
    now = np.flatnonzero(~episodes.is_last)
    return Transitions(
        state=episodes.observation[now],
        action=episodes.action[now],
        reward=episodes.reward[now + 1],
        discount=1.0 - episodes.is_terminal[now + 1].astype(np.float32),
        next_state=episodes.observation[now + 1],
        episode=_episode_of(episodes)[now],
    )


def cut_windows(episodes: Any, length: int, stride: int) -> Windows:
    """Runs of `length` steps of some `Episodes`, from every `stride`-th step of each episode."""
    if length < 1 or stride < 1:
        raise ValueError(f"length and stride must be at least 1, got {length} and {stride}")
    longest = int(episodes.lengths.max()) - 1
    if longest < length:
        raise ValueError(f"length {length} exceeds the longest episode ({longest} transitions)")
    t, episode = np.arange(len(episodes.is_first)), _episode_of(episodes)
    step = t - np.flatnonzero(episodes.is_first)[episode]
    left = np.flatnonzero(episodes.is_last)[episode] - t
    start = np.flatnonzero((left >= length) & (step % stride == 0))
    steps = start[:, None] + np.arange(length)
    return Windows(
        state=episodes.observation[start[:, None] + np.arange(length + 1)],
        action=episodes.action[steps],
        reward=episodes.reward[steps + 1],
        episode=episode[start],
    )


def _episode_of(episodes: Any) -> np.ndarray:
    return np.cumsum(episodes.is_first) - 1
