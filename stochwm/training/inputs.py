"""What `fit` refuses before it compiles anything."""

import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PRNGKeyArray, PyTree

from .._counts import checked_count
from ..transitions import Ensemble
from .losses import Loss

MAX_COUNT = 2**31 - 1  # counters on the device are int32, and would wrap around


def check_call(model: Any, data: Any, loss: Any) -> None:
    """Refuse what belongs into another argument of `fit`, or has to be unpacked first.

    Args:
        model: as given.
        data: as given.
        loss: as given; None for the likelihood of single steps.

    Raises:
        TypeError: naming the argument, and what to pass instead.
    """
    if isinstance(loss, optax.GradientTransformation):
        raise TypeError(
            "loss must be a function loss(model, example, *, key), but is an optax optimiser: pass "
            "it by its name, fit(model, data, optimizer=...)."
        )
    if loss is not None and not callable(loss):
        raise TypeError(
            f"loss must be a function loss(model, example, *, key), but is {loss!r}: leave it out "
            "for the negative log-likelihood, or see stochwm.training for others."
        )
    if hasattr(data, "transitions"):
        raise TypeError(
            f"data must be single examples, but is {type(data).__name__}: cut it up first, "
            "data.transitions() or data.windows(length)."
        )
    if loss is not None:
        return
    if not callable(model):
        mend = ": pass its kernel, model.kernel" if hasattr(model, "kernel") else ""
        raise TypeError(
            "model must be called as model(state, action) by the default loss, but a "
            f"{type(model).__name__} cannot be{mend}, or pass a loss of your own."
        )
    lacking = [name for name in ("state", "action", "next_state") if not hasattr(data, name)]
    if lacking and eqx.filter(jax.tree.leaves(data), eqx.is_array):
        raise TypeError(
            "data must have state, action and next_state for the default loss, but a "
            f"{type(data).__name__} has no {', '.join(lacking)}: pass episodes.transitions(), or a "
            "loss that takes it, such as rollout_likelihood() or rollout_energy() for Windows."
        )


def check_loss(loss: Loss, members: Any, data: Any, key: PRNGKeyArray) -> None:
    """Trace the loss of one example and member, and compile nothing.

    Args:
        loss: `loss(model, example, *, key)`.
        members: stacked, every array with a leading member axis.
        data: examples that passed `check_data`.
        key: of the right kind; nothing is drawn.

    Raises:
        ValueError: it is no scalar.
    """

    def one(members, data, key):
        first = lambda tree: jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, tree)  # noqa: E731
        return loss(first(members), first(data), key=key)

    came = eqx.filter_eval_shape(one, members, data, key)
    shape = getattr(came, "shape", () if isinstance(came, int | float) else None)
    if shape != ():
        what = f"a {type(came).__name__}" if shape is None else f"shape {shape}"
        raise ValueError(
            f"loss must return a scalar for one example, but returned {what}: sum or average over "
            "its dimensions."
        )


def check_data(name: str, data: PyTree[Any]) -> int:
    """Check training examples and return how many there are.

    Raises:
        ValueError: no array, leading axes that differ, no example, NaN or infinity, or a number
            that JAX's own precision cannot hold; the message names the leaf, and for data that
            knows its episodes the episode and step.
    """
    leaves = [
        (name + jax.tree_util.keystr(path), np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(data, eqx.is_array))
    ]
    lengths = {leaf.shape[:1] for _, leaf in leaves}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise ValueError(
            f"{name} must hold arrays that share one leading axis of at least 1 example, but has "
            f"{ {path: leaf.shape for path, leaf in leaves} }."
        )
    for path, leaf in leaves:
        bad = _unusable(leaf)
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            kept = _kept_dtype(leaf)
            raise ValueError(
                f"{path} must be finite, but is not {_where(data, row)}."
                if np.issubdtype(leaf.dtype, np.floating)
                else f"{path} must fit into {kept}, but does not {_where(data, row)}."
            )
    return lengths.pop()[0]


def _unusable(leaf: np.ndarray) -> np.ndarray:
    """Where numbers are not finite, or will not be what they are once they are JAX arrays."""
    if not np.issubdtype(leaf.dtype, np.number):
        return np.zeros(leaf.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        kept = leaf.astype(_kept_dtype(leaf), copy=False)
    if np.issubdtype(leaf.dtype, np.integer):
        return kept.astype(leaf.dtype) != leaf  # JAX would wrap them around silently
    return ~np.isfinite(kept)


def _kept_dtype(leaf: np.ndarray) -> np.dtype:
    """What JAX makes of a dtype: float64 becomes float32 unless jax_enable_x64 is on."""
    return jnp.asarray(np.zeros(0, leaf.dtype)).dtype


def check_alike(data: PyTree[Any], validation: PyTree[Any]) -> None:
    """Raise `ValueError` unless both hold the same arrays, their leading axes aside."""
    one, other = (
        {
            jax.tree_util.keystr(path): np.shape(leaf)[1:]
            for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
        }
        for tree in (data, validation)
    )
    if one != other:
        raise ValueError(
            "validation must hold the same arrays as data, but for one example it has "
            f"{_unlike(other, one)}, where data has {_unlike(one, other)}."
        )


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: shape for name, shape in one.items() if other.get(name) != shape}


def check_model(model: Any) -> None:
    """Raise `TypeError` for an `Ensemble` that `fit` would not see as one."""
    top = model.members if isinstance(model, Ensemble) else model
    nodes = jax.tree.leaves(top, is_leaf=lambda node: isinstance(node, Ensemble))
    if any(isinstance(node, Ensemble) for node in nodes):
        raise TypeError(
            f"model must not hold an Ensemble inside another module, but is a "
            f"{type(model).__name__} around one: its members would share one loss, one batch and "
            "one optimiser state. Pass an Ensemble of the wrapped kernel, such as "
            "Ensemble(lambda key: Standardised(kernel(key), ...), 5, key=key)."
        )


def checksum(tree: PyTree[Any]) -> int:
    """A number that tells data sets apart: the CRC-32 of their arrays."""
    total = 0
    for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array)):
        total = zlib.crc32(np.asarray(leaf).tobytes(), total)
    return total


def check_numbers(*, patience: int | None, **numbers: int) -> None:
    """Raise `ValueError` unless every number is a count that an int32 can reach."""
    if patience is not None:
        numbers["patience"] = patience
    for name, number in numbers.items():
        if checked_count(name, number) > MAX_COUNT:
            raise ValueError(f"{name} must be at most {MAX_COUNT} (int32), but is {number}.")


def _where(data: Any, row: int) -> str:
    episode = getattr(data, "episode", None)
    if episode is None:
        return f"in example {row}"
    episode = np.asarray(episode)
    step = row - int(np.argmax(episode == episode[row]))
    return f"in example {row}: episode {int(episode[row])}, step {step}"
