"""Futures for the charts: imagined from held-out starts, beside what really followed."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._storage import load_tree, save_tree
from ..calibration import choose_starts, open_loop
from ..calibration.starts import Starts
from ..data import Episodes, FlatSpace
from .run import Run

NUM_STARTS = 3
LAW_FUTURES = 30
STEP_DRAWS = 1000


def imagine_futures(run: Run, test: Episodes) -> dict[str, np.ndarray]:
    """Imagine, save in `futures/`, and return the arrays of the charts.

    `start` `[starts, state]`; `real` `[starts, futures, horizon + 1, state]`, the recorded future
    first and then, where the law is known, other futures that it might have had; `model`,
    `baseline` `[starts, particles, horizon + 1, state]`; `step_real`, `step_model`,
    `step_baseline` `[rows, state]`, one-step changes on held-out steps; and `at_model`,
    `at_baseline`, where it is known `at_law`, `[draws, state]`, next states of the first start.
    The horizon is the longest one of the run; no test episode may be that long.
    """
    key = jax.random.key(run.config.seed)
    starts = longest(choose_starts(test, 1000, max(run.config.horizons)))
    actions = jnp.asarray(starts.action)
    real = _with_start(starts.state, starts.future)
    arrays: dict[str, Any] = {"start": starts.state, "real": real[:, None]}
    if run.world is not None:
        law = _futures(run.world, starts.state, actions, key, LAW_FUTURES)
        arrays["real"] = np.concatenate([arrays["real"], law], axis=1)
    rows = test.transitions()
    picked = np.linspace(0, len(rows) - 1, min(STEP_DRAWS, len(rows))).astype(int)
    arrays["step_real"] = (rows.next_state - rows.state)[picked]
    for name in ("model", "baseline"):
        model = run.model(name)
        arrays[name] = _futures(model, starts.state, actions, key, run.config.futures)
        drawn = _one_step(model, rows.state[picked], rows.action[picked], key)
        arrays[f"step_{name}"] = drawn - rows.state[picked]
        arrays |= _at_one(model, f"at_{name}", starts, key)
    arrays |= {} if run.world is None else _at_one(run.world, "at_law", starts, key)
    arrays = {name: np.asarray(x, np.float32) for name, x in arrays.items()}  # as they are loaded
    save_tree(run.path / "futures", arrays, {"shapes": {k: v.shape for k, v in arrays.items()}})
    return arrays


def load_futures(run: Run) -> dict[str, np.ndarray]:
    """The arrays that `imagine_futures` saved."""
    from .._storage import load_metadata

    shapes = load_metadata(run.path / "futures")["shapes"]
    like = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return load_tree(run.path / "futures", like)


def snap(values: np.ndarray, space: FlatSpace) -> np.ndarray:
    """Discrete states drawn from a density become the nearest one-hot state; NaN stays NaN."""
    snapped = np.array(values)
    for start, size in space.groups:
        block = values[..., start : start + size]
        nearest = np.eye(size, dtype=values.dtype)[np.argmax(block, axis=-1)]
        snapped[..., start : start + size] = np.where(np.isnan(block), np.nan, nearest)
    return snapped


def finite(values: np.ndarray) -> np.ndarray:
    """NaN where a future has become infinite, so that charts let it end there."""
    return np.where(np.isfinite(values), values, np.nan)


def longest(starts: Starts) -> Starts:
    """A few starts, spread over those whose real future lasts longest, up to where that ends.

    No action was taken there, so that nothing could be imagined under the recorded ones.
    """
    length = starts.mask.sum(axis=1)
    steps, best = length.max(), np.flatnonzero(length == length.max())
    picked = best[np.linspace(0, len(best) - 1, min(NUM_STARTS, len(best))).astype(int)]
    few = Starts(*(field[picked] for field in starts))
    cut = {name: getattr(few, name)[:, :steps] for name in ("action", "future", "mask")}
    return few._replace(**cut)


def _futures(model: Any, states: np.ndarray, actions: Array, key: Array, number: int) -> np.ndarray:
    @eqx.filter_jit
    def run(model, states, actions):
        one = lambda x: open_loop(model, x[0], x[1], key=key, particles=number)  # noqa: E731
        return jax.lax.map(one, (states, actions))

    clouds = np.asarray(run(model, jnp.asarray(states), actions))
    start = np.broadcast_to(states[:, None], (len(states), number, states.shape[-1]))
    return _with_start(start, clouds)


def _one_step(model: Any, states: Any, actions: Any, key: Array) -> np.ndarray:
    @eqx.filter_jit
    def run(model, states, actions, keys):
        draw = lambda s, a, k: model.transition(s, a).sample(seed=k)  # noqa: E731
        return jax.vmap(draw)(states, actions, keys)

    keys = jax.random.split(key, len(states))
    return np.asarray(run(model, jnp.asarray(states), jnp.asarray(actions), keys))


def _at_one(model: Any, name: str, starts: Any, key: Array) -> dict[str, np.ndarray]:
    """Draws of the next state at the first start."""
    states = np.repeat(starts.state[:1], STEP_DRAWS, axis=0)
    actions = np.repeat(starts.action[:1, 0], STEP_DRAWS, axis=0)
    return {name: _one_step(model, states, actions, key)}


def _with_start(start: np.ndarray, future: np.ndarray) -> np.ndarray:
    return np.concatenate([start[..., None, :], future], axis=-2).astype(np.float32)
