"""What was lived through lately, to learn from again."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from .steps import Steps


class Replay(eqx.Module):
    """A ring of rows `[capacity, envs]`, on the device.

    An own ring, since flashbax, which has one, draws in flax and tensorstore, and its batches may
    lack the newest rows.
    """

    rows: PyTree[Array]
    written: Int[Array, ""]
    """Rows ever written; the newest is at `(written - 1) % capacity`."""


def empty_replay(example: Steps, capacity: int) -> Replay:
    """A ring for rows like `example` `[envs, ...]`."""
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1 row, but is {capacity}.")
    rows = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
    return Replay(rows, jnp.asarray(0))


@partial(jax.jit, donate_argnums=0)
def add(replay: Replay, steps: Steps) -> Replay:
    """Write rows `[time, envs]`, over the oldest where the ring is full."""
    capacity = replay.rows.reward.shape[0]
    length = steps.reward.shape[0]
    # Of more than the ring holds only the newest: two rows for one place have no order.
    newest = jnp.arange(max(0, length - capacity), length)
    index = (replay.written + newest) % capacity
    rows = jax.tree.map(lambda ring, new: ring.at[index].set(new[newest]), replay.rows, steps)
    return Replay(rows, replay.written + length)


def cut(replay: Replay) -> Replay:
    """The newest rows as the last of their episodes: truncated, for what comes is of others."""
    capacity = replay.rows.reward.shape[0]
    newest = (replay.written - 1) % capacity
    is_last = replay.rows.is_last.at[newest].set(True)
    return eqx.tree_at(lambda held: held.rows.is_last, replay, is_last)


def sample(replay: Replay, *, key: PRNGKeyArray, batch: int, length: int) -> Steps:
    """Windows `[batch, length]` of single environments, each as likely as any other.

    The first one is the newest of a random environment: what was just seen is learned from at once
    (the online queue of DreamerV3, arXiv 2301.04104). A window may run over the end of an episode,
    but never over the place that is written next. There must be `length` rows.
    """
    capacity, envs = replay.rows.reward.shape
    key_start, key_env = jax.random.split(key)
    held = jnp.minimum(replay.written, capacity)
    oldest = replay.written - held
    starts = jax.random.randint(key_start, (batch,), 0, held - length + 1)
    starts = oldest + starts.at[0].set(held - length)
    env = jax.random.randint(key_env, (batch,), 0, envs)
    index = (starts[:, None] + jnp.arange(length)) % capacity
    return jax.tree.map(lambda ring: ring[index, env[:, None]], replay.rows)
