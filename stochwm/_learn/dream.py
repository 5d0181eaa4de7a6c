"""Imagine with the model of a run: many futures under a policy, summarised."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._propagation import imagine_particles, imagine_ts1
from .._storage import save_tree
from ..data import RandomPolicy, load_policy
from ..data.checks import checked_seed
from ..models import on_observations
from ..transitions import Ensemble
from .futures import finite
from .run import Run

LEVELS = (0.05, 0.5, 0.95)


class Dream(NamedTuple):
    """Imagined futures from one start."""

    start: np.ndarray
    """`[state]`"""
    futures: np.ndarray
    """`[futures, length, state]`"""
    names: tuple[str, ...]
    """Of the state's dimensions."""

    def quantiles(self, step: int) -> np.ndarray:
        """5 %, 50 % and 95 % quantiles of each dimension after `step` steps, `[3, state]`.

        Raises:
            ValueError: `step` is not in [1, length].
        """
        if not 1 <= step <= self.futures.shape[1]:
            raise ValueError(f"step must be in [1, {self.futures.shape[1]}], but is {step}.")
        return np.quantile(self.futures[:, step - 1], LEVELS, axis=0)

    def __str__(self) -> str:
        """A table for people."""
        number, length, _ = self.futures.shape
        lines = [f"{number} imagined futures of {length} steps", ""]
        lines.append(f"{'dimension':<24}{'step':>6}{'5 %':>12}{'median':>12}{'95 %':>12}")
        for step in sorted({1, max(1, length // 2), length}):
            for name, (low, middle, high) in zip(self.names, self.quantiles(step).T, strict=True):
                lines.append(f"{name:<24}{step:>6}{low:>12.4g}{middle:>12.4g}{high:>12.4g}")
        return "\n".join(lines)


def dream(
    run: Run,
    *,
    futures: int = 1000,
    length: int = 20,
    policy: str = "random",
    start: int = 0,
    seed: int = 0,
    model: str = "model",
) -> Dream:
    """Imagine futures from a held-out start of a run, under a policy.

    Args:
        run: a finished run.
        futures: how many.
        length: steps in each.
        policy: `random`, or `module:attribute` of a function `(state, *, key) -> action`.
        start: which test episode begins it.
        seed: of the futures.
        model: which of the run, see `Run.model`.

    Raises:
        ValueError: a number below 1, a seed outside [0, 2**32), no such episode or policy.
        StorageError: the run is not that far yet.
    """
    for name, number in (("futures", futures), ("length", length)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, but is {number}.")
    checked_seed(seed)
    test = run.split(run.episodes)["test"]
    if not 0 <= start < test.num_episodes:
        raise ValueError(
            f"start must be in [0, {test.num_episodes}), the test episodes, but is {start}."
        )
    act: Any = RandomPolicy(test.action_space) if policy == "random" else load_policy(policy)
    state = jnp.asarray(test.episode(start).observation[0])

    @eqx.filter_jit
    def run_all(model, states, key):
        options = {"key": key, "length": length, "devices": jax.device_count()}
        if isinstance(getattr(model, "kernel", None), Ensemble):
            return imagine_ts1(model, act, states, **options)[1].state
        # A repaired ensemble is repaired as the mixture that it predicts.
        begin, policy = jax.vmap(model.start)(states), on_observations(model, act)
        return imagine_particles(model, policy, begin, save=model.observed, **options)[1].state

    states = jnp.broadcast_to(state, (futures, *state.shape))
    clouds = run_all(run.model(model), states, jax.random.key(seed))
    return Dream(np.asarray(state), np.asarray(clouds), tuple(run.state_names(test)))


def save_dream(dream: Dream, folder: str | os.PathLike) -> Path:
    """Write `futures.png`, a chart, and the folder `futures` with its arrays.

    Args:
        dream: what to write.
        folder: where to; the two are replaced, other things in it stay.

    Returns:
        The path of the chart. `futures/arrays.safetensors` has the entries `start` and `futures`.
    """
    from ..report import fan_chart

    arrays = {"start": dream.start, "futures": dream.futures}
    save_tree(Path(folder) / "futures", arrays, {"names": json.dumps(dream.names)})
    start = np.broadcast_to(dream.start, (len(dream.futures), 1, len(dream.start)))
    cloud = np.concatenate([start, dream.futures], axis=1)
    real = np.full((1, *cloud.shape[1:]), np.nan)
    real[:, 0] = dream.start  # all that is known of it
    figure = fan_chart({"imagined": finite(cloud)}, real, names=list(dream.names))
    path = Path(folder) / "futures.png"
    figure.savefig(path, dpi=120)
    return path
