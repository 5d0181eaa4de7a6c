"""Choices that cannot work, found before a run folder is made or anything is collected."""

import contextlib

from ..data import Episodes, flat_space, load_policy
from .config import FRACTIONS, LearnConfig
from .kernels import family_of
from .recorded import recorded
from .worlds import bundled_world, env_of, refuse_an_id


def check_choices(config: LearnConfig) -> None:
    """Whether environment or data, spaces, family and policy exist and fit together.

    Raises:
        ValueError: no such environment, data or policy, too few episodes, or a family that does not
            fit the observations.
        TypeError: an id in place of choices, a space that has no flat encoding, or a policy that is
            no function.
        StorageError: damaged data.
        ImportError: data of an extra that is not installed.
    """
    refuse_an_id(config)  # before its fields are read
    if config.data is None:
        with contextlib.closing(env_of(config)) as env:
            family_of(config, flat_space(env.observation_space))
            flat_space(env.action_space, "action")
    else:
        episodes = recorded(config.data)
        family_of(config, episodes.observation_space)
        episodes.split(FRACTIONS, seed=config.seed)
        if bundled_world(config) is not None:
            _check_recorded_from(config, episodes)
    if config.policy != "random":
        load_policy(config.policy)


def _check_recorded_from(config: LearnConfig, episodes: Episodes) -> None:
    """Whether data have the spaces of the world by whose law their model is going to be judged."""
    with contextlib.closing(env_of(config)) as env:
        spaces = flat_space(env.observation_space), flat_space(env.action_space, "action")
    if (episodes.observation_space, episodes.action_space) != spaces:
        raise ValueError(
            f"the data in {config.data!r} do not have the spaces of {config.env_id}, whose law the "
            "model would be compared with: give the world another name."
        )
