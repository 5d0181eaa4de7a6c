"""What a user names: an environment by its id, something in a module of his by its path."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym


def make_env(env_id: str, **kwargs: Any) -> gym.Env:
    """`gymnasium.make`, with an error that says what was asked for.

    Of an id such as `my_worlds:Ball-v0` the module is imported first, which registers it; it is
    looked for in the current folder before anywhere else.

    Args:
        env_id: of Gymnasium.
        kwargs: for the environment.

    Raises:
        ValueError: there is no such environment or module, or it does not take these arguments.
    """
    try:
        with current_folder_first():
            return gym.make(env_id, **kwargs)
    except (gym.error.Error, ModuleNotFoundError, TypeError) as error:
        given = f" with {kwargs}" if kwargs else ""
        # What Gymnasium asks for, to install the package, would not help here.
        bundled = env_id.startswith("stochwm/") and isinstance(error, gym.error.NamespaceNotFound)
        why = "import stochwm.envs first, which registers the bundled worlds" if bundled else error
        raise ValueError(f"env_id {env_id!r} cannot be made{given}: {why}") from error


@contextlib.contextmanager
def current_folder_first() -> Iterator[None]:
    """Imports look there first: the command line of a package does not."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
