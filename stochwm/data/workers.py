"""Environments in worker processes, which may die or hang: who did it is named."""

import multiprocessing
from collections.abc import Callable
from typing import Any

from gymnasium.vector import AsyncVectorEnv


class Workers:
    """An `AsyncVectorEnv` that names the environment which raised, died or did not answer.

    Only what collection uses. Without a timeout a worker that hangs is waited for, as Gymnasium
    does.
    """

    def __init__(self, env: AsyncVectorEnv, timeout: float | int | None):
        self._env, self._timeout = env, timeout
        self.num_envs = env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple:
        """As `AsyncVectorEnv.reset`."""
        send = lambda: self._env.reset_async(seed=seed, options=options)  # noqa: E731
        return self._call(send, self._env.reset_wait)

    def step(self, action: Any) -> tuple:
        """As `AsyncVectorEnv.step`."""
        return self._call(lambda: self._env.step_async(action), self._env.step_wait)

    def _call(self, send: Callable, wait: Callable) -> tuple:
        try:
            send()
            return wait(timeout=self._timeout)
        except Exception as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> Exception:
        """The error, saying whose it is."""
        pipes = self._env.parent_pipes
        # Gymnasium closes the pipe of whoever raised, and raises its error here, of any type.
        raised = [i for i, pipe in enumerate(pipes) if pipe is None]
        if raised:
            return RuntimeError(f"{_environment(raised)} raised {type(error).__name__}: {error}")
        if isinstance(error, multiprocessing.TimeoutError):
            silent = [i for i, pipe in enumerate(pipes) if not pipe.poll(0)]
            return TimeoutError(
                f"{_environment(silent)} did not answer within {self._timeout} seconds; end its "
                "process by env.close(terminate=True)"
            )
        if isinstance(error, EOFError | ConnectionError):
            dead = [i for i in range(self.num_envs) if not self._alive(i)]
            codes = sorted({str(self._env.processes[i].exitcode) for i in dead})
            return RuntimeError(
                f"the worker process of {_environment(dead)} died, with exit code "
                f"{', '.join(codes)}"
            )
        return error

    def _alive(self, i: int) -> bool:
        self._env.processes[i].join(timeout=1.0)  # the pipe closes a moment before it is gone
        return self._env.processes[i].is_alive()


def _environment(which: list[int]) -> str:
    return f"environment {', '.join(map(str, which))}"


def check_timeout(env: Any, timeout: float | int | None) -> None:
    """Raise `ValueError` for a timeout that cannot be kept."""
    if timeout is None:
        return
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")
    if not isinstance(env, AsyncVectorEnv):
        raise ValueError(
            f"timeout needs an environment in a process of its own, got {env}: a call inside this "
            "process cannot be interrupted. Use gymnasium.vector.AsyncVectorEnv([make_env])."
        )
