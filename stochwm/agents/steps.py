"""What agents learn from: rows of several environments side by side, in the time convention."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Steps(eqx.Module):
    """Rows `[time, envs]` as `AutoresetMode.NEXT_STEP` emits them; arrays of numpy or jax.

    The row after one that `is_last` is the first of the next episode.
    """

    observation: Float[Array | np.ndarray, "*time observation"]
    """Flat, as `stochwm.data.flat_space` describes it."""
    action: Float[Array | np.ndarray, "*time action"]
    """Chosen at the observation, flat, within its bounds; ignored in a last row."""
    reward: Float[Array | np.ndarray, "*time"]
    """Received on arrival at the observation; 0 in a first row."""
    is_first: Bool[Array | np.ndarray, "*time"]
    is_last: Bool[Array | np.ndarray, "*time"]
    """Terminated or truncated."""
    is_terminal: Bool[Array | np.ndarray, "*time"]
    """Terminated: nothing is to be expected afterwards. A truncation is last and not terminal."""


class Running(eqx.Module):
    """Return and length of the episodes that are under way, one an environment."""

    total: Float[Array, " envs"]
    length: Int[Array, " envs"]
    discounted: Float[Array, " envs"]
    """Discounted returns so far, summed over the steps that they are counted from."""
    weight: Float[Array, " envs"]
    """Of a reward in that sum: `1 + gamma + ...`, a term for each step before it."""

    @staticmethod
    def begin(num_envs: int) -> "Running":
        """Before any step."""
        zero = jnp.zeros(num_envs)
        return Running(zero, jnp.zeros(num_envs, int), zero, zero)


class Finished(eqx.Module):
    """One episode that ended."""

    total: float
    """The sum of its rewards."""
    length: int
    """In steps."""
    env: int
    """Which copy of the environment it was in."""
    discounted: float
    """The discounted return from a step of it to its end, the mean over its steps."""


def episode_returns(
    steps: Steps, running: Running, gamma: float = 1.0
) -> tuple[list[Finished], Running]:
    """The episodes that ended in these rows `[time, envs]`, and those that go on."""
    total, length, discounted, weight = (
        np.array(x) for x in (running.total, running.length, running.discounted, running.weight)
    )
    reward, first, last = (
        np.asarray(x) for x in jax.device_get((steps.reward, steps.is_first, steps.is_last))
    )
    finished = []
    for t in range(reward.shape[0]):
        total = np.where(first[t], 0.0, total) + reward[t]
        length = np.where(first[t], 0, length + 1)
        weight = np.where(first[t], 0.0, 1.0 + gamma * weight)
        discounted = np.where(first[t], 0.0, discounted) + weight * reward[t]
        finished += [
            Finished(
                float(total[i]), int(length[i]), int(i), float(discounted[i] / max(1, length[i]))
            )
            for i in np.flatnonzero(last[t])
        ]
    after = Running(*(jnp.asarray(x) for x in (total, length, discounted, weight)))
    return finished, jax.tree.map(lambda new, old: new.astype(old.dtype), after, running)
