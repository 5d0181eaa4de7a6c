"""Minari data sets in and out; an extra, imported only when called. Nothing is downloaded.

A Minari episode of T steps has T + 1 observations and T actions, rewards and flags: rewards[t]
follows actions[t], so it is received on arrival at observations[t + 1].
"""

import contextlib
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np

from .arrays import from_arrays
from .codec import unflatten_value
from .episodes import Episodes
from .named import make_env
from .spaces import flat_space


def from_minari(dataset: Any) -> Episodes:
    """Convert a Minari data set.

    Args:
        dataset: a `minari.MinariDataset`, or the id of one that lies in the local store
            (`MINARI_DATASETS_PATH`, by default `~/.minari/datasets`).

    Raises:
        ImportError: minari is not installed.
        FileNotFoundError: the store holds no data set with this id.
        TypeError: its spaces are not supported.
        ValueError: no episode, an episode that goes on after its end, or bad values.
    """
    minari = _minari()
    dataset = minari.load_dataset(dataset) if isinstance(dataset, str) else dataset
    episodes = list(dataset)
    if not episodes:
        raise ValueError(f"Minari data set {dataset} holds no episode")
    for episode in episodes:
        _check_end(episode)
    return from_arrays(
        [episode.observations for episode in episodes],
        [episode.actions for episode in episodes],
        [episode.rewards for episode in episodes],
        [episode.terminations[-1] for episode in episodes],
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
    )


def to_minari(
    episodes: Episodes, dataset_id: str, *, env: gym.Env | str, **description: Any
) -> Any:
    """Write episodes as a new Minari data set in the local store.

    Args:
        episodes: what to write; observations and actions are decoded into the spaces of `env`.
        dataset_id: `namespace/name-v0`; it must be new.
        env: the environment that the episodes come from, or its registered id.
        **description: further arguments of `minari.create_dataset_from_buffers`, such as
            `author`, `description`, `algorithm_name`, `data_format`.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        ImportError: minari is not installed.
        ValueError: the id is taken or malformed, or the spaces of `env` are not those of the data.
    """
    minari = _minari()
    with _opened(env) as opened:
        _check_spaces(episodes, opened)
        parts = (episodes.episode(i) for i in range(episodes.num_episodes))
        buffers = [_to_buffer(minari, part, opened) for part in parts]
        with warnings.catch_warnings():  # one for each description that was not given
            warnings.simplefilter("ignore", UserWarning)
            return minari.create_dataset_from_buffers(dataset_id, buffers, opened, **description)


def _check_end(episode: Any) -> None:
    over = np.asarray(episode.terminations) | np.asarray(episode.truncations)
    if over[:-1].any():
        raise ValueError(
            f"Minari episode {episode.id} ends at step {int(np.argmax(over))} but has "
            f"{len(over)} steps"
        )


def _to_buffer(minari: ModuleType, part: Episodes, env: gym.Env) -> Any:
    steps = len(part.reward) - 1
    terminated = np.zeros(steps, bool)
    terminated[-1] = part.is_terminal[-1]
    truncated = np.zeros(steps, bool)
    truncated[-1] = not part.is_terminal[-1]
    return minari.data_collector.EpisodeBuffer(
        observations=unflatten_value(env.observation_space, part.observation),
        actions=unflatten_value(env.action_space, part.action[:-1]),
        rewards=list(part.reward[1:]),
        terminations=list(terminated),
        truncations=list(truncated),
        infos={},
    )


def _check_spaces(episodes: Episodes, env: gym.Env) -> None:
    pairs = {
        "observation": (episodes.observation_space, flat_space(env.observation_space)),
        "action": (episodes.action_space, flat_space(env.action_space, "action")),
    }
    for name, (came, expected) in pairs.items():
        if came != expected:
            raise ValueError(
                f"the {name} space of the episodes is {came}, expected that of env, {expected}"
            )


@contextlib.contextmanager
def _opened(env: gym.Env | str) -> Iterator[gym.Env]:
    if not isinstance(env, str):
        yield env
        return
    with contextlib.closing(make_env(env)) as made:
        yield made


def _minari() -> ModuleType:
    try:
        import minari
        import minari.data_collector
    except ImportError as error:
        raise ImportError(
            f"Minari data sets need an extra: pip install 'stochwm[data]' ({error})"
        ) from error
    return minari
