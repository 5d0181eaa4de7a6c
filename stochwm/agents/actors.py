"""Distributions of actions from the raw outputs of a network."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..data import FlatSpace
from ..distributions import (
    AbstractDistribution,
    AbstractSampler,
    DiagNormal,
    OneHotCategoricals,
    unimix,
)


class AbstractActorHead(eqx.Module):
    """Turns raw outputs into the distribution of an action, in the units of the environment."""

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """Raw numbers that the network has to give."""

    @abc.abstractmethod
    def __call__(self, raw: Float[Array, " outputs"]) -> AbstractDistribution:
        """The distribution of a flat action."""


class OneHotActor(AbstractActorHead):
    """Independent categories, each with a uniform part (DreamerV3: 1 %)."""

    sizes: tuple[int, ...] = eqx.field(static=True)
    mix: float = eqx.field(static=True, default=0.0)

    @property
    def outputs(self) -> int:
        return sum(self.sizes)

    def __call__(self, raw: Float[Array, " outputs"]) -> OneHotCategoricals:
        return unimix(OneHotCategoricals(raw, self.sizes), self.mix)


class BoundedNormalActor(AbstractActorHead):
    """Normals whose mean stays within the bounds; draws may leave them, and are clipped outside.

    In units of half the range: mean `tanh`, standard deviation from 0.1 to 1 (arXiv 2301.04104).
    """

    low: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)

    @property
    def outputs(self) -> int:
        return 2 * len(self.low)

    def __call__(self, raw: Float[Array, " outputs"]) -> DiagNormal:
        loc, scale = jnp.split(raw, 2)
        unit = DiagNormal(jnp.tanh(loc), 0.1 + 0.9 * jax.nn.sigmoid(scale + 2.0))
        return from_unit(unit, self.low, self.high)


def drawn(belief: AbstractSampler, *, key: PRNGKeyArray) -> Any:
    """A draw, of a policy or of a latent state: how agents learn."""
    return belief.sample(seed=key)


def most_probable(belief: Any, *, key: PRNGKeyArray) -> Any:
    """The most probable value, for which `key` is not needed."""
    return belief.mode()


def make_actor_head(space: FlatSpace, unimix: float = 0.0) -> AbstractActorHead:
    """The head for a space of actions: categories, or numbers with finite bounds.

    Raises:
        ValueError: another space, or numbers that can have one value only.
    """
    check_actions(space)
    if space.discrete:
        return OneHotActor(tuple(size for _, size in space.groups), unimix)
    return BoundedNormalActor(space.low, space.high)


def check_actions(space: FlatSpace) -> None:
    """Raise `ValueError` unless actions are all categories, or all numbers with finite bounds.

    Bounds that are equal are refused, too: a policy has no density where there is no choice.
    """
    finite = np.isfinite([space.low, space.high]).all()
    if not space.discrete and (space.groups or not finite):
        raise ValueError(
            "actions must be all categories or all numbers with finite bounds, but are "
            f"{space.names} in [{space.low}, {space.high}]."
        )
    if not space.discrete:
        fixed = [n for n, a, b in zip(space.names, space.low, space.high, strict=True) if a >= b]
        if fixed:
            raise ValueError(
                f"actions must have a low bound below the high one, but {fixed} have one value "
                "only: leave them out of the action space, and fill them in inside the environment."
            )


def from_unit(unit: DiagNormal, low: tuple[float, ...], high: tuple[float, ...]) -> DiagNormal:
    """A normal in units of half the range, around its middle, in the units of the bounds."""
    bottom, top = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return unit.affine(0.5 * (top + bottom), 0.5 * (top - bottom))


def clip_action(space: FlatSpace, action: Float[Array, "*envs action"]) -> Array:
    """An action brought into its bounds."""
    return jnp.clip(action, np.asarray(space.low), np.asarray(space.high))
