"""The compiled part of training: many steps of each member in one call, then an evaluation."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._devices import Devices, each, over_devices, whole
from .losses import Loss

EVALUATION_BATCH = 1024


class TrainState(eqx.Module):
    """Everything that training changes; every array but `step` and `stale` has a member axis."""

    params: PyTree[Array]
    opt_state: PyTree[Array]
    best: PyTree[Array]
    best_loss: Float[Array, " members"]
    last_loss: Float[Array, " members"]
    step: Int[Array, ""]
    stale: Int[Array, ""]
    skipped: Int[Array, " members"]
    """Steps that were not finite, and so were not applied."""
    bad_steps: Int[Array, " members"]
    """How many of them came last, in a row."""


def begin(params: PyTree[Array], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, for stacked member parameters.

    Raises:
        ValueError: there is nothing to train.
    """
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise ValueError("model must hold a floating-point array that can learn, but holds none.")
    num_members = leaves[0].shape[0]
    never = jnp.full((num_members,), jnp.inf)
    state = TrainState(
        params=params,
        opt_state=eqx.filter_vmap(optimizer.init)(params),
        best=params,
        best_loss=never,
        last_loss=never,
        step=jnp.zeros((), int),
        stale=jnp.zeros((), int),
        skipped=jnp.zeros((num_members,), int),
        bad_steps=jnp.zeros((num_members,), int),
    )
    # Copies: a donated state must not hold one buffer twice, nor the caller's. The dtype is given,
    # because what comes out of the first chunk is not weakly typed, and would be compiled again.
    return jax.tree.map(lambda x: jnp.array(x, x.dtype), state)


class Inputs(eqx.Module):
    """What training reads; arguments of the compiled function, so that none becomes a constant."""

    fixed: PyTree[Any]
    """The part of the stacked members that does not learn."""
    data: PyTree[Array]
    validation: PyTree[Array] | None
    rows: Int[Array, "members examples"] | None
    """Each member's bootstrap resample of the data, or None for the data itself."""
    key: PRNGKeyArray


def make_inputs(
    fixed: Any,
    data: Any,
    validation: Any,
    *,
    num_members: int,
    bootstrap: bool,
    key: PRNGKeyArray,
    devices: Devices = None,
) -> Inputs:
    """Move the data to the devices and draw the bootstrap resamples (Efron 1979)."""
    data, validation = whole((data, validation), devices)
    key_rows, key = jax.random.split(key)
    rows = None
    if bootstrap and num_members > 1:
        examples = jax.tree.leaves(data)[0].shape[0]
        rows = jax.random.randint(key_rows, (num_members, examples), 0, examples)
    return Inputs(fixed, data, validation, rows, key)


class Trace(NamedTuple):
    """What a chunk of steps reports, each `[steps, members]`."""

    loss: Float[Array, "steps members"]
    """0 where the step was not finite."""
    finite: Bool[Array, "steps members"]
    diverged: Bool[Array, "steps members"]
    """Whether it was the last of `max_bad_steps` in a row that were not finite."""


def make_chunk(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    max_bad_steps: int,
    devices: Devices = None,
) -> Callable[[Inputs, TrainState, int], tuple[TrainState, Trace]]:
    """A compiled function `(inputs, state, steps) -> (state, trace)`. The state is donated.

    A member's step that is not finite leaves its parameters and its optimiser state as they were,
    and a member stops for good before the last of `max_bad_steps` such steps in a row. Members
    share nothing but the data, so that each device trains its share of them.
    """

    def chunk_of_member(member, shared, steps):
        params, opt_state, skipped, bad_steps, arrays, rows, number = member
        data, validation, (key_steps, key_validation), start, functions = shared
        fixed = eqx.combine(arrays, functions)

        def draw(at):
            key = jax.random.fold_in(jax.random.fold_in(key_steps, at), number)
            key_batch, key_loss = jax.random.split(key)
            return _draw_batch(data, rows, batch_size, key_batch), key_loss

        def step(carry, drawn):
            params, opt_state, skipped, bad_steps, going = carry
            value, grads, new = _learn(loss, optimizer, params, opt_state, fixed, data, *drawn)
            finite = jnp.all(_finite((value, grads))) & jnp.all(_finite(new) | ~watched)
            bad_steps = jnp.where(going, jnp.where(finite, 0, bad_steps + 1), bad_steps)
            going = bad_steps < max_bad_steps
            kept = partial(jnp.where, going & finite)
            params, opt_state = jax.tree.map(kept, new, (params, opt_state))
            skipped = skipped + (going & ~finite)
            carry = (params, opt_state, skipped, bad_steps, going)
            return carry, Trace(jnp.where(finite, value, 0.0), finite, ~going)

        # What begins infinite, as an optimiser's best loss so far may, is not watched.
        watched = _finite((params, opt_state))
        begin = (params, opt_state, skipped, bad_steps, jnp.array(True))
        # Drawn for all steps at once: so few numbers a step cost more in calls than in hashes.
        drawn = jax.vmap(draw)(start + jnp.arange(steps))
        (*after, _), trace = jax.lax.scan(step, begin, drawn)
        evaluation = jnp.array(jnp.inf)
        if validation is not None:
            evaluation = _evaluate(loss, after[0], fixed, validation, key_validation)
        return tuple(after), trace, evaluation

    @eqx.filter_jit(donate="all-except-first")
    def run(inputs: Inputs, state: TrainState, steps: int):
        arrays, functions = eqx.partition(inputs.fixed, eqx.is_array)
        members = (
            *(state.params, state.opt_state, state.skipped, state.bad_steps),
            *(arrays, inputs.rows, jnp.arange(state.best_loss.shape[0])),
        )
        keys = jax.random.split(inputs.key)
        shared = (inputs.data, inputs.validation, keys, state.step, functions)

        def share(members, shared):
            return each(lambda member: chunk_of_member(member, shared, steps))(members)

        results = over_devices(share, members, shared, devices, multiple=1)
        (params, opt_state, skipped, bad_steps), trace, losses = whole(results, devices)
        state = dataclasses.replace(
            state,
            params=params,
            opt_state=opt_state,
            step=state.step + steps,
            skipped=skipped,
            bad_steps=bad_steps,
        )
        state = state if inputs.validation is None else _keep_best(state, losses)
        # Placed as it came in: from another place, the next chunk would be compiled again.
        return whole((state, jax.tree.map(jnp.transpose, trace)), devices)

    return run


def _learn(loss, optimizer, params, opt_state, fixed, data, index, key):
    """The mean loss of a batch, its gradient, and parameters and optimiser state after it."""
    batch = jax.tree.map(lambda x: x[index], data)
    keys = jax.random.split(key, len(index))

    def mean_loss(params):
        model = eqx.combine(params, fixed)
        return jnp.mean(jax.vmap(lambda x, k: loss(model, x, key=k))(batch, keys))

    value, grads = eqx.filter_value_and_grad(mean_loss)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return value, grads, (eqx.apply_updates(params, updates), opt_state)


def _evaluate(loss, params, fixed, validation, key):
    """The mean loss of held-out examples."""
    model = eqx.combine(params, fixed)
    # The same noise at every evaluation, so that they can be compared.
    keys = jax.random.split(key, jax.tree.leaves(validation)[0].shape[0])
    one = lambda inputs: loss(model, inputs[0], key=inputs[1])  # noqa: E731
    return jnp.mean(jax.lax.map(one, (validation, keys), batch_size=EVALUATION_BATCH))


def _draw_batch(data, rows, batch_size, key) -> Int[Array, " batch"]:
    """Which examples are in a batch."""
    examples = jax.tree.leaves(data)[0].shape[0]
    index = jax.random.randint(key, (batch_size,), 0, examples)
    return index if rows is None else rows[index]


def _keep_best(state: TrainState, loss: Float[Array, " members"]) -> TrainState:
    """Each member keeps the parameters of its own best evaluation that was finite."""
    better = jnp.isfinite(loss) & (loss < state.best_loss)
    return dataclasses.replace(
        state,
        best=jax.tree.map(partial(_where, better), state.params, state.best),
        best_loss=jnp.where(better, loss, state.best_loss),
        last_loss=loss,
        stale=jnp.where(jnp.any(better), 0, state.stale + 1),
    )


def chosen(state: TrainState) -> PyTree[Array]:
    """Each member's best parameters, or its last where no evaluation was finite."""
    return jax.tree.map(partial(_where, jnp.isfinite(state.best_loss)), state.best, state.params)


def _where(members: Bool[Array, " members"], one: Array, other: Array) -> Array:
    """Member by member, one array or the other."""
    return jnp.where(members.reshape(-1, *[1] * (one.ndim - 1)), one, other)


def _finite(tree: PyTree[Array]) -> Bool[Array, " leaves"]:
    """Which leaves are finite everywhere.

    A product with zeros is NaN where anything is not: it takes half the time of asking each number,
    which was a tenth of a training step.
    """

    def finite(x):
        dotted = x if jnp.ndim(x) == 0 else jnp.sum(jnp.dot(x, jnp.zeros(x.shape[-1], x.dtype)))
        return jnp.isfinite(dotted)

    return jnp.stack([finite(x) for x in jax.tree.leaves(tree)])
