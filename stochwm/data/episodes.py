"""Real experience: whole episodes as one flat stream on the host."""

import os
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float32, Int

from .._storage import StorageError, load_metadata, load_tree, save_tree
from . import checks
from .spaces import FlatSpace
from .views import Transitions, Windows, cut_transitions, cut_windows

_ARRAYS = ("observation", "action", "reward", "is_first", "is_last", "is_terminal")


class Episodes(eqx.Module):
    """Concatenated whole episodes, each with at least one transition, as numpy arrays.

    Index t holds the observation, the reward received on arrival at it (0 at a first step), the
    flags, and the action chosen at it (zeros at a last step, where none is chosen).

    Attributes:
        observation: flat observations.
        action: flat actions.
        reward: rewards on arrival.
        is_first: an episode starts here.
        is_last: an episode ends here, by termination, truncation or because collection stopped.
        is_terminal: true termination: the value of what follows is 0.
        observation_space: what the entries of an observation mean.
        action_space: what the entries of an action mean.

    Raises:
        TypeError: an array has the wrong dtype. Numbers are cast to float32, flags must be bool.
        ValueError: wrong or unequal shapes, no data, NaN or infinity (the message names episode
            and step), a block that is not one-hot, an action outside its space, a reward at a
            first step, or flags that contradict each other.
    """

    observation: Float32[np.ndarray, "n observation"]
    action: Float32[np.ndarray, "n action"]
    reward: Float32[np.ndarray, " n"]
    is_first: Bool[np.ndarray, " n"]
    is_last: Bool[np.ndarray, " n"]
    is_terminal: Bool[np.ndarray, " n"]
    observation_space: FlatSpace = eqx.field(static=True)
    action_space: FlatSpace = eqx.field(static=True)

    def __init__(
        self,
        observation: Any,
        action: Any,
        reward: Any,
        is_first: Any,
        is_last: Any,
        is_terminal: Any,
        *,
        observation_space: FlatSpace,
        action_space: FlatSpace,
    ):
        self.observation_space = observation_space
        self.action_space = action_space
        self.observation = checks.numbers("observation", observation, observation_space.size)
        self.action = checks.numbers("action", action, action_space.size)
        self.reward = checks.numbers("reward", reward, ndim=1)
        self.is_first = checks.flags("is_first", is_first)
        self.is_last = checks.flags("is_last", is_last)
        self.is_terminal = checks.flags("is_terminal", is_terminal)
        checks.check_lengths({name: getattr(self, name) for name in _ARRAYS})
        self.action[self.is_last] = 0.0  # ignored there, so whatever came must not be seen
        self.validate()

    def validate(self) -> None:
        """Check flags and values; the constructor does. Raises as it does."""
        first, acted = self.is_first, ~self.is_last
        checks.check_flags(first, self.is_last, self.is_terminal)
        for name in ("observation", "action", "reward"):
            checks.check_values(name, getattr(self, name), first)
        checks.check_first_rewards(self.reward, first)
        checks.check_one_hot("observation", self.observation_space, self.observation, first)
        checks.check_one_hot("action", self.action_space, self.action[acted], first[acted])
        checks.check_bounds("action", self.action_space, self.action[acted], first[acted])

    @property
    def num_episodes(self) -> int:
        """How many episodes."""
        return int(self.is_first.sum())

    @property
    def num_transitions(self) -> int:
        """How many transitions, over all episodes."""
        return len(self.is_first) - self.num_episodes

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Observations per episode: one more than its transitions."""
        return np.flatnonzero(self.is_last) - np.flatnonzero(self.is_first) + 1

    def episode(self, index: int) -> "Episodes":
        """One episode. `IndexError` outside [-num_episodes, num_episodes)."""
        if not -self.num_episodes <= index < self.num_episodes:
            raise IndexError(f"episode {index} of {self.num_episodes}")
        return self.select([index % self.num_episodes])

    def select(self, indices: Sequence[int] | np.ndarray) -> "Episodes":
        """Some episodes, in the given order.

        Args:
            indices: numbers of episodes; or a mask, one bool an episode.

        Raises:
            IndexError: an index outside [0, num_episodes), or a mask of another length.
            TypeError: neither whole numbers nor bools.
            ValueError: no index at all.
        """
        starts, lengths = np.flatnonzero(self.is_first), self.lengths
        picked = checks.indices(indices, self.num_episodes)
        parts = [np.arange(starts[i], starts[i] + lengths[i]) for i in picked]
        rows = np.concatenate([np.arange(0), *parts])
        return self._replace({name: getattr(self, name)[rows] for name in _ARRAYS})

    def split(self, fractions: Sequence[float], *, seed: int) -> tuple["Episodes", ...]:
        """Divide whole episodes at random, for instance into train, validation and test.

        Args:
            fractions: share of the episodes that each part gets; positive, with sum 1. Every part
                gets at least one episode.
            seed: in [0, 2**32).

        Raises:
            ValueError: bad fractions or seed, or fewer episodes than parts.
        """
        shares = np.asarray(fractions, float)
        if shares.ndim != 1 or not (shares > 0).all() or not np.isclose(shares.sum(), 1.0):
            raise ValueError(f"fractions must be positive and sum to 1, got {fractions}")
        if self.num_episodes < len(shares):
            raise ValueError(
                f"{self.num_episodes} episode{'s'[: self.num_episodes != 1]} cannot be split into "
                f"{len(shares)} parts; collect more steps, or end episodes sooner "
                "(max_episode_steps= of gymnasium.make): an episode is never divided"
            )
        order = np.random.default_rng(checks.checked_seed(seed)).permutation(self.num_episodes)
        ends = np.cumsum(_apportion(shares, self.num_episodes))
        return tuple(self.select(np.sort(part)) for part in np.split(order, ends[:-1]))

    def transitions(self) -> Transitions:
        """Every step that does not cross a reset, in order."""
        return cut_transitions(self)

    def windows(self, length: int, stride: int = 1) -> Windows:
        """Runs of `length` steps inside one episode, starting at every `stride`-th step of it.

        Raises:
            ValueError: `length` or `stride` is below 1, or no episode has `length` transitions.
        """
        return cut_windows(self, length, stride)

    @staticmethod
    def concatenate(parts: Sequence["Episodes"]) -> "Episodes":
        """Join the episodes of several collections, in order.

        Raises:
            ValueError: no part, or parts with different spaces.
        """
        if not parts:
            raise ValueError("concatenate needs at least one Episodes, got none")
        for i, part in enumerate(parts):
            for name in ("observation_space", "action_space"):
                if getattr(part, name) != getattr(parts[0], name):
                    raise ValueError(
                        f"part {i} has another {name} than part 0: {getattr(part, name)} instead "
                        f"of {getattr(parts[0], name)}"
                    )
        joined = {name: [getattr(part, name) for part in parts] for name in _ARRAYS}
        return parts[0]._replace({name: np.concatenate(x) for name, x in joined.items()})

    def save(self, path: str | os.PathLike) -> None:
        """Write as a folder (see `stochwm._storage`). `OSError` when the disk is full."""
        spaces = {"observation": self.observation_space, "action": self.action_space}
        metadata = {
            "kind": "Episodes",
            "length": len(self.is_first),
            "spaces": {name: space.to_json() for name, space in spaces.items()},
        }
        save_tree(path, {name: getattr(self, name) for name in _ARRAYS}, metadata)

    @staticmethod
    def load(path: str | os.PathLike) -> "Episodes":
        """Read what `save` wrote; `StorageError` if it is damaged or something else."""
        metadata = load_metadata(path)
        if metadata.get("kind") != "Episodes":
            raise StorageError(f"{path} does not hold Episodes; its metadata is {metadata}")
        try:
            spaces = {name: FlatSpace.from_json(x) for name, x in metadata["spaces"].items()}
            observation, action = spaces["observation"], spaces["action"]
            like = _blank(metadata["length"], observation.size, action.size)
            arrays = load_tree(path, like)
            return Episodes(**arrays, observation_space=observation, action_space=action)
        except StorageError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{path} does not hold whole Episodes: {error!r}") from error

    def _replace(self, arrays: dict[str, np.ndarray]) -> "Episodes":
        spaces = {"observation_space": self.observation_space, "action_space": self.action_space}
        return Episodes(**arrays, **spaces)


def _blank(n: int, observation: int, action: int) -> dict[str, np.ndarray]:
    """Arrays of the right shapes and types that take no memory."""
    shapes = {"observation": (n, observation), "action": (n, action), "reward": (n,)}
    return {
        name: np.broadcast_to(
            np.float32(0) if name in shapes else np.False_, shapes.get(name, (n,))
        )
        for name in _ARRAYS
    }


def _apportion(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers with the given sum, at least 1 each, nearest to the shares."""
    counts = np.ones(len(shares), int)
    while counts.sum() < total:
        counts[np.argmax(shares * total - counts)] += 1
    return counts
