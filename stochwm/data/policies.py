"""Policies to collect with: `policy(state, *, key) -> action`, both flat float32 vectors."""

import importlib
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .named import current_folder_first
from .spaces import FlatSpace


class RandomPolicy(eqx.Module):
    """Independent draws over the whole action space, whatever the state.

    Uniform between finite bounds, exponential with mean 1 away from a single bound, standard
    normal where there is none, and a uniform category in each one-hot block. Integer boxes are
    rounded when the action is decoded, which halves the chance of the two end values.

    Attributes:
        space: the flat action space.

    Raises:
        TypeError: a space of Gymnasium.
    """

    space: FlatSpace = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.space, FlatSpace):
            raise TypeError(
                f"space must be a FlatSpace, but is {self.space!r}: pass flat_space(space), or the "
                "action_space of Episodes."
            )

    def __call__(self, state: Any, *, key: PRNGKeyArray) -> Float[Array, " action"]:
        """One action; `state` is ignored."""
        del state
        low, high = jnp.asarray(self.space.low, "float32"), jnp.asarray(self.space.high, "float32")
        key_uniform, key_normal = jax.random.split(key)
        uniform = jax.random.uniform(key_uniform, (self.space.size,), "float32")
        action = jax.random.normal(key_normal, (self.space.size,), "float32")
        exponential = -jnp.log1p(-uniform)
        action = jnp.where(jnp.isfinite(low), low + exponential, action)
        action = jnp.where(jnp.isfinite(high), high - exponential, action)
        # Not low + (high - low) u: the difference of two finite bounds may overflow.
        between = jnp.clip(low * (1 - uniform) + high * uniform, low, high)
        action = jnp.where(jnp.isfinite(low) & jnp.isfinite(high), between, action)
        for start, size in self.space.groups:
            best = jnp.argmax(uniform[start : start + size])
            action = action.at[start : start + size].set(
                jax.nn.one_hot(best, size, dtype="float32")
            )
        return action


def load_policy(name: str) -> Callable:
    """Import a policy by name, for the command line.

    Args:
        name: `module:attribute`, such as `my_policies:expert`. The module is looked for in the
            current folder first.

    Raises:
        ValueError: not of this form, or there is no such module or attribute.
        TypeError: what was found cannot be called, or is a class instead of an instance.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"a policy is named module:attribute, got {name!r}")
    try:
        with current_folder_first():
            policy = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"policy {name!r}: cannot import {module_name!r} ({error})") from error
    for part in attribute.split("."):
        if not hasattr(policy, part):
            raise ValueError(f"policy {name!r}: {module_name!r} has no attribute {attribute!r}")
        policy = getattr(policy, part)
    if isinstance(policy, type) or not callable(policy):
        raise TypeError(
            f"policy {name!r} is {policy!r}, expected a function or module instance that is "
            "called as policy(state, key=key)"
        )
    return policy
