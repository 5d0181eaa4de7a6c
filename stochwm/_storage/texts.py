"""Text files that appear whole or not at all."""

import os
from pathlib import Path


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file through a temporary name, which is then renamed into place."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
