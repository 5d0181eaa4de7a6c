"""Where training metrics go: any function of one row will do."""

import json
import os
from collections.abc import Callable
from pathlib import Path

Row = dict[str, int | float]
"""Metrics by name, among them `step`."""
Logger = Callable[[Row], None]
"""`log(row)`."""


class JsonlLogger:
    """Appends one JSON object a row to a file, which is complete after every row."""

    def __init__(self, path: str | os.PathLike):
        """Log to `path`; its folder is made, and rows are added to what is there."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, row: Row) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class TensorBoardLogger:
    """Writes every number of a row as a TensorBoard scalar (extra `tensorboard`)."""

    def __init__(self, folder: str | os.PathLike):
        """Log to `folder`.

        Raises:
            ImportError: tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoardLogger needs tensorboardX: pip install 'stochwm[tensorboard]'."
            ) from error
        self._writer = SummaryWriter(os.fspath(folder))

    def __call__(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
