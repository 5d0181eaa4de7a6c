"""Many particles at once, and the ways through an ensemble (Chua et al. 2018, arXiv 1805.12114)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PRNGKeyArray, PyTree

from ._devices import Devices, each, first, in_chunks, over_devices, padded
from ._rollout import (
    Policy,
    Trajectory,
    check_finite,
    check_policy,
    identity,
    kept,
    last_state,
    make_step,
    nothing,
    start_carry,
    step_keys,
    step_times,
)
from .models import AbstractWorldModel, Markov
from .transitions import Ensemble, MomentMatched

CHUNK = 16_384
"""Particles that a device takes at once: hidden layers of 200 units then fit in 100 MB."""

AHEAD = 2**17
"""Steps of particles whose keys are made before the first step, 2 MB of them."""


def imagine_particles(
    model: AbstractWorldModel,
    policy: Policy,
    states: PyTree[Any],
    *,
    key: PRNGKeyArray,
    length: int,
    devices: Devices = None,
    chunk: int = CHUNK,
    **options: Any,
) -> tuple[PyTree[Array], Trajectory]:
    """Imagine a future for each of many start states: `imagine`, vmapped over particles.

    Call it inside `jit`. On CPUs `devices` and `chunk` change the last digits of a future at
    most.

    Args:
        model: any world model. A `Markov` model on an `Ensemble` evaluates all members for every
            particle and draws one: `imagine_ts1` does the same at the cost of one member.
        policy: `policy(state, *, key) -> action`.
        states: where the particles start; every leaf has a leading particle axis.
        key: the only source of randomness.
        length: number of steps, at least 1.
        devices: how many devices share the particles, or a `jax.sharding.Mesh`; None: one.
        chunk: particles that a device takes at once, which bounds its memory.
        **options: `save`, `record`, `unroll` and `guard`, as for `imagine`.

    Returns:
        last states and trajectories, `[particles, ...]` and `[particles, length, ...]`.

    Raises:
        ValueError: no particle, a chunk below 1, or more devices than there are
        FloatingPointError: as `imagine`.
    """

    def block(batched, shared):
        states, keys = jax.tree.map(lambda x: x[:, 0], batched)
        model, policy = shared
        results = _imagine_all(model, policy, states, keys, length, **options)
        return jax.tree.map(lambda x: x[:, None], results)

    batched = _particles(states, key, 1)
    return _run(block, (model, policy), batched, states, devices, chunk)


def imagine_ts1(
    model: Markov,
    policy: Policy,
    states: PyTree[Any],
    *,
    key: PRNGKeyArray,
    length: int,
    devices: Devices = None,
    chunk: int = CHUNK,
    save: Callable[[PyTree[Array]], PyTree[Array]] = identity,
    record: Callable[..., PyTree[Array]] = nothing,
    unroll: int = 1,
) -> tuple[PyTree[Array], Trajectory]:
    """TS-1: every particle is handed to a random member at every step.

    K neighbouring particles go to the K members, rotated by a shift that is drawn anew at every
    step. So a particle meets each member with probability 1/K, independently of the steps before
    and of all particles but those K, and no member is evaluated on another member's particles.
    Arguments and results as for `imagine_particles`, but there is no `guard`.

    Raises:
        TypeError: the kernel is not an `Ensemble`
        ValueError: as `imagine_particles`.
    """
    members = _ensemble(model).num_members

    def block(batched, shared):
        model, policy = shared

        def step(states, inputs):
            drawn, turn, shift = inputs

            def of_member(alone, states, keys):
                return _vmapped_step(alone, policy, save, record)(states, keys)

            # All members at once: taken one by one within a step, they would have too little work.
            states = _rotate(states, turn)
            states, row = _over_members(jax.vmap, of_member, model, states, keys_at(drawn))
            return states, _rotate(row, -shift)

        states, keys, shifts = batched
        states, keys = _swap((states, keys))
        keys_at, drawn = _keys_by_step(keys, length)
        # Particles stay where their last member found them. Keys belong to the places, not to the
        # particles: no two particles share one at any step.
        turns = jnp.diff(shifts, axis=1, prepend=0)
        inputs = drawn, turns.T, shifts.T
        last, trajectory = _scan(step, states, inputs, unroll=unroll, axis=2)
        return _swap((_rotate(last, -shifts[:, -1]), trajectory))

    key_shifts, key = jax.random.split(key)
    rows, keys = _particles(states, key, members)
    shifts = _shifts(key_shifts, keys.shape[0], length, members)
    return _run(block, (model, policy), (rows, keys, shifts), states, devices, chunk)


def imagine_tsinf(
    model: Markov,
    policy: Policy,
    states: PyTree[Any],
    *,
    key: PRNGKeyArray,
    length: int,
    devices: Devices = None,
    chunk: int = CHUNK,
    **options: Any,
) -> tuple[PyTree[Array], Trajectory]:
    """TS-infinity: every particle keeps one member for the whole future.

    Particle i goes to member i modulo K, so that no member is evaluated on another member's
    particles. Arguments and results as for `imagine_particles`.

    Raises:
        TypeError: the kernel is not an `Ensemble`
        ValueError: as `imagine_particles`.
    """
    members = _ensemble(model).num_members

    def block(batched, shared):
        model, policy = shared

        def of_member(alone, states, keys):
            return _imagine_all(alone, policy, states, keys, length, **options)

        return _swap(_over_members(each, of_member, model, *_swap(batched)))

    batched = _particles(states, key, members)
    return _run(block, (model, policy), batched, states, devices, chunk)


def imagine_moment_matched(
    model: Markov,
    policy: Policy,
    states: PyTree[Any],
    **options: Any,
) -> tuple[PyTree[Array], Trajectory]:
    """Moment matching: each prediction is replaced by the normal with its mean and covariance.

    Arguments and results as for `imagine_particles`.

    Raises:
        TypeError: the kernel is not an `Ensemble`.
    """
    matched = eqx.tree_at(lambda m: m.kernel, model, MomentMatched(_ensemble(model)))
    return imagine_particles(matched, policy, states, **options)


def _particles(
    states: PyTree[Any], key: PRNGKeyArray, members: int
) -> tuple[PyTree[Array], Key[Array, "groups members"]]:
    """States and keys in groups of one particle a member, `[groups, members, ...]`.

    The last group is filled up with copies of the last particle.
    """
    states = jax.tree.map(jnp.asarray, states)
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(states)}
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        raise ValueError(
            "states must have one leading particle axis of at least 1, but the leading axes of its "
            f"leaves are {sorted(sizes)}."
        )
    (number,) = sizes.pop()
    batched = padded((states, jax.random.split(key, number)), -(-number // members) * members)
    return jax.tree.map(lambda x: x.reshape(-1, members, *x.shape[1:]), batched)


def _imagine_all(
    model, policy, states, keys, length, save=identity, record=nothing, unroll=1, guard=None
):
    """`vmap(imagine)`, as a scan of vmapped steps."""
    advance = _vmapped_step(model, policy, save, record, guard)
    keys_at, drawn = _keys_by_step(keys, length)
    step = lambda carry, drawn: advance(carry, keys_at(drawn))  # noqa: E731
    start = jax.vmap(lambda state: start_carry(state, guard))(states)
    carry, trajectory = _scan(step, start, drawn, unroll=unroll, axis=1)
    return last_state(carry, guard), trajectory


def _scan(step, carry, inputs, *, unroll, axis):
    """`jax.lax.scan` whose rows are stacked on `axis`.

    They are written where they belong: to turn a long trajectory around afterwards took a sixth of
    the time of an RSSM's dream, most of it for pages of memory that were never touched before.
    """
    length = jax.tree.leaves(inputs)[0].shape[0]
    step = jax.jit(step)  # what is traced for its shapes is not traced again
    row = jax.eval_shape(step, carry, jax.tree.map(lambda x: x[0], inputs))[1]
    there = lambda x: (*x.shape[:axis], length, *x.shape[axis:])  # noqa: E731
    rows = jax.tree.map(lambda x: jnp.zeros(there(x), x.dtype), row)

    def write(both, inputs):
        carry, rows = both
        index, inputs = inputs
        carry, row = step(carry, inputs)
        put = lambda rows, x: jax.lax.dynamic_update_index_in_dim(rows, x, index, axis)  # noqa: E731
        return (carry, jax.tree.map(put, rows, row)), None

    inputs = (jnp.arange(length), inputs)
    (carry, rows), _ = jax.lax.scan(write, (carry, rows), inputs, unroll=unroll)
    return carry, rows


def _keys_by_step(keys, length):
    """`keys_at` and `inputs`, of which `keys_at(inputs[t])` are the keys of step t.

    A hash of few numbers costs most in calls, so that those of all steps are taken at once, unless
    they would fill memory.
    """

    def keys_at(time):
        at = step_keys
        for _ in keys.shape:
            at = jax.vmap(at, (0, None))
        return at(keys, time)

    times = step_times(length)
    if keys.size * length > AHEAD:
        return keys_at, times
    return identity, jax.vmap(keys_at)(times)


def _vmapped_step(model, policy, save, record, guard=None):
    """One step of each particle, `(carries, keys) -> (carries, rows)`; see `step_keys`."""
    check_policy(policy)
    act = lambda state, keys: policy(state, key=keys[0])  # noqa: E731
    draw = lambda keys: keys[1]  # noqa: E731
    one = make_step(model, act, draw, save, record, guard)
    return jax.vmap(one)


def _run(block, shared, batched, like, devices, chunk):
    """`block` on every chunk of every device's share of the groups; results for each particle."""
    groups, members = batched[1].shape
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 particle, but is {chunk}.")

    def share(batched, shared):
        return in_chunks(lambda part: block(part, shared), batched, max(1, chunk // members))

    results = over_devices(share, batched, shared, devices)
    number = jax.tree.leaves(like)[0].shape[0]
    last, trajectory = first(jax.tree.map(_join, results), number)
    check_finite(last, kept(trajectory), time_axis=1)
    return last, trajectory


def _join(x: Array) -> Array:
    return x.reshape(-1, *x.shape[2:])


def _swap(tree: PyTree[Array]) -> PyTree[Array]:
    """Groups and members change places, `[groups, members, ...]` to `[members, groups, ...]`."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def _over_members(mapped, function, model, *batched):
    """`function(model of one member, its rows)`; `batched` has a leading member axis.

    `mapped(f)` is `f` over the leading axis, as `jax.vmap`.
    """
    arrays, static = eqx.partition(model.kernel.members, eqx.is_array)

    def of_member(arrays, *rows):
        kernel = eqx.combine(arrays, static)
        return function(eqx.tree_at(lambda m: m.kernel, model, kernel), *rows)

    return mapped(of_member)(arrays, *batched)


def _shifts(key: PRNGKeyArray, groups: int, length: int, members: int) -> Int[Array, "groups time"]:
    """How far each group is rotated at each step; a longer length has the same start."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(length))
    return jax.vmap(lambda key: jax.random.randint(key, (groups,), 0, members))(keys).T


def _rotate(batched: PyTree[Array], shift: Int[Array, " groups"]) -> PyTree[Array]:
    """Row `[k, g]` of the result is row `[k + shift[g], g]`, counted modulo the rows."""

    def rotate(x):
        there = (jnp.arange(x.shape[0])[:, None] + shift) % x.shape[0]
        return x[there, jnp.arange(x.shape[1])]

    return jax.tree.map(rotate, batched)


def _ensemble(model: Markov) -> Ensemble:
    kernel = getattr(model, "kernel", None)
    if not isinstance(kernel, Ensemble):
        raise TypeError(
            "model must be a Markov model whose kernel is an Ensemble, but its kernel is "
            f"{type(kernel).__name__}."
        )
    return kernel
