"""Normal transitions: one mode, with independent dimensions or a full covariance."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import DiagNormal, FullNormal
from .base import (
    MIN_SCALE,
    AbstractTransition,
    Network,
    check_min_scale,
    join,
    make_network,
    to_scale,
)


class Gaussian(AbstractTransition):
    """p(s' | s, a) = N(mu(s, a), diag sigma(s, a)^2) (Nix & Weigend 1994)."""

    network: Network
    sizes: tuple[int, int] = eqx.field(static=True)
    min_scale: float = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        width: int = 128,
        depth: int = 2,
        min_scale: float = MIN_SCALE,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition between states `[state_size]` under actions `[action_size]`.

        Args:
            width, depth: hidden units and hidden layers of the default MLP.
            min_scale: floor of the standard deviations, in units of the state.
            network: your own, `[state_size + action_size] -> [2 * state_size]`.
            key: for the initial weights.

        Raises:
            ValueError: impossible sizes or a network of another shape.
        """
        self.sizes = (state_size, action_size)
        self.min_scale = check_min_scale(min_scale)
        outputs = 2 * state_size
        self.network = make_network(
            network, sizes=self.sizes, outputs=outputs, width=width, depth=depth, key=key
        )

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> DiagNormal:
        loc, raw = jnp.split(self.network(join(state, action, self.sizes)), 2)
        return DiagNormal(loc, to_scale(raw, self.min_scale))


class FullGaussian(AbstractTransition):
    """p(s' | s, a) = N(mu(s, a), L L^T) with a Cholesky factor L(s, a)."""

    network: Network
    sizes: tuple[int, int] = eqx.field(static=True)
    min_scale: float = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        width: int = 128,
        depth: int = 2,
        min_scale: float = MIN_SCALE,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition; arguments and errors as for `Gaussian`.

        A `network` of your own gives `[state_size + state_size * (state_size + 1) / 2]`.
        """
        self.sizes = (state_size, action_size)
        self.min_scale = check_min_scale(min_scale)
        outputs = state_size + tril_size(state_size)
        self.network = make_network(
            network, sizes=self.sizes, outputs=outputs, width=width, depth=depth, key=key
        )

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> FullNormal:
        loc, raw = jnp.split(self.network(join(state, action, self.sizes)), [self.sizes[0]])
        return FullNormal(loc, to_tril(raw, self.sizes[0], self.min_scale))


def tril_size(dim: int) -> int:
    """Entries of a lower triangle."""
    return dim * (dim + 1) // 2


def to_tril(raw: Float[Array, " entries"], dim: int, min_scale: float) -> Float[Array, "dim dim"]:
    """A Cholesky factor from unbounded outputs: diagonal first, then what is below it."""
    rows, columns = np.tril_indices(dim, -1)
    diagonal = jnp.diag(to_scale(raw[:dim], min_scale))
    return diagonal.at[rows, columns].set(raw[dim:])
