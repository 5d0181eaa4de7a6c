"""The compiled part of training: many vmapped member steps in one scan, then an evaluation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .losses import Loss

EVALUATION_BATCH = 1024


class TrainState(eqx.Module):
    """Everything that training changes; every array but the counters has a member axis."""

    params: PyTree[Array]
    opt_state: PyTree[Array]
    best: PyTree[Array]
    best_loss: Float[Array, " members"]
    last_loss: Float[Array, " members"]
    step: Int[Array, ""]
    stale: Int[Array, ""]


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
    fixed: Any, data: Any, validation: Any, *, num_members: int, bootstrap: bool, key: PRNGKeyArray
) -> Inputs:
    """Move the data to the device and draw the bootstrap resamples (Efron 1979)."""
    data, validation = jax.tree.map(jnp.asarray, (data, validation))
    key_rows, key = jax.random.split(key)
    rows = None
    if bootstrap and num_members > 1:
        examples = jax.tree.leaves(data)[0].shape[0]
        rows = jax.random.randint(key_rows, (num_members, examples), 0, examples)
    return Inputs(fixed, data, validation, rows, key)


def make_chunk(
    loss: Loss, optimizer: optax.GradientTransformation, batch_size: int
) -> Callable[[Inputs, TrainState, int], tuple[TrainState, Array, Array]]:
    """A compiled function `(inputs, state, steps) -> (state, losses, finite)`.

    `losses` and `finite` are `[steps, members]`. An update that is not finite is not applied, and
    none is after it, so the state that comes back is the last good one. The state is donated.
    """

    def member_step(params, opt_state, fixed, rows, data, key):
        key_batch, key_loss = jax.random.split(key)
        batch = _draw_batch(data, rows, batch_size, key_batch)
        keys = jax.random.split(key_loss, batch_size)

        def mean_loss(params):
            model = eqx.combine(params, fixed)
            return jnp.mean(jax.vmap(lambda x, k: loss(model, x, key=k))(batch, keys))

        value, grads = eqx.filter_value_and_grad(mean_loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = eqx.apply_updates(params, updates)
        return params, opt_state, value, _all_finite((value, grads, params))

    def member_evaluation(params, fixed, validation, key):
        model = eqx.combine(params, fixed)
        # The same noise at every evaluation, so that they can be compared.
        keys = jax.random.split(key, jax.tree.leaves(validation)[0].shape[0])
        one = lambda inputs: loss(model, inputs[0], key=inputs[1])  # noqa: E731
        return jnp.mean(jax.lax.map(one, (validation, keys), batch_size=EVALUATION_BATCH))

    step_all = eqx.filter_vmap(member_step, in_axes=(*[eqx.if_array(0)] * 4, None, 0))
    evaluate_all = eqx.filter_vmap(member_evaluation, in_axes=(*[eqx.if_array(0)] * 2, None, None))

    @eqx.filter_jit(donate="all-except-first")
    def run(inputs: Inputs, state: TrainState, steps: int):
        key_steps, key_validation = jax.random.split(inputs.key)
        num_members = state.best_loss.shape[0]

        def step(carry, _):
            params, opt_state, number, good = carry
            keys = jax.random.split(jax.random.fold_in(key_steps, number), num_members)
            new_params, new_opt_state, losses, finite = step_all(
                params, opt_state, inputs.fixed, inputs.rows, inputs.data, keys
            )
            good = good & jnp.all(finite)
            new, old = (new_params, new_opt_state, number + 1), (params, opt_state, number)
            kept = jax.tree.map(partial(jnp.where, good), new, old)
            return (*kept, good), (losses, finite)

        start = (state.params, state.opt_state, state.step, jnp.array(True))
        (*after, _), (losses, finite) = jax.lax.scan(step, start, length=steps)
        state = eqx.tree_at(lambda s: (s.params, s.opt_state, s.step), state, tuple(after))
        if inputs.validation is not None:
            args = (state.params, inputs.fixed, inputs.validation, key_validation)
            state = _keep_best(state, evaluate_all(*args))
        return state, losses, finite

    return run


def _draw_batch(data, rows, batch_size, key):
    examples = jax.tree.leaves(data)[0].shape[0]
    index = jax.random.randint(key, (batch_size,), 0, examples)
    index = index if rows is None else rows[index]
    return jax.tree.map(lambda x: x[index], data)


def _keep_best(state: TrainState, loss: Float[Array, " members"]) -> TrainState:
    """Each member keeps the parameters of its own best evaluation."""
    better = loss < state.best_loss

    def choose(new, old):
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return TrainState(
        params=state.params,
        opt_state=state.opt_state,
        best=jax.tree.map(choose, state.params, state.best),
        best_loss=jnp.where(better, loss, state.best_loss),
        last_loss=loss,
        step=state.step,
        stale=jnp.where(jnp.any(better), 0, state.stale + 1),
    )


def _all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))
