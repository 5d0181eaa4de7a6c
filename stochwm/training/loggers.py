"""Where training metrics go: any function of one row will do."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""Metrics by name, among them `step`: ints, floats, and None for what is not a finite number."""
Logger = Callable[[Row], None]
"""`log(row)`."""


class JsonlLogger:
    """Appends one JSON object a row to a file, which is complete after every row."""

    def __init__(self, path: str | os.PathLike):
        """Log to `path`; its folder is made, and rows are added to what is there."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, row: Row) -> None:
        line = json.dumps(row, allow_nan=False) + "\n"
        with self.path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:  # a full disk or a killed process may have left half a row
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())


class TensorBoardLogger:
    """Writes every number of a row, but no None, as a TensorBoard scalar (extra `tensorboard`)."""

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
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
