"""Training: a function over a model, for all members of an ensemble in one call."""

import os
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import PRNGKeyArray, PyTree
from tqdm import tqdm

from .._devices import Devices, whole
from .._storage import StorageError, latest_step, load_step, load_step_metadata, save_step
from ..transitions import Ensemble
from .engine import Trace, TrainState, begin, chosen, make_chunk, make_inputs
from .errors import TrainingDiverged
from .inputs import (
    check_alike,
    check_call,
    check_data,
    check_loss,
    check_model,
    check_numbers,
    checksum,
)
from .loggers import Logger, Row
from .losses import Loss, negative_log_likelihood
from .trainable import partition_trainable


class Fitted(NamedTuple):
    """What `fit` returns."""

    model: Any
    """The model, each member at its best validation loss (or its last step without one)."""
    history: list[Row]
    """One row an evaluation: `step`; `loss`, `validation_loss`, `best_validation_loss` (means over
    members, None where one is not finite); `skipped`, how many member steps were skipped so far
    because they were not finite."""
    steps: int
    """Optimiser steps done."""


def default_optimizer(
    steps: int, learning_rate: float = 1e-2, weight_decay: float = 1e-2
) -> optax.GradientTransformation:
    """AdamW under a cosine schedule, with gradients that no single outlier can blow up.

    The learning rate is high for Adam: mixture components that start between modes find them ten
    times faster than at 1e-3. A target at 1e4 standard deviations gives entries whose squares
    overflow float32 in a global norm; so each entry is clipped first, far above any healthy one.

    Args:
        steps: length of the schedule, which ends at 1 % of the learning rate.
        learning_rate: at the start.
        weight_decay: decoupled, times the learning rate a step; raise it where data are few.
    """
    return optax.chain(
        optax.clip(1e4),
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            optax.cosine_decay_schedule(learning_rate, steps, alpha=0.01),
            weight_decay=weight_decay,
        ),
    )


def fit(
    model: Any,
    data: PyTree[Any],
    loss: Loss | None = None,
    optimizer: optax.GradientTransformation | None = None,
    *,
    key: PRNGKeyArray,
    validation: PyTree[Any] | None = None,
    steps: int = 5_000,
    batch_size: int = 256,
    evaluate_every: int = 250,
    patience: int | None = 10,
    bootstrap: bool = True,
    max_bad_steps: int = 10,
    devices: Devices = None,
    checkpoint: str | os.PathLike | None = None,
    log: Logger | None = None,
    progress: bool = True,
) -> Fitted:
    """Fit a model to data.

    The members of an `Ensemble` are trained by one program: each has its own optimiser state,
    its own batches, and its own bootstrap resample of the data. Any other model is an ensemble of
    one. `evaluate_every` steps run in one compiled scan.

    A step whose loss, gradient or update is NaN or infinite is skipped: that member's parameters
    and optimiser state stay as they were, the others go on, and `skipped` in the history counts it.

    Args:
        model: an `Ensemble`, or anything that `loss` takes that holds no `Ensemble`.
        data: training examples; every array leaf has a leading axis `[examples, ...]`
            (`Transitions` or `Windows`).
        loss: `loss(model, example, *, key) -> scalar`; default `negative_log_likelihood()`.
        optimizer: any optax optimiser; default `default_optimizer(steps)`.
        key: makes batches, resamples and the loss's noise; the same key gives the same model.
        validation: held-out examples like `data`, for early stopping and for choosing, member by
            member, the best parameters met at an evaluation.
        steps: optimiser steps, at least 1.
        batch_size: examples a step and member.
        evaluate_every: steps between evaluations, checkpoints and rows of the history.
        patience: stop after this many evaluations in which no member improved; None: never.
        bootstrap: whether members of an ensemble resample the data.
        max_bad_steps: give up when this many steps in a row of one member were not finite; 1 gives
            up at the first.
        devices: how many devices share the members, or a `jax.sharding.Mesh`; None: one. On CPUs
            the result is the same up to rounding: some sum in another order where a device has
            another number of members.
        checkpoint: folder for checkpoints, written by the first process if there are several. If
            it holds one of this very fit, it goes on from there, and ends with the bits of an
            uninterrupted run. `steps` may be raised then if `optimizer` is given, but not lowered;
            the schedule of the default one depends on `steps`, so that another number is another
            fit. Where a shorter fit ended, one evaluation more stays in the history, and its
            parameters may be chosen. An optimiser, a loss and initial weights of your own cannot be
            compared: pass the same.
        log: called with every new row of the history.
        progress: whether to show a progress bar.

    Returns:
        The fitted model, the history, and the number of steps done.

    Raises:
        TypeError: an `Ensemble` inside another module, which would be trained as one model; whole
            episodes; an optimiser as `loss`; a model or data that the default loss cannot take.
        ValueError: empty, ragged or NaN data, with where it is; validation data of another
            structure; impossible numbers; a model without anything to train; a loss that is no
            scalar.
        TrainingDiverged: `max_bad_steps` steps in a row were not finite.
        StorageError: the checkpoint is damaged or belongs to another fit.
    """
    check_call(model, data, loss)
    check_data("data", data)
    if validation is not None:
        check_data("validation", validation)
        check_alike(data, validation)
    check_numbers(
        steps=steps,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
        max_bad_steps=max_bad_steps,
        patience=patience,
    )
    check_model(model)
    loss = negative_log_likelihood() if loss is None else loss
    schedule = {"default_optimizer": {"steps": steps}} if optimizer is None else {}
    optimizer = default_optimizer(steps) if optimizer is None else optimizer

    members = model.members if isinstance(model, Ensemble) else _stack_one(model)
    trainable, fixed = partition_trainable(members)
    state = begin(trainable, optimizer)
    check_loss(loss, members, data, key)
    num_members = state.best_loss.shape[0]
    run = make_chunk(loss, optimizer, batch_size, max_bad_steps, devices)
    options: Any = {"num_members": num_members, "bootstrap": bootstrap}
    inputs = make_inputs(fixed, data, validation, key=key, devices=devices, **options)
    identity = {
        "seed": list(_seed(key)),
        "data": checksum((data, validation)),
        "batch_size": batch_size,
        "evaluate_every": evaluate_every,
        "members": num_members,
        "bootstrap": bootstrap,
        **schedule,
    }
    state, history = _resume(checkpoint, state, identity)
    if int(state.step) > steps:
        raise ValueError(
            f"steps is {steps}, but the checkpoint in {os.fspath(checkpoint or '')!r} was trained "
            f"for {int(state.step)}: ask for as many or more, or use another folder."
        )
    state = whole(state, devices)
    join = partial(_join, model, fixed)

    with tqdm(total=steps, initial=int(state.step), disable=not progress, unit="step") as bar:
        while (step := int(state.step)) < steps and not _exhausted(state, patience):
            # To the next multiple, also after a fit that ended between two of them.
            chunk = min(evaluate_every - step % evaluate_every, steps - step)
            state, trace = run(inputs, state, chunk)
            _check_diverged(trace, max_bad_steps, step, key, join, state.params, history)
            history.append(_row(state, trace, validation is not None))
            if checkpoint is not None and jax.process_index() == 0:
                save_step(checkpoint, int(state.step), state, {"fit": identity, "history": history})
            if log is not None:
                log(history[-1])
            bar.update(chunk)
            bar.set_postfix(_shown(history[-1]))
    params = state.params if validation is None else chosen(state)
    return Fitted(join(params), history, int(state.step))


def _resume(
    checkpoint: str | os.PathLike | None, state: TrainState, identity: dict[str, Any]
) -> tuple[TrainState, list[Row]]:
    if checkpoint is None or latest_step(checkpoint) is None:
        return state, []
    metadata = load_step_metadata(checkpoint)
    if metadata.get("fit") != identity:
        raise StorageError(
            f"The checkpoint in {os.fspath(checkpoint)!r} belongs to another fit: it has "
            f"{metadata.get('fit')}, this one has {identity}. Use another folder, or delete it."
        )
    return load_step(checkpoint, state), metadata["history"]


def _check_diverged(trace: Trace, max_bad_steps, step, key, join, params, history) -> None:
    diverged = np.asarray(trace.diverged)
    if diverged.any():
        row, member = (int(i) for i in np.argwhere(diverged)[0])
        raise TrainingDiverged(
            step=step + row + 1,
            member=member,
            seed=_seed(key),
            bad_steps=max_bad_steps,
            model=join(params),
            history=history,
        )


def _row(state: TrainState, trace: Trace, validated: bool) -> Row:
    count, total = np.sum(trace.finite), np.sum(trace.loss, dtype=float)
    row: Row = {"step": int(state.step), "loss": _number(total / count) if count else None}
    if validated:
        row["validation_loss"] = _number(np.mean(state.last_loss))
        row["best_validation_loss"] = _number(np.mean(state.best_loss))
    return row | {"skipped": int(np.sum(state.skipped))}


def _number(value: Any) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _shown(row: Row) -> dict[str, str]:
    """What the progress bar says."""
    quiet = {"step"} if row["skipped"] else {"step", "skipped"}
    return {k: "-" if v is None else f"{v:.4g}" for k, v in row.items() if k not in quiet}


def _exhausted(state: TrainState, patience: int | None) -> bool:
    # In a row of bad steps nothing can improve: that is to end as a divergence, not as patience.
    healthy = not np.any(state.bad_steps)
    return patience is not None and healthy and int(state.stale) >= patience


def _seed(key: PRNGKeyArray) -> tuple[int, ...]:
    return tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel())


def _stack_one(model: Any) -> Any:
    return jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, model)


def _join(model: Any, fixed: Any, params: Any) -> Any:
    """The model with new member parameters, of the type that came in."""
    members = eqx.combine(params, fixed)
    if isinstance(model, Ensemble):
        return eqx.tree_at(lambda ensemble: ensemble.members, model, members)
    return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, members)
