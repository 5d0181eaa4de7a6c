"""Which arrays of a model learn."""

from typing import TypeVar

import equinox as eqx
import jax

from ..transitions import AbstractConstant

_Model = TypeVar("_Model")


def partition_trainable(model: _Model) -> tuple[_Model, _Model]:
    """Split a model into what an optimiser may move and what it may not.

    Arrays inside an `AbstractConstant` (normaliser statistics) stay out of the trainable part:
    `stop_gradient` would not protect them from weight decay.

    Returns:
        `(trainable, fixed)`, to be joined again by `equinox.combine`.
    """
    is_constant = lambda node: isinstance(node, AbstractConstant)  # noqa: E731
    spec = jax.tree.map(
        lambda node: not is_constant(node) and eqx.is_inexact_array(node),
        model,
        is_leaf=is_constant,
    )
    return eqx.partition(model, spec)
