"""Mixtures of boxes as transitions: bounded chance, with the atoms that walls and resets make."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import BoxMixture
from .base import SOFTPLUS_INVERSE_OF_1, AbstractTransition, Network, join
from .mixture_density import make_components


class BoxMixtureDensity(AbstractTransition):
    """p(s' | s, a) = sum_k w_k Uniform[c_k - h_k, c_k + h_k], all functions of (s, a).

    For worlds whose chance has sharp edges: noise in an interval, walls, resets. Few boxes do there
    what takes many normals, and `Pinned` makes atoms of some. A box gives no density, and so no
    gradient, to what lies outside it: train with `smoothed_likelihood(noise)`, which sees
    prediction and target through the same noise. The prediction itself stays free of it.

    The centres start from `anchors`, drawn around zero with unit spread, and half sides near 1: see
    `Standardised`.
    """

    network: Network
    anchors: Float[Array, "components state"]
    sizes: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        num_components: int = 5,
        width: int = 128,
        depth: int = 2,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition between states `[state_size]` under actions `[action_size]`.

        Args:
            num_components: K, how many boxes.
            width, depth: hidden units and hidden layers of the default MLP.
            network: your own, `[state_size + action_size] -> [K * (1 + 2 * state_size)]`.
            key: for the initial weights and anchors.

        Raises:
            ValueError: impossible sizes or a network of another shape.
        """
        self.sizes = (state_size, action_size)
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
    ) -> BoxMixture:
        components, dim = self.anchors.shape
        out = self.network(join(state, action, self.sizes)).reshape(components, -1)
        centre = self.anchors + out[:, 1 : 1 + dim]
        half = jax.nn.softplus(out[:, 1 + dim :] + SOFTPLUS_INVERSE_OF_1)
        return BoxMixture(out[:, 0], centre - half, centre + half)
