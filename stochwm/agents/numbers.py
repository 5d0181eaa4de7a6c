"""Numbers among the choices of an agent that make no sense, refused before anything is done."""

from typing import Any


def check_numbers(config: Any, **least: int) -> None:
    """Raise `ValueError` where one is below its least, or NaN."""
    for name, number in least.items():
        if not getattr(config, name) >= number:
            raise ValueError(f"{name} must be at least {number}, but is {getattr(config, name)}.")


def check_shares(config: Any, *names: str) -> None:
    """Raise `ValueError` where one is no share from 0 to 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must be from 0 to 1, but is {getattr(config, name)}.")


def check_config(config: Any, kind: type, example: str) -> None:
    """Raise `TypeError` for a preset that was not called, or its name, in place of choices."""
    if not isinstance(config, kind):
        came = f"the function {config.__name__}" if hasattr(config, "__name__") else repr(config)
        raise TypeError(f"config must be a {kind.__name__}, such as {example}, but is {came}.")
