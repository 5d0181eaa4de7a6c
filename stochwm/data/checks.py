"""What every stream of episodes must satisfy; each message names what came and what to do."""

import operator
from typing import Any

import numpy as np

from .spaces import FlatSpace, out_of_bounds


def checked_seed(seed: Any) -> int:
    """The seed as an int; `ValueError` unless one in [0, 2**32), beyond which JAX keys repeat."""
    whole = hasattr(seed, "__index__") and not isinstance(seed, bool)
    if not whole or not 0 <= operator.index(seed) < 2**32:
        raise ValueError(f"seed must be an integer in [0, 2**32), but is {seed!r}.")
    return operator.index(seed)


def numbers(name: str, values: Any, columns: int | None = None, ndim: int = 2) -> np.ndarray:
    """`values` as float32 `[n, columns]` (None: any number; or `[n]` for ndim=1)."""
    form = "[n]" if ndim == 1 else f"[n, {'columns' if columns is None else columns}]"
    array = _as_array(name, values, form)
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers of shape {form}")
    if array.ndim != ndim or (columns is not None and array.shape[1] != columns):
        raise ValueError(f"{name} has shape {array.shape}, expected {form}")
    with np.errstate(over="ignore"):  # beyond float32 becomes inf, which is reported later
        return np.array(array, np.float32)


def flags(name: str, values: Any) -> np.ndarray:
    """`values` as bool `[n]`."""
    array = _as_array(name, values, "[n]")
    if array.dtype != np.bool_:
        raise TypeError(f"{name} has dtype {array.dtype}, expected bool")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected [n]")
    return np.array(array)


def indices(chosen: Any, number: int) -> list[int]:
    """Which of `number` episodes are meant, by their numbers or by a mask."""
    array = np.asarray(chosen if isinstance(chosen, np.ndarray) else list(chosen))
    if array.dtype == np.bool_:
        if array.shape != (number,):
            raise IndexError(f"a mask of {number} episodes must be [{number}], not {array.shape}")
        return np.flatnonzero(array).tolist()
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(
            f"indices of episodes have shape {array.shape} and dtype {array.dtype}, expected whole "
            "numbers [n]"
        )
    for i in array[(array < 0) | (array >= number)]:
        raise IndexError(f"episode {i} of {number}, expected 0 to {number - 1}")
    return array.tolist()


def check_lengths(arrays: dict[str, np.ndarray]) -> None:
    """All arrays have the same, positive length."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the arrays of episodes must have one length, got {lengths}")
    if not next(iter(lengths.values())):
        raise ValueError("episodes hold no data (length 0), expected at least one transition")


def check_flags(is_first: np.ndarray, is_last: np.ndarray, is_terminal: np.ndarray) -> None:
    """Episodes begin, end and follow each other as the time convention says."""
    if not is_first[0]:
        raise ValueError("is_first[0] is False; the data must start at the start of an episode")
    if not is_last[-1]:
        raise ValueError(
            "is_last[-1] is False; the data must end at the end of an episode "
            "(set is_last there and leave is_terminal False if it was cut off)"
        )
    wrong = np.flatnonzero(is_first[1:] != is_last[:-1])
    if wrong.size:
        t = int(wrong[0])
        raise ValueError(
            f"is_last[{t}] is {is_last[t]} but is_first[{t + 1}] is {is_first[t + 1]}; "
            "an episode starts exactly where the one before it has ended"
        )
    wrong = np.flatnonzero(is_terminal & ~is_last)
    if wrong.size:
        raise ValueError(f"is_terminal[{wrong[0]}] is True but is_last[{wrong[0]}] is False")
    wrong = np.flatnonzero(is_first & is_last)
    if wrong.size:
        raise ValueError(f"{place(is_first, int(wrong[0]))} has no transition: drop this episode")


def check_values(name: str, values: np.ndarray, is_first: np.ndarray) -> None:
    """No NaN and no infinity."""
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        t = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"{name} is {values[t]} in {place(is_first, t)}, expected finite numbers")


def check_first_rewards(reward: np.ndarray, is_first: np.ndarray) -> None:
    """0 at first steps, which catches rewards that were stored beside the action."""
    wrong = np.flatnonzero(is_first & (reward != 0))
    if wrong.size:
        t = int(wrong[0])
        raise ValueError(
            f"reward is {reward[t]} in {place(is_first, t)}, expected 0: reward[t] is received on "
            "arrival at observation[t]; shift rewards by one step"
        )


def check_one_hot(name: str, space: FlatSpace, values: np.ndarray, is_first: np.ndarray) -> None:
    """One-hot blocks are one-hot."""
    for start, size in space.groups:
        block = values[:, start : start + size]
        wrong = np.flatnonzero((block.max(axis=1) != 1) | (np.count_nonzero(block, axis=1) != 1))
        if wrong.size:
            t = int(wrong[0])
            raise ValueError(
                f"{name} is {block[t]} in {place(is_first, t)}, expected one-hot in the block "
                f"{space.names[start]} ... {space.names[start + size - 1]}"
            )


def check_bounds(name: str, space: FlatSpace, values: np.ndarray, is_first: np.ndarray) -> None:
    """No value outside the space."""
    low, high = np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)
    inside = ((low <= values) & (values <= high)).all(axis=1)
    if not inside.all():
        t = int(np.argmin(inside))
        fault = out_of_bounds(space, values[t])
        raise ValueError(f"{name} in {place(is_first, t)}: {fault}; clip it first")


def place(is_first: np.ndarray, t: int) -> str:
    """Where in the stream index `t` is, for people."""
    starts = np.flatnonzero(is_first[: t + 1])
    return f"episode {len(starts) - 1}, step {t - starts[-1]}"


def _as_array(name: str, values: Any, form: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is ragged ({error}), expected shape {form}") from error
