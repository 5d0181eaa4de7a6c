"""The two entry points: the laws one after the other, until one is broken.

A law is a function of a case that returns a complaint, or None. None of this needs a test
framework: call it from any test, or from a notebook.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ..models import AbstractWorldModel
from .transition_case import TransitionCase
from .transition_laws import TRANSITION_LAWS
from .world_model_laws import WORLD_MODEL_LAWS, WorldModelCase


def check_transition(
    transition: Callable[..., Any],
    state: PyTree[Any],
    action: Any,
    *,
    key: PRNGKeyArray,
    tolerance: float = 6.0,
    num_samples: int = 4096,
) -> None:
    """Raise `AssertionError` for the first law that a transition breaks.

    Args:
        transition: an `AbstractTransition`, or any `(state, action) -> AbstractSampler`.
        state: one typical state, any pytree of arrays, without a batch axis.
        action: one typical action, `[action_size]`.
        key: for the samples.
        tolerance: by how many standard errors the moments of the samples may differ from `mean()`
            and `variance()`.
        num_samples: samples for those moments, at least 2.

    Raises:
        AssertionError: a law is broken; the message names it, says what was seen and what to do.
        ValueError: `num_samples` is below 2.
    """
    state, action = jax.tree.map(jnp.asarray, (state, action))
    case = TransitionCase(transition, state, action, key, tolerance, num_samples)
    _judge(type(transition).__name__, TRANSITION_LAWS, case)


def check_world_model(
    model: AbstractWorldModel,
    state: PyTree[Any],
    action: Any,
    *,
    key: PRNGKeyArray,
    length: int = 5,
    tolerance: float = 6.0,
    num_samples: int = 4096,
) -> None:
    """Raise `AssertionError` for the first law that a world model breaks.

    Args:
        model: any world model; its `transition` must keep the laws of `check_transition` too.
        state: one typical state, any pytree of arrays, without a batch axis.
        action: one typical action, `[action_size]`, taken at every step.
        key: for the samples and the futures.
        length: steps of the futures, at least 2.
        tolerance: as for `check_transition`.
        num_samples: as for `check_transition`.

    Raises:
        AssertionError: a law is broken; the message names it, says what was seen and what to do.
        ValueError: `length` is below 2, or `num_samples` is below 2.
    """
    state, action = jax.tree.map(jnp.asarray, (state, action))
    case = WorldModelCase(model, state, action, key, length)
    draws = TransitionCase(model.transition, state, action, key, tolerance, num_samples)
    _judge(type(model).__name__, TRANSITION_LAWS, draws)
    _judge(type(model).__name__, WORLD_MODEL_LAWS, case)


def _judge(name: str, laws: Sequence[Callable[[Any], str | None]], case: Any) -> None:
    for law in laws:
        try:
            complaint = law(case)
        except Exception as error:
            complaint = f"{type(error).__name__}: {error}"
            raise AssertionError(_verdict(name, law, complaint)) from error
        if complaint is not None:
            raise AssertionError(_verdict(name, law, complaint))


def _verdict(name: str, law: Callable[[Any], str | None], complaint: str) -> str:
    return f"{name} breaks the law {law.__name__} ({law.__doc__}): {complaint}"
