"""Numbers among the choices of an agent that make no sense, refused before anything is done."""

import math
from typing import Any


def check_numbers(config: Any, **least: int) -> None:
    """Raise `ValueError` where one is not finite, or below its least; NaN is both."""
    for name, number in least.items():
        value = getattr(config, name)
        if not number <= value < math.inf:
            raise ValueError(f"{name} must be finite and at least {number}, but is {value}.")


def check_shares(config: Any, *names: str) -> None:
    """Raise `ValueError` where one is no share from 0 to 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must be from 0 to 1, but is {getattr(config, name)}.")
