"""Imagined clouds beside clouds of the law, along 1,000 steps."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm import replay
from stochwm.calibration import kernel_density, rank_of
from stochwm.drift import spread_along

LENGTH = 1_000
STEPS = (1, 10, 100, 1_000)
GRID = np.union1d(np.round(np.geomspace(1, LENGTH, 16)), np.arange(50, LENGTH + 1, 50)).astype(int)
CLOUD = 96  # imagined futures of a start, and as many of the law
LEVEL = 0.9


class Beside(NamedTuple):
    """What was seen from each start, under the same actions."""

    measured: Any
    """What a guard sees of each particle at each step, `[starts, CLOUD, LENGTH]`."""
    outside: Any
    """How often the law is outside the region that `Coverage` speaks of, `[starts, grid]`."""
    distance: Any
    """Energy distance to the law, `[starts, grid]`."""
    spread: Any
    """How far the imagined futures are apart, the furthest so far, `[starts, grid]`."""
    clouds: Any
    """Of the model at each of `STEPS`, in units, `[starts, steps, CLOUD, state]`."""
    came: Any
    """The same of the law."""


@eqx.filter_jit
def beside_the_law(model, law, measure, unit, rows, particles: int) -> Beside:
    """Imagine from each start, and let the law go on from it as often.

    A region is, as in the promise, the densest of a cloud of `particles`: each such part of the
    cloud is asked about as many draws of the law.

    Args:
        model: world model.
        law: the law as a world model.
        measure: of the guard.
        unit: of each dimension.
        rows: states, actions and a key, start by start.
        particles: that a guard is fitted with; divides `CLOUD`.
    """
    parts = CLOUD // particles
    chosen = np.searchsorted(GRID, STEPS)

    def one(row):
        state, actions, key = row
        key_model, key_law, key_ties = jax.random.split(key, 3)

        def imagined(key):
            record = lambda state, action, prediction, next_state: measure(prediction)  # noqa: E731
            future = replay(model, state, actions, key=key, record=record)[1]
            return future.state[GRID - 1] / unit, future.aux

        def lawful(key):
            return replay(law, state, actions, key=key)[1].state[GRID - 1] / unit

        clouds, measured = jax.vmap(imagined)(jax.random.split(key_model, CLOUD))
        came = jax.vmap(lawful)(jax.random.split(key_law, CLOUD))
        spread = spread_along(clouds)
        clouds, came = (jnp.swapaxes(x, 0, 1) for x in (clouds, came))

        def at_step(cloud, came, key):
            keys = jax.random.split(key, (parts, particles))
            rank = lambda c, x, key: rank_of(kernel_density, c, x, key=key)  # noqa: E731
            ranks = jax.vmap(jax.vmap(rank, (None, 0, 0)))(
                cloud.reshape(parts, particles, -1), came.reshape(parts, particles, -1), keys
            )
            return jnp.mean(1 - ranks > LEVEL), _distance(cloud, came, jnp.ones(CLOUD))[0]

        keys = jax.random.split(key_ties, len(GRID))
        outside, apart = jax.lax.map(lambda x: at_step(*x), (clouds, came, keys))
        return Beside(measured, outside, apart, spread, clouds[chosen], came[chosen])

    return jax.lax.map(one, rows, batch_size=4)


@jax.jit
def distance(clouds, came, weight):
    """Energy distance of the particles of weight 1 to the law, and what chance alone does.

    `2 E|X - Y| - E|X - X'| - E|Y - Y'|` from pairs of different particles: 0 on average if the
    model is the law, whatever the number of particles. The second is the mean, over clouds of the
    law, of the plain distance between two of them, which counts each particle with itself.

    Args:
        clouds: `[starts, particles, state]`.
        came: `[starts, draws, state]`.
        weight: 0 or 1, `[starts, particles]`.
    """
    return jax.lax.map(lambda row: _distance(*row), (clouds, came, weight))


def _distance(cloud, came, weight):
    number, draws = jnp.sum(weight), came.shape[0]
    between = weight @ _apart(cloud, came).mean(axis=1) / number
    within = weight @ _apart(cloud, cloud) @ weight / (number * (number - 1))
    of_law = jnp.sum(_apart(came, came)) / (draws * (draws - 1))
    return 2 * between - within - of_law, 2 * of_law / draws


def _apart(first, second):
    return jnp.linalg.norm(first[:, None] - second[None], axis=-1)


def every_step(values: np.ndarray) -> np.ndarray:
    """What is known on the grid at every step, `[rows, LENGTH]`, by interpolation."""
    steps = np.arange(1, LENGTH + 1)
    return np.stack([np.interp(steps, GRID, row) for row in values])


def means_of(values: np.ndarray) -> np.ndarray:
    """Means over the first h steps, h = 1 ... LENGTH, of what is known on the grid."""
    return np.cumsum(every_step(values), axis=1) / np.arange(1, LENGTH + 1)


def longest(means: np.ndarray, bound: float) -> np.ndarray:
    """The last step up to which the mean keeps the bound, of each row; 0 if it does at none."""
    kept = means <= bound
    last = LENGTH - np.argmax(kept[:, ::-1], axis=1)
    return np.where(kept.any(axis=1), last, 0)


def before(values: np.ndarray, bound: float) -> np.ndarray:
    """How many steps there are before the first above the bound, of each row of the grid."""
    above = every_step(values) > bound
    return np.where(above.any(axis=1), np.argmax(above, axis=1), LENGTH)
