"""Devices: one CPU as many, and a batch that is spread over them.

A rollout of particles needs nothing but its own rows, so each device runs the whole program on its
share of the batch with a copy of the model, and the compiled program holds no collectives.
"""

import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

ROWS = 16
"""Rows come in multiples of this, the last ones being copies: a loop's left-over rows would be
computed by other instructions, whose last bits depend on how the rows were split."""

Devices = int | Mesh | None
"""How many devices to use (the first ones), a mesh of them, or None for the default device."""


def use_host_devices(number: int | None = None) -> int:
    """Let JAX see one CPU as several devices; call it before JAX computes anything.

    Two devices on a CPU with two cores ran a thousand particles through an ensemble 1.5 times as
    fast as one device with two threads, and ten thousand 1.2 times. It holds for the whole process,
    so a program says it, not a library: the command line does.

    Args:
        number: how many; by default one for each core that this process may use.

    Returns:
        How many CPU devices there are: `number`, or what JAX was started with if that was before.

    Raises:
        ValueError: `number` is below 1.
    """
    if number is None:
        number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if number < 1:
        raise ValueError(f"number must be at least 1 device, but is {number}.")
    try:
        jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:  # JAX has started: its devices are what they are
        pass
    return jax.local_device_count("cpu")


def as_mesh(devices: Devices) -> Mesh | None:
    """The mesh that `devices` means, or None for a single device.

    Raises:
        ValueError: fewer than 1 device, or more than there are.
        TypeError: neither a number, a mesh nor None.
    """
    if devices is None or isinstance(devices, Mesh):
        return devices
    if isinstance(devices, bool) or not isinstance(devices, int):
        raise TypeError(
            f"devices must be a number, a jax.sharding.Mesh or None, but is {devices!r}."
        )
    there = jax.devices()
    if not 1 <= devices <= len(there):
        raise ValueError(
            f"devices must be in [1, {len(there)}], the devices that JAX has, but is {devices}; "
            "stochwm.use_host_devices(n), called before JAX computes anything, makes n of one CPU."
        )
    return None if devices == 1 else Mesh(np.asarray(there[:devices]), ("devices",))


def over_devices(
    function: Callable[[PyTree, PyTree], PyTree[Array]],
    batched: PyTree[Array],
    shared: PyTree[Any],
    devices: Devices,
    multiple: int = ROWS,
) -> PyTree[Array]:
    """`function(batched, shared)`, with the rows of `batched` spread over devices.

    Args:
        function: acts on each row of the leading axis by itself, however many there are.
        batched: arrays with one leading axis, which the results have too.
        shared: what every device gets whole, such as a model.
        devices: where to run.
        multiple: each device gets a multiple of this many rows, the last ones being copies.

    Returns:
        The results; on CPUs the number of devices changes their last digits at most.
    """
    mesh = as_mesh(devices)

    def share(batched, shared):
        number = rows_of(batched)
        return first(function(padded(batched, _up(number, multiple)), shared), number)

    if mesh is None:
        return share(batched, shared)
    arrays, static = eqx.partition(shared, eqx.is_array)
    rows, copies = PartitionSpec(mesh.axis_names), PartitionSpec()
    run = jax.shard_map(
        lambda batched, arrays: share(batched, eqx.combine(arrays, static)),
        mesh=mesh,
        in_specs=(rows, copies),
        out_specs=rows,
        check_vma=False,  # nothing is exchanged, so there is nothing to check
    )
    # Where the devices get equally many rows, nothing has to be taken off in the end, for which
    # they would have to exchange rows.
    number = rows_of(batched)
    return first(run(padded(batched, _up(number, mesh.size)), arrays), number)


def each(function: Callable[..., PyTree[Array]]) -> Callable[..., PyTree[Array]]:
    """`function` over the leading axis, as `jax.vmap`, for few rows of much work, such as members.

    On a CPU one after the other, which is as fast at a thousand particles and up to 1.3 times as
    fast at ten thousand; the number of rows changes the last digits at most. Elsewhere vmapped.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)
    return lambda *stacked: jax.lax.map(lambda row: function(*row), stacked)


def whole(tree: PyTree[Any], devices: Devices) -> PyTree[Array]:
    """Arrays that every one of the devices holds whole; inside `jit`, a promise to make them so."""
    mesh = as_mesh(devices)
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)
    everywhere = NamedSharding(mesh, PartitionSpec())
    leaves = jax.tree.leaves(tree)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return jax.lax.with_sharding_constraint(tree, everywhere)
    return jax.device_put(tree, everywhere)


def in_chunks(
    function: Callable[[PyTree[Array]], PyTree[Array]], batched: PyTree[Array], size: int
) -> PyTree[Array]:
    """`function(batched)` on at most `size` rows at a time, so that memory does not grow with them.

    Args:
        function: acts on each row of the leading axis by itself, however many there are.
        batched: arrays with one leading axis, which the results have too.
        size: rows in a chunk, at least 1, up to the next multiple of `ROWS`.
    """
    number = rows_of(batched)
    chunks = -(-number // _up(size, ROWS))
    if chunks <= 1:
        return function(batched)
    rows = _up(-(-number // chunks), ROWS)
    split = lambda x: x.reshape(chunks, rows, *x.shape[1:])  # noqa: E731
    results = jax.lax.map(function, jax.tree.map(split, padded(batched, chunks * rows)))
    join = lambda x: x.reshape(chunks * rows, *x.shape[2:])  # noqa: E731
    return first(jax.tree.map(join, results), number)


def rows_of(batched: PyTree[Array]) -> int:
    """How long the leading axis is."""
    return jax.tree.leaves(batched)[0].shape[0]


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def padded(batched: PyTree[Array], number: int) -> PyTree[Array]:
    """`number` rows: those of `batched`, then its last one again as often as it takes."""
    there = rows_of(batched)
    if there == number:
        return batched
    return jax.tree.map(lambda x: x[jnp.minimum(jnp.arange(number), there - 1)], batched)


def first(batched: PyTree[Array], number: int) -> PyTree[Array]:
    """The first `number` rows."""
    there = rows_of(batched)
    return batched if there == number else jax.tree.map(lambda x: x[:number], batched)
