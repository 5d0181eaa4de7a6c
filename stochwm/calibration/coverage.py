"""How often what happened lies inside predicted intervals and regions."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def covered(
    samples: Float[Array, "samples dim"], value: Float[Array, " dim"], level: float = 0.9
) -> Bool[Array, " dim"]:
    """Whether `value` lies in the central interval of mass `level`, for each dimension, `[dim]`.

    The closed interval between the k-th smallest and the k-th largest sample. Another draw of the
    same law falls outside with probability 2 k / (samples + 1), so k is the whole number that makes
    this most nearly `1 - level`; over an atom the interval covers more.

    Raises:
        ValueError: a level outside [0, 1].
    """
    checked_levels("level", level)
    number = samples.shape[0]
    k = max(1, round((1 - level) / 2 * (number + 1)))
    # By counting, not by sorting, and in whole numbers, which no rounding moves over the edge.
    not_above = jnp.sum(samples <= value, axis=0)
    below = jnp.sum(samples < value, axis=0)
    return (not_above >= k) & (below <= number - k)


def central_level(
    pit_values: Float[Array | np.ndarray, "*shape"],
) -> Float[Array | np.ndarray, "*shape"]:
    """Mass of the smallest central interval that reaches each value, from its PIT: `|2 u - 1|`.

    At an atom it inherits the randomisation of `pit`, so that it is uniform if the prediction is
    right: an interval that ends at an atom covers a random part of it.
    """
    return abs(2 * pit_values - 1)


def coverage(
    pit_values: Float[Array | np.ndarray, "steps *dim"],
    levels: Float[Array | np.ndarray, " levels"],
) -> Float[np.ndarray, "levels *dim"]:
    """How often central intervals contain what happened, `[levels]` or `[levels, dim]`.

    Args:
        pit_values: values of `pit`, `[steps]` or `[steps, dim]`.
        levels: masses of intervals, in [0, 1].

    Raises:
        ValueError: values or levels outside [0, 1], NaN included, or none at all.
    """
    levels = checked_levels("levels", levels)
    reached = np.asarray(central_level(checked_levels("pit_values", pit_values)))
    return np.stack([np.mean(reached <= level, axis=0) for level in levels])


def checked_levels(name: str, values: object) -> np.ndarray:
    """The values in double precision.

    Raises:
        ValueError: no value, or one outside [0, 1], NaN included.
    """
    array = np.asarray(values, float)
    bad = ~((array >= 0) & (array <= 1))
    if array.size == 0 or bad.any():
        found = f"{bad.sum()} of {array.size} are not, such as {array[bad][:1]}"
        raise ValueError(f"{name} must hold numbers in [0, 1], but {found}.")
    return array
