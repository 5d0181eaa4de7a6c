"""Mixture density transitions: several futures for one state and action."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import DiagNormalMixture, FullNormalMixture
from .base import (
    MIN_SCALE,
    AbstractTransition,
    Network,
    check_min_scale,
    join,
    make_network,
    to_scale,
)
from .gaussian import to_tril, tril_size


class MixtureDensity(AbstractTransition):
    """p(s' | s, a) = sum_k w_k N(m_k, diag s_k^2), all functions of (s, a) (Bishop 1994).

    The means start from `anchors`, drawn around zero with unit spread: components that start
    alike receive the same gradient and stay alike. Standard deviations start near 1 and have a
    floor; the log density is a log-sum-exp of component log densities. So inputs and targets
    should be of unit scale: see `Standardised`.
    """

    network: Network
    anchors: Float[Array, "components state"]
    sizes: tuple[int, int] = eqx.field(static=True)
    min_scale: float = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        num_components: int = 5,
        width: int = 128,
        depth: int = 2,
        min_scale: float = MIN_SCALE,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition between states `[state_size]` under actions `[action_size]`.

        Args:
            num_components: K, how many futures one prediction can hold apart.
            width, depth: hidden units and hidden layers of the default MLP.
            min_scale: floor of the standard deviations, in units of the state.
            network: your own, `[state_size + action_size] -> [K * (1 + 2 * state_size)]`: logits,
                means and raw scales, K of each.
            key: for the initial weights and anchors.

        Raises:
            ValueError: impossible sizes or a network of another shape.
        """
        self.sizes = (state_size, action_size)
        self.min_scale = check_min_scale(min_scale)
        self.network, self.anchors = make_components(
            network,
            sizes=self.sizes,
            num_components=num_components,
            numbers=1 + 2 * state_size,
            width=width,
            depth=depth,
            key=key,
        )

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> DiagNormalMixture:
        components, dim = self.anchors.shape
        out = self.network(join(state, action, self.sizes))
        logits, loc, raw = jnp.split(out, [components, components * (1 + dim)])
        scale = to_scale(raw, self.min_scale)
        shape = self.anchors.shape
        return DiagNormalMixture(logits, self.anchors + loc.reshape(shape), scale.reshape(shape))


class FullMixtureDensity(AbstractTransition):
    """As `MixtureDensity`, with a full covariance for each component."""

    network: Network
    anchors: Float[Array, "components state"]
    sizes: tuple[int, int] = eqx.field(static=True)
    min_scale: float = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        num_components: int = 5,
        width: int = 128,
        depth: int = 2,
        min_scale: float = MIN_SCALE,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition; arguments and errors as for `MixtureDensity`.

        A `network` of your own gives `[K * (1 + D + D * (D + 1) / 2)]` for `D = state_size`.
        """
        self.sizes = (state_size, action_size)
        self.min_scale = check_min_scale(min_scale)
        self.network, self.anchors = make_components(
            network,
            sizes=self.sizes,
            num_components=num_components,
            numbers=1 + state_size + tril_size(state_size),
            width=width,
            depth=depth,
            key=key,
        )

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> FullNormalMixture:
        components, dim = self.anchors.shape
        out = self.network(join(state, action, self.sizes)).reshape(components, -1)
        logits, loc, raw = out[:, 0], out[:, 1 : 1 + dim], out[:, 1 + dim :]
        tril = jax.vmap(lambda entries: to_tril(entries, dim, self.min_scale))(raw)
        return FullNormalMixture(logits, self.anchors + loc, tril)


def make_components(
    network: Network | None,
    *,
    sizes: tuple[int, int],
    num_components: int,
    numbers: int,
    width: int,
    depth: int,
    key: PRNGKeyArray,
) -> tuple[Network, Float[Array, "components state"]]:
    """A network with `numbers` outputs for each component, and the anchors of the components.

    Raises:
        ValueError: impossible sizes or a network of another shape.
    """
    if num_components < 1:
        raise ValueError(f"num_components must be at least 1, but is {num_components}.")
    key_network, key_anchors = jax.random.split(key)
    outputs = num_components * numbers
    made = make_network(
        network, sizes=sizes, outputs=outputs, width=width, depth=depth, key=key_network
    )
    return made, jax.random.normal(key_anchors, (num_components, sizes[0]))
