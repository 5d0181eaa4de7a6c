"""All diagnostics of a rollout, horizon by horizon."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from .coverage import central_level
from .pit import pit
from .pit_tests import PitTests, pit_tests
from .pre_ranks import average_rank, band_depth, joint_cdf, kernel_density, rank_of
from .reliability import LEVELS, Reliability, miscalibration_area, reliability
from .starts import MIN_STARTS, too_short

BATCH = 64  # clouds that are ranked at the same time: pairs of particles must fit
PRE_RANKS = {
    "average": average_rank,
    "band depth": band_depth,
    "density": kernel_density,
    "copula": joint_cdf,
}


@dataclasses.dataclass(frozen=True)
class HorizonDiagnosis:
    """Everything about one horizon.

    Attributes:
        horizon: steps ahead.
        episode: the episode of each start that lasted that long, `[starts]`.
        values: what is uniform under calibration: `"pit"`, `[starts, dim]`, and the rank of each
            pre-rank, `[starts]`.
        tests: of each of `values`; the serial test compares starts at least `horizon` steps apart.
        coverage: of central intervals, pooled over dimensions.
        area: the miscalibration area of the PIT values.
    """

    horizon: int
    episode: np.ndarray
    values: Mapping[str, np.ndarray]
    tests: Mapping[str, PitTests]
    coverage: Reliability
    area: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-able summary, without the single values; NaN becomes None."""
        return {
            "horizon": self.horizon,
            "starts": len(self.episode),
            "episodes": len(np.unique(self.episode)),
            "area": self.area,
            "coverage": {k: _plain(v.tolist()) for k, v in self.coverage._asdict().items()},
            "tests": {
                name: {kind: _plain(test._asdict()) for kind, test in tests._asdict().items()}
                for name, tests in self.tests.items()
            },
        }


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Is the predicted distribution right, at each horizon?

    Attributes:
        horizons: one entry a horizon.
        skipped: what could not be judged, and why.
    """

    horizons: tuple[HorizonDiagnosis, ...]
    skipped: tuple[str, ...] = ()

    def get(self, horizon: int) -> HorizonDiagnosis:
        """One horizon. `KeyError` when there is none; the message lists what there is."""
        for row in self.horizons:
            if row.horizon == horizon:
                return row
        raise KeyError(f"no horizon {horizon}; there are {[row.horizon for row in self.horizons]}")

    def to_json(self) -> dict[str, Any]:
        """A JSON-able summary, without the single values."""
        return {
            "horizons": [row.to_json() for row in self.horizons],
            "skipped": list(self.skipped),
        }

    def __str__(self) -> str:
        """A table for people: coverage, and p-values of the Cramer-von Mises and serial tests."""
        heads = ("50 %", "90 %", "area", "pit", "serial", *PRE_RANKS)
        titles = ("coverage", "", "", "p-values", *[""] * len(PRE_RANKS))
        lines = [_row(("", ""), titles), _row(("horizon", "n"), heads)]
        for row in self.horizons:
            inside = np.interp([0.5, 0.9], row.coverage.level, row.coverage.observed)
            p_value = {name: tests.cramer_von_mises.p_value for name, tests in row.tests.items()}
            of_ranks = [p_value[name] for name in PRE_RANKS]
            serial = row.tests["pit"].serial.p_value
            numbers = (*inside, row.area, p_value["pit"], serial, *of_ranks)
            lines.append(_row((row.horizon, len(row.episode)), [f"{x:.3f}" for x in numbers]))
        return "\n".join(lines + [f"skipped: {reason}" for reason in self.skipped])


def _row(first: Sequence[Any], cells: Sequence[str]) -> str:
    return "".join(f"{x:>8}" for x in first) + "".join(f"{x:>12}" for x in cells)


def diagnose(
    clouds: Float[Array | np.ndarray, "starts particles horizons dim"],
    futures: Float[Array | np.ndarray, "starts horizons dim"],
    mask: Shaped[Array | np.ndarray, "starts horizons"],
    episode: Int[np.ndarray, " starts"],
    *,
    horizons: Sequence[int],
    key: PRNGKeyArray,
    levels: Float[np.ndarray, " levels"] = LEVELS,
    seed: int = 0,
) -> Diagnosis:
    """Judge predicted clouds of futures by what really happened, at each horizon.

    `diagnose_model` makes the clouds of a model and calls this.

    Args:
        clouds: particles of each start, `[starts, particles, horizons, dim]`.
        futures: what happened, `[starts, horizons, dim]`.
        mask: whether the episode lasted that long, `[starts, horizons]`.
        episode: the episode of each start, `[starts]`; starts of one in the order of time.
        horizons: how many steps ahead each entry of the horizons axis is.
        key: breaks ties.
        levels: nominal levels of coverage.
        seed: for the resamples.

    Returns:
        A `Diagnosis`; horizons with fewer than 10 futures, or with futures that are not finite, are
        in `skipped`.

    Raises:
        ValueError: shapes that do not fit together, or a horizon below 1.
    """
    _check(clouds, futures, mask, episode, horizons)
    rows, skipped, lasted = [], [], {}
    mask = np.asarray(mask, bool)  # ones and zeros would be numbers of rows
    values = _values(jnp.asarray(clouds), jnp.asarray(futures), key)
    for i, horizon in enumerate(horizons):
        here = {name: array[mask[:, i], i] for name, array in values.items()}
        lasted[horizon] = int(mask[:, i].sum())
        if lasted[horizon] < MIN_STARTS:
            continue
        if bad := int(np.isnan(here["pit"]).any(axis=-1).sum()):
            skipped.append(f"horizon {horizon}: {bad} futures or clouds are not finite")
        else:
            rows.append(_at_horizon(horizon, episode[mask[:, i]], here, levels, seed))
    return Diagnosis(tuple(rows), (*too_short(lasted), *skipped))


def _values(clouds: Array, futures: Array, key: PRNGKeyArray) -> dict[str, np.ndarray]:
    """The PIT `[starts, horizons, dim]` and the ranks `[starts, horizons]`."""
    flat = jnp.swapaxes(clouds, 1, 2).reshape(-1, clouds.shape[1], clouds.shape[3])
    number = len(flat)
    inputs = (flat, futures.reshape(-1, futures.shape[2]), jax.random.split(key, number))
    # Whole batches, the last one filled up: a shorter one would be compiled by itself.
    rows = np.minimum(np.arange(-(-number // BATCH) * BATCH), number - 1)
    table = _of_clouds(*(x[rows] for x in inputs))
    shape = futures.shape[:2]
    return {k: np.asarray(v)[:number].reshape(*shape, *v.shape[1:]) for k, v in table.items()}


@jax.jit
def _of_clouds(*inputs: Array) -> dict[str, Array]:
    return jax.lax.map(lambda one: _of_cloud(*one), inputs, batch_size=BATCH)


def _of_cloud(cloud: Array, value: Array, key: PRNGKeyArray) -> dict[str, Array]:
    keys = jax.random.split(key, 1 + len(PRE_RANKS))
    finite = jnp.all(jnp.isfinite(cloud)) & jnp.all(jnp.isfinite(value))
    found = {"pit": jnp.where(finite, pit(cloud, value, key=keys[0]), jnp.nan)}
    for (name, pre_rank), key in zip(PRE_RANKS.items(), keys[1:], strict=True):
        found[name] = rank_of(pre_rank, cloud, value, key=key)
    return found


def _at_horizon(horizon, episode, values, levels, seed) -> HorizonDiagnosis:
    test = lambda x: pit_tests(x, episode, lag=horizon, seed=seed)  # noqa: E731
    return HorizonDiagnosis(
        horizon=int(horizon),
        episode=episode,
        values=values,
        tests={name: test(array) for name, array in values.items()},
        coverage=reliability(central_level(values["pit"]), episode, levels, seed=seed),
        area=miscalibration_area(values["pit"]),
    )


def _check(clouds, futures, mask, episode, horizons) -> None:
    if np.ndim(clouds) != 4:
        raise ValueError(
            "clouds must have shape [starts, particles, horizons, dim], but have shape "
            f"{list(np.shape(clouds))}."
        )
    starts, particles, number, dim = np.shape(clouds)
    expected = {
        "futures": (futures, (starts, number, dim)),
        "mask": (mask, (starts, number)),
        "episode": (episode, (starts,)),
        "horizons": (horizons, (number,)),
    }
    for name, (array, shape) in expected.items():
        if np.shape(array) != shape:
            raise ValueError(
                f"{name} must have shape {list(shape)} to go with clouds of shape "
                f"{[starts, particles, number, dim]}, but has shape {list(np.shape(array))}."
            )
    if min(horizons) < 1:
        raise ValueError(f"horizons must be at least 1, but are {list(horizons)}.")


def _plain(value: Any) -> Any:
    """NaN, which JSON has not, as None; the numbers of lists and dicts likewise."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if math.isnan(value) else value
