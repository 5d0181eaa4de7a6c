"""Choices as flat tables, so that a run can tell whether it goes on with its own."""

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Choice = str | int | float | bool | None
SHOWN = 3


def choices_of(value: Any, name: str = "", within: tuple[Any, ...] = ()) -> dict[str, Choice]:
    """Every choice inside a value by its dotted name, as JSON can hold it.

    Dataclasses, dicts, lists, partial functions, methods, and functions that hold on to values or
    have defaults are taken apart; other functions and classes stand for themselves by their names,
    arrays and random keys by a checksum. Of what a function does nothing is seen: two versions of
    one name are the same choice.

    Args:
        value: what was chosen.
        name: of it, for the names of its parts.
        within: what it is a part of: a function that calls itself holds on to itself.
    """
    parts = None if any(value is outer for outer in within) else _parts(value)
    if parts is None:
        return {name: _leaf(value)}
    joined = ((f"{name}.{key}" if name else str(key), part) for key, part in parts.items())
    within = (*within, value)
    return {k: v for path, part in joined for k, v in choices_of(part, path, within).items()}


def differences(kept: dict[str, Choice], asked: dict[str, Choice]) -> str:
    """Which entries differ, in words; empty where none does."""
    told = [(_told(kept, name), _told(asked, name), name) for name in {**kept, **asked}]
    said = [f"{name} {was}, not {now}" for was, now, name in told if was != now]
    return "; ".join(said[:SHOWN] + [f"and {len(said) - SHOWN} more"] * (len(said) > SHOWN))


def _told(choices: dict[str, Choice], name: str) -> str:
    return repr(choices[name]) if name in choices else "nothing"


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """What a value is made of, by name; None where it is one choice."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"type": type(value)} | fields
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if isinstance(value, partial):
        return {"function": value.func} | dict(enumerate(value.args)) | value.keywords
    if inspect.ismethod(value):
        return {"function": value.__func__, "self": value.__self__}
    held = _held(value) if inspect.isfunction(value) else {}
    return {"function": _name(value), **held} if held else None


def _held(function: Any) -> dict[str, Any]:
    """The values that a function closes over, and those of arguments that nobody has to give."""
    arguments = inspect.signature(function).parameters.values()
    defaults = {one.name: one.default for one in arguments if one.default is not one.empty}
    return {**defaults, **inspect.getclosurevars(function).nonlocals}


def _leaf(value: Any) -> Choice:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return f"{value.dtype} {_leaf(jax.random.key_data(value))}"
        array = np.asarray(value)
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:12]
        return array.item() if array.ndim == 0 else f"{array.dtype}{array.shape} {digest}"
    return _name(value if hasattr(value, "__qualname__") else type(value))


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
