"""Choices that cannot work, found before a run folder is made or anything is collected."""

import contextlib

from ..data import flat_space, load_policy
from .config import LearnConfig
from .kernels import family_of
from .worlds import env_of


def check_choices(config: LearnConfig) -> None:
    """Whether environment, spaces, family and policy exist and fit together.

    Raises:
        ValueError: no such environment or policy, or a family that does not fit the observations.
        TypeError: a space that has no flat encoding, or a policy that is no function.
    """
    with contextlib.closing(env_of(config)) as env:
        family_of(config, flat_space(env.observation_space))
        flat_space(env.action_space, "action")
    if config.policy != "random":
        load_policy(config.policy)
