"""Numbers that count something, as callers pass them."""

import operator
from typing import Any

import numpy as np


def checked_count(name: str, value: Any) -> int:
    """A count of at least 1, of Python or numpy, as an int of Python.

    Raises:
        ValueError: anything else, a bool among it; the message has the name.
    """
    try:
        count = 0 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{name} must be a whole number, at least 1, but is {value!r}.")
    return count
