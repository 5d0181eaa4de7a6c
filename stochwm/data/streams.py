"""What one environment has lived through so far, as rows in the time convention."""

import numpy as np

from .episodes import Episodes
from .spaces import FlatSpace


class Stream:
    """Records `quota` transitions of one environment, and closes the last episode when it is full.

    A row is written when its action is known; the last row of an episode has action 0.
    """

    def __init__(
        self, index: int, quota: int, observation_space: FlatSpace, action_space: FlatSpace
    ):
        self.index, self.quota, self.transitions = index, quota, 0
        self._spaces = {"observation_space": observation_space, "action_space": action_space}
        # Every episode has a transition, so rows <= 2 quota; untouched pages cost no memory.
        rows = 2 * quota
        self._observation = np.empty((rows, observation_space.size), np.float32)
        self._action = np.zeros((rows, action_space.size), np.float32)
        self._reward = np.zeros(rows, np.float32)
        self._flags = np.zeros((3, rows), bool)  # is_first, is_last, is_terminal
        self._rows = self._episode = self._step = 0

    @property
    def full(self) -> bool:
        """Whether the quota is reached."""
        return self.transitions == self.quota

    @property
    def fresh(self) -> bool:
        """Whether the current episode has no transition yet."""
        return self._step == 0

    @property
    def place(self) -> str:
        """Where the environment is, for people."""
        return f"environment {self.index}, episode {self._episode}, step {self._step}"

    def begin(self, observation: np.ndarray) -> None:
        """Take an observation as the first of the next episode."""
        self._check("observation", observation)
        self._now, self._arrival = observation, 0.0

    def step(
        self, action: np.ndarray, observation: np.ndarray, reward: float, over: bool, terminal: bool
    ) -> None:
        """Add the transition from the current observation to the given one."""
        self._write(action, last=False, terminal=False)
        self._step += 1
        self.transitions += 1
        self._now, self._arrival = observation, reward
        if over or self.full:
            self._end(terminal)

    def check_arrival(self, observation: np.ndarray, reward: float) -> None:
        """Raise `ValueError` for NaN or infinity in what an environment returned."""
        self._check("observation", observation, ahead=1)
        self._check("reward", np.asarray(reward), ahead=1)

    def episodes(self) -> Episodes | None:
        """All that was recorded, an unfinished episode closed as truncated; None for nothing."""
        if not self.fresh:
            self._end(terminal=False)
        rows = slice(0, self._rows)
        if not self._rows:
            return None
        parts = self._observation[rows], self._action[rows], self._reward[rows]
        return Episodes(*parts, *self._flags[:, rows], **self._spaces)

    def _end(self, terminal: bool) -> None:
        self._write(0.0, last=True, terminal=terminal)
        self._episode, self._step = self._episode + 1, 0

    def _write(self, action: np.ndarray | float, last: bool, terminal: bool) -> None:
        row, self._rows = self._rows, self._rows + 1
        self._observation[row], self._action[row] = self._now, action
        self._reward[row] = self._arrival
        self._flags[:, row] = (self.fresh, last, terminal)

    def _check(self, what: str, values: np.ndarray, ahead: int = 0) -> None:
        if not np.isfinite(values).all():
            raise ValueError(
                f"{what} is {values} in environment {self.index}, episode {self._episode}, "
                f"step {self._step + ahead}, expected finite numbers"
            )
