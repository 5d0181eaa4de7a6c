"""Categorical transitions: discrete states, and continuous states in bins."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..distributions import AutoregressiveBins, OneHotCategoricals
from .activations import silu
from .base import AbstractTransition, Network, join, make_network


class Categorical(AbstractTransition):
    """p(s' | s, a) for discrete states: independent categoricals, one for each one-hot group."""

    network: Network
    sizes: tuple[int, int] = eqx.field(static=True)
    groups: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        groups: tuple[int, ...] | None = None,
        width: int = 128,
        depth: int = 2,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition between one-hot states `[state_size]`.

        Args:
            groups: classes of each one-hot group, summing to `state_size`. Default: one group.
            width, depth: hidden units and hidden layers of the default MLP.
            network: your own, `[state_size + action_size] -> [state_size]`.
            key: for the initial weights.

        Raises:
            ValueError: impossible sizes or a network of another shape.
        """
        self.sizes = (state_size, action_size)
        self.groups = (state_size,) if groups is None else tuple(groups)
        if min(self.groups, default=0) < 1 or sum(self.groups) != state_size:
            raise ValueError(
                f"groups must be positive and sum to state_size {state_size}, but are {groups}."
            )
        self.network = make_network(
            network, sizes=self.sizes, outputs=state_size, width=width, depth=depth, key=key
        )

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> OneHotCategoricals:
        return OneHotCategoricals(self.network(join(state, action, self.sizes)), self.groups)


class AutoregressiveCategorical(AbstractTransition):
    """p(s' | s, a) for continuous states: each dimension in bins, given those before it.

    No shape of marginal and no dependence is out of reach, at the price of drawing the dimensions
    one after the other.
    """

    network: Network
    head: "_BinHead"
    sizes: tuple[int, int] = eqx.field(static=True)
    bounds: tuple[float, float] = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        num_bins: int = 64,
        bounds: tuple[float, float] = (-5.0, 5.0),
        features: int = 64,
        width: int = 128,
        depth: int = 2,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition between states `[state_size]` under actions `[action_size]`.

        Args:
            num_bins: bins of each dimension; the outer two are exponential tails.
            bounds: where the bins lie, in (standardised) units of the state.
            features: size of the context that the network gives to the bin head.
            width, depth: hidden units and hidden layers of the default MLP.
            network: your own, `[state_size + action_size] -> [features]`.
            key: for the initial weights.

        Raises:
            ValueError: impossible sizes, fewer than 3 bins, bounds out of order, or a network of
                another shape.
        """
        if num_bins < 3:
            raise ValueError(f"num_bins must be at least 3 (two are tails), but is {num_bins}.")
        if not -math.inf < bounds[0] < bounds[1] < math.inf:
            raise ValueError(
                f"bounds must be finite, (low, high) with low < high, but are {bounds}."
            )
        key_network, key_head = jax.random.split(key)
        self.sizes = (state_size, action_size)
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self.network = make_network(
            network, sizes=self.sizes, outputs=features, width=width, depth=depth, key=key_network
        )
        self.head = _BinHead(features, state_size, num_bins, width, key=key_head)

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AutoregressiveBins:
        dim = self.sizes[0]
        low, high = (jnp.full((dim,), bound) for bound in self.bounds)
        context = self.network(join(state, action, self.sizes))
        return AutoregressiveBins(
            self.head, context, low, high, shift=jnp.zeros(dim), scale=jnp.ones(dim)
        )


class _BinHead(eqx.Module):
    """Bin logits of one dimension, shared by all of them: which one it is comes as a one-hot."""

    mlp: eqx.nn.MLP

    def __init__(self, features, dim, num_bins, width, *, key):
        self.mlp = eqx.nn.MLP(features + 2 * dim, num_bins, width, 1, activation=silu, key=key)

    def __call__(
        self, context: Float[Array, " features"], previous: Float[Array, " dim"], d: Int[Array, ""]
    ) -> Float[Array, " bins"]:
        which = jax.nn.one_hot(d, previous.shape[0])
        return self.mlp(jnp.concatenate([context, previous, which]))
