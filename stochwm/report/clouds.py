"""Clouds of particles over the horizon: checks, ranges, and shares by step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import checks

_AXES = "[particles, horizon + 1, dim]"


def check_futures(
    imagined: Mapping[str, Any], real: Any, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Imagined clouds and real futures as arrays of one horizon and one state.

    Raises:
        ValueError, TypeError: naming the argument.
    """
    clouds = checks.arrays("imagined", imagined, 3, _AXES, nan=True)
    real = checks.array("real", real, 3, "[futures, horizon + 1, dim]", nan=True)
    shapes = {f"imagined[{k!r}]": v.shape[1:] for k, v in clouds.items()} | {"real": real.shape[1:]}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"imagined and real must share [horizon + 1, dim], but theirs are {shapes}."
        )
    checks.check_names(names, real.shape[-1])
    return clouds, real


def most_varied(clouds: dict[str, np.ndarray], count: int) -> tuple[int, ...]:
    """By the variance over particles, averaged over steps, of the model that is surest of it.

    The surest, because a baseline that explodes in one dimension must not choose what is shown.
    """
    spread = np.min([np.nanmean(_variance(cloud), axis=0) for cloud in clouds.values()], axis=0)
    return checks.largest(spread, count)


def _variance(cloud: np.ndarray) -> np.ndarray:
    """Over particles that have not ended, `[horizon + 1, dim]`; 0 where none is left."""
    alive = ~np.isnan(cloud)
    count = np.maximum(alive.sum(axis=0), 1)
    mean = np.where(alive, cloud, 0.0).sum(axis=0) / count
    return np.where(alive, (cloud - mean) ** 2, 0.0).sum(axis=0) / count


def limits(clouds: Mapping[str, np.ndarray], real: np.ndarray) -> tuple[float, float]:
    """One range for all: every real value, and what fits of the particles.

    A model that explodes gets at most half the width of the others on each side.
    """
    values = {label: cloud[~np.isnan(cloud)] for label, cloud in clouds.items()}
    ends = {label: np.quantile(v, [0.003, 0.997]) for label, v in values.items()}
    low, high = np.nanmin(real), np.nanmax(real)
    width = max(high - low, min(end[1] - end[0] for end in ends.values()))
    alone = len(clouds) == 1 and high == low  # nothing to be compared with
    if width > 0 and not alone:
        bottom, top = low - 0.5 * width, high + 0.5 * width
    else:
        bottom, top = -np.inf, np.inf
    lows, highs = zip(*ends.values(), strict=True)
    return checks.padded(
        float(min(low, max(min(lows), bottom))), float(max(high, min(max(highs), top)))
    )


def shares_by_step(cloud: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """`[steps, bins]`: the share of the particles that are left at a step which lie in each bin."""
    counts = np.stack([np.histogram(at[~np.isnan(at)], edges)[0] for at in cloud.T])
    return counts / np.maximum((~np.isnan(cloud)).sum(axis=0), 1)[:, None]
