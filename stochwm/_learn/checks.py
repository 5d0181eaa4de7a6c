"""Choices that cannot work, found before a run folder is made or anything is collected."""

import contextlib

import gymnasium

from .. import envs as envs  # registers the bundled worlds
from ..data import flat_space, load_policy
from .config import LearnConfig
from .kernels import family_of


def check_choices(config: LearnConfig) -> None:
    """Whether environment, spaces, family and policy exist and fit together.

    Raises:
        ValueError: no such environment or policy, or a family that does not fit the observations.
        TypeError: a space that has no flat encoding, or a policy that is no function.
    """
    try:
        env = gymnasium.make(config.env_id)
    except gymnasium.error.Error as error:
        raise ValueError(f"env_id {config.env_id!r} cannot be made: {error}") from error
    with contextlib.closing(env):
        family_of(config, flat_space(env.observation_space))
        flat_space(env.action_space, "action")
    if config.policy != "random":
        load_policy(config.policy)
