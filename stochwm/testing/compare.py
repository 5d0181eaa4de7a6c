"""What the laws look with: forms, closeness and finiteness of pytrees, and traced programs."""

import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

ROUNDING = 1e-3
"""Error that float32 may make in a rollout or an inverse, relative to 1 + |value|."""


def forms(tree: PyTree[Any]) -> str:
    """Structure, dtypes and shapes of a pytree, as text."""
    return str(jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", tree))


def pairs(came: PyTree[Any], want: PyTree[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The leaves of two trees of one structure, side by side."""
    both = zip(jax.tree.leaves(came), jax.tree.leaves(want), strict=True)
    return [(np.asarray(a), np.asarray(b)) for a, b in both]


def are_close(came: PyTree[Any], want: PyTree[Any], rounding: float = ROUNDING) -> bool:
    """Whether all leaves agree up to rounding; NaN agrees with NaN."""
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=rounding, atol=rounding, equal_nan=True)
        for a, b in pairs(came, want)
    )


def are_finite(tree: PyTree[Any]) -> bool:
    """Whether no floating-point leaf holds NaN or infinity."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return all(np.isfinite(np.asarray(x)).all() for x in floats)


def program(function: Callable[..., Any], *arguments: Any) -> tuple[str, list[np.ndarray]]:
    """A fresh trace of `function`: the program as text, and its constants."""
    jaxpr, _, _ = eqx.filter_make_jaxpr(lambda *inputs: function(*inputs))(*arguments)
    # Memory addresses of Python functions differ from trace to trace and say nothing.
    return re.sub(r"0x[0-9a-f]+", "", str(jaxpr)), [_numbers(const) for const in jaxpr.consts]


def are_one_program(first: tuple[str, list], second: tuple[str, list]) -> bool:
    """Whether two traces are the same program with the same constants."""
    (text, consts), (other_text, other_consts) = first, second
    return text == other_text and all(
        np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.inexact))
        for a, b in zip(consts, other_consts, strict=True)
    )


def _numbers(const: Any) -> np.ndarray:
    is_key = jnp.issubdtype(const.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(const) if is_key else const)
