"""Ensembles: K kernels that learn apart, so that their disagreement means something."""

import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..distributions import AbstractSampler, UniformMixture
from .base import AbstractTransition


class Ensemble(AbstractTransition):
    """K independent kernels; the prediction is their equal-weight mixture.

    Lakshminarayanan et al. (2017, arXiv 1612.01474); for dynamics, Chua et al. (2018, arXiv
    1805.12114).
    """

    members: AbstractTransition
    """The kernels, stacked: every array leaf has a leading member axis."""

    def __init__(
        self,
        make: Callable[[PRNGKeyArray], AbstractTransition],
        num_members: int,
        *,
        key: PRNGKeyArray,
    ):
        """Make `num_members` kernels.

        Args:
            make: makes one kernel from a key.
            num_members: K, at least 1.
            key: split into one key a member.

        Raises:
            TypeError: `make` is a kernel, and not what makes one.
            ValueError: `num_members` is below 1.
        """
        if isinstance(make, AbstractTransition) or not callable(make):
            raise TypeError(
                "make must be a function that makes a kernel from a key, such as "
                "lambda key: Gaussian(2, 1, key=key), so that members begin apart, but is a "
                f"{type(make).__name__}."
            )
        if num_members < 1:
            raise ValueError(f"num_members must be at least 1, but is {num_members}.")
        self.members = eqx.filter_vmap(make)(jax.random.split(key, num_members))

    @property
    def num_members(self) -> int:
        """How many members, K."""
        return jax.tree.leaves(eqx.filter(self.members, eqx.is_array))[0].shape[0]

    def each(self, state: PyTree[Array], action: Array) -> AbstractSampler:
        """What each member predicts: one distribution with a leading member axis."""
        return eqx.filter_vmap(lambda member: member(state, action))(self.members)

    def __call__(self, state: PyTree[Array], action: Array) -> UniformMixture:
        return UniformMixture(self.each(state, action))

    def member(self, index: Any) -> AbstractTransition:
        """Member number `index`, as a kernel of its own.

        Raises:
            TypeError: what is no whole number.
            ValueError: one that is known to be out of range: JAX would clamp it.
        """
        if not isinstance(index, Tracer):
            index = operator.index(index)
            if not -self.num_members <= index < self.num_members:
                raise ValueError(
                    f"index must name one of {self.num_members} members, but is {index}."
                )
        return jax.tree.map(lambda x: x[index] if eqx.is_array(x) else x, self.members)
