"""The error of an agent whose losses are no numbers any more."""

import os

import numpy as np

from .._storage import latest_step


class AgentDiverged(RuntimeError):
    """A loss or a gradient became NaN or infinite.

    Attributes:
        env_steps: steps of the environment that were done by then.
        names: which quantities of the history.
        checkpoint: the number of the last checkpoint, made before; None where none was kept.
    """

    def __init__(self, env_steps: int, names: list[str], folder: str | os.PathLike | None = None):
        """Make the error; `folder` is where checkpoints are."""
        self.env_steps, self.names = env_steps, names
        self.checkpoint = None if folder is None else latest_step(folder)
        kept = (
            "No checkpoint was kept."
            if self.checkpoint is None
            else f"Checkpoint {self.checkpoint} in {folder} is from before."
        )
        super().__init__(
            f"{', '.join(names)} became NaN or infinite before environment step {env_steps}. "
            f"{kept} Look for rewards or observations without bounds, or lower the learning rate."
        )


def check_row(row: dict[str, float | int | None], folder: str | os.PathLike | None = None) -> None:
    """Raise `AgentDiverged` where a number in a row of a history is not finite."""
    bad = [name for name, value in row.items() if value is not None and not np.isfinite(value)]
    if bad:
        raise AgentDiverged(int(row["env_steps"] or 0), bad, folder)
