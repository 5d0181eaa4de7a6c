"""The two files of a saved folder, read with distrust."""

import hashlib
import importlib.metadata
import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy as st

from .errors import StorageError
from .folders import ARRAYS, MANIFEST, write_file

FORMAT = 2
"""Of what is saved, and of what its arrays mean: since 2 the outputs of `MixtureDensity` stand in
one block a kind."""
_FIELDS = {
    "arrays_bytes": int,
    "arrays_sha256": str,
    "views": dict,
    "keys": dict,
    "scalars": dict,
    "metadata": dict,
}
_LATER = {"statics": dict}  # fields that files of this format may lack
# Bytes. A manifest holds scalars and metadata, not data, and JSON takes up to 30 times its size.
_MANIFEST_LIMIT = 2**24
# A file may be larger than what is to be loaded, so that a tree which does not fit is still named
# leaf by leaf; but not so large that reading it takes the memory that other work needs.
_SPARE_BYTES, _SPARE_FACTOR = 2**26, 2


def write(folder: Path, arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> None:
    """Write both files into an empty folder; `notes` goes into the manifest."""
    blob = st.save(arrays)
    body = {
        "format": FORMAT,
        "library": library_version(),
        "arrays_bytes": len(blob),
        "arrays_sha256": hashlib.sha256(blob).hexdigest(),
        **notes,
    }
    manifest = _write_json(body)
    write_file(folder / ARRAYS, blob)
    write_file(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a saved folder, checked for format, checksum and completeness."""
    text = _read_bytes(folder / MANIFEST, _MANIFEST_LIMIT)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{folder / MANIFEST} is not JSON ({error}): truncated, altered, or of another "
            "program. Restore the folder from a copy."
        ) from error
    if not isinstance(body, dict) or not isinstance(body.get("format"), int):
        raise StorageError(
            f"{folder} was not written by stochwm: its manifest has no format number"
        )
    if body["format"] != FORMAT:
        raise StorageError(
            f"{folder} has format {body['format']}, written by stochwm {body.get('library')}; this "
            f"is stochwm {library_version()}, which reads format {FORMAT}. Use the other version."
        )
    checksum = body.pop("checksum", None)
    complete = all(isinstance(body.get(name), kind) for name, kind in _FIELDS.items())
    complete &= all(isinstance(body.get(name, kind()), kind) for name, kind in _LATER.items())
    if checksum != _digest(body) or not complete:
        raise StorageError(
            f"checksum mismatch in {folder / MANIFEST}: it was altered or damaged after saving. "
            "Restore the folder from a copy."
        )
    return body


def read_arrays(folder: Path, body: dict[str, Any], expected: int) -> dict[str, np.ndarray]:
    """The arrays of a saved folder, checked against its manifest.

    `expected` is how many bytes the arrays to be loaded take.
    """
    file = folder / ARRAYS
    limit = _SPARE_FACTOR * expected + _SPARE_BYTES
    if body["arrays_bytes"] > limit:
        raise StorageError(
            f"{file} should have {body['arrays_bytes']} bytes, but what is to be loaded takes "
            f"{expected}: it was saved from another tree, and is not read."
        )
    blob = _read_bytes(file, body["arrays_bytes"])
    if len(blob) != body["arrays_bytes"]:
        raise StorageError(
            f"{file} is truncated: {len(blob)} bytes, expected {body['arrays_bytes']}. "
            "Restore the folder from a copy."
        )
    if hashlib.sha256(blob).hexdigest() != body["arrays_sha256"]:
        raise StorageError(
            f"checksum mismatch in {file}: it was altered or damaged after saving. "
            "Restore the folder from a copy."
        )
    try:
        return st.load(blob)
    except Exception as error:  # safetensors' own error class is not a ValueError
        raise StorageError(f"{file} is not a readable safetensors file: {error}") from error


def _read_bytes(file: Path, limit: int) -> bytes:
    try:
        status = file.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):  # a device may give bytes without an end
            raise StorageError(f"{file} is not a regular file, and is not read")
        if size <= limit:
            with file.open("rb") as stream:
                return stream.read(limit + 1)  # it may have grown since
    except OSError as error:
        raise StorageError(
            f"{file} cannot be read ({error.strerror}); expected a folder with {MANIFEST} and "
            f"{ARRAYS}, as written by stochwm"
        ) from error
    raise StorageError(
        f"{file} has {size} bytes, expected at most {limit}; it was altered after saving and is "
        "not read. Restore the folder from a copy."
    )


def _write_json(body: dict[str, Any]) -> bytes:
    try:
        body = json.loads(
            json.dumps(body, default=_number)
        )  # what a reader will see is what is checksummed
        text = json.dumps({"checksum": _digest(body), **body}, indent=1).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise StorageError(
            f"metadata must hold only dicts, lists, strings, numbers, booleans and None: {error}"
        ) from error
    if len(text) > _MANIFEST_LIMIT:
        raise StorageError(
            f"metadata and scalars take {len(text)} bytes, at most {_MANIFEST_LIMIT} can be read "
            "again; store large things as arrays"
        )
    return text


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"got {value!r} of type {type(value).__name__}")


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def library_version() -> str:
    """The version of this library, "unknown" where it was never installed."""
    try:
        return importlib.metadata.version("stochwm")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
