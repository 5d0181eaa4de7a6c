"""The recurrent state-space model: Dreamer's world model."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import (
    AbstractDistribution,
    LatentState,
    LatentStateDistribution,
    UniformMixture,
)
from ..distributions.checks import as_float, check_finite
from ..transitions import AbstractConstant
from .base import AbstractFilter
from .block_gru import BlockGRU
from .latents import AbstractLatent
from .observation_heads import AbstractDecoder
from .perceptron import Perceptron
from .scalars import AbstractScalar


class UnitActions(AbstractConstant):
    """Actions in [-1, 1]; what leaves its bounds counts as the bound, as in an environment.

    An entry whose bounds are equal says nothing, and is 0.
    """

    low: Float[Array, " action"]
    high: Float[Array, " action"]

    def __call__(self, action: Float[Array, " action"]) -> Float[Array, " action"]:
        middle, half = 0.5 * (self.high + self.low), 0.5 * (self.high - self.low)
        unit = jnp.where(half > 0, (action - middle) / jnp.where(half > 0, half, 1.0), 0.0)
        return unit / jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(unit)))


class RSSM(AbstractFilter):
    """The recurrent state-space model of PlaNet and Dreamer (arXiv 1811.04551, 2301.04104).

    A state is `LatentState(deter=h, stoch=z)`, with

        h' = cell(h, z, a)       z' ~ prior(z' | h')       z' ~ posterior(z' | h', encoder(o'))

    and the observation, the reward and whether the episode goes on are read off `[h', z']`. So
    `transition` returns a `LatentStateDistribution`, `imagine` dreams, and `observe` filters.

    With several prior heads the prior is the equal mixture of what they predict. They share all but
    themselves, and disagree where they were not taught: the measures of `stochwm.drift` and a
    `DriftGuard` take such a transition, the cheap form of an ensemble (for one-step models: Sekar
    et al. 2020, arXiv 2005.05960, section 3.1).
    """

    actions: UnitActions
    cell: BlockGRU
    prior_head: eqx.Module
    """Where there are several, stacked: every array has a leading axis of heads."""
    posterior_head: Perceptron
    latent: AbstractLatent
    encoder: Callable[[Array], Float[Array, " embedding"]]
    decoder: AbstractDecoder
    reward_head: Perceptron
    reward_scalar: AbstractScalar
    discount_head: Perceptron
    prior_heads: int = eqx.field(static=True)
    horizon: float | None = eqx.field(static=True)

    def __init__(
        self,
        *,
        action_bounds: tuple[Any, Any],
        latent: AbstractLatent,
        encoder: Callable[[Array], Float[Array, " embedding"]],
        embedding: int,
        make_decoder: Callable[..., AbstractDecoder],
        reward_scalar: AbstractScalar,
        deter: int = 128,
        width: int = 64,
        depth: int = 1,
        blocks: int = 1,
        prior_heads: int = 1,
        horizon: float | None = 333.0,
        key: PRNGKeyArray,
    ):
        """Make a model.

        Args:
            action_bounds: the lowest and the highest action, `[action]` each and finite; 0 and 1
                for the entries of one-hot actions.
            latent: what z is.
            encoder: `[observation] -> [embedding]`.
            embedding: entries of an embedding.
            make_decoder: `make_decoder(features, key=key)` gives the decoder, which takes
                `features` numbers.
            reward_scalar: how the reward is predicted.
            deter: size of h.
            width, depth: hidden units and hidden layers of the heads.
            blocks: diagonal blocks of the cell.
            prior_heads: how many predict z', at least 1.
            horizon: the discount head learns `(1 - 1 / horizon)` times whether the episode goes on,
                which `discount` undoes (arXiv 2301.04104); None: whether it goes on.
            key: for the initial weights.

        Raises:
            ValueError: sizes that do not fit together, bounds that are crossed, or a horizon of 1
                or less.
        """
        low, high = (as_float("action_bounds", bound) for bound in action_bounds)
        if low.shape != high.shape or low.ndim != 1:
            raise ValueError(
                f"action_bounds must be two vectors, but have shapes {low.shape}, {high.shape}."
            )
        check_finite("action_bounds", jnp.concatenate([low, high]))
        crossed = jnp.any(low > high)
        if not isinstance(crossed, Tracer) and bool(crossed):
            raise ValueError(
                "action_bounds must be the lowest and then the highest action, but are "
                f"{low} and {high}."
            )
        if prior_heads < 1:
            raise ValueError(f"prior_heads must be at least 1, but is {prior_heads}.")
        if horizon is not None and not horizon > 1:
            raise ValueError(
                f"horizon must be above 1 step, or None for episodes that end only by themselves, "
                f"but is {horizon}."
            )
        self.actions = UnitActions(low, high)
        keys = jax.random.split(key, 6)
        features = deter + latent.size
        self.cell = BlockGRU(deter, (latent.size, low.size), width, blocks, key=keys[0])
        head = lambda inputs, outputs, scale, key: Perceptron(  # noqa: E731
            inputs, outputs, width, depth, output_scale=scale, key=key
        )
        prior = lambda key: latent.prior_head(deter, width, depth, key=key)  # noqa: E731
        self.prior_head = (
            prior(keys[1])
            if prior_heads == 1
            else eqx.filter_vmap(prior)(jax.random.split(keys[1], prior_heads))
        )
        self.posterior_head = head(deter + embedding, latent.outputs, 1.0, keys[2])
        self.reward_head = head(features, reward_scalar.outputs, 0.0, keys[3])
        self.discount_head = head(features, 1, 1.0, keys[4])
        self.decoder = make_decoder(features, key=keys[5])
        self.encoder, self.latent, self.reward_scalar = encoder, latent, reward_scalar
        self.prior_heads, self.horizon = prior_heads, horizon

    @property
    def feature_size(self) -> int:
        """Entries of `features(state)`."""
        return self.cell.size + self.latent.size

    @property
    def longest(self) -> float:
        """What the discount head learns where an episode certainly goes on."""
        return 1.0 if self.horizon is None else 1 - 1 / self.horizon

    def features(self, state: LatentState) -> Float[Array, " features"]:
        """What heads, actors and critics see of a state: h and z, side by side."""
        return jnp.concatenate([state.deter, state.stoch])

    def initial(self) -> LatentState:
        return LatentState(jnp.zeros(self.cell.size), jnp.zeros(self.latent.size))

    def transition(
        self, state: LatentState, action: Float[Array, " action"]
    ) -> LatentStateDistribution:
        deter = self.cell(state.deter, state.stoch, self.actions(action))
        if self.prior_heads == 1:
            return LatentStateDistribution(deter, self.latent.prior(self.prior_head, deter))
        each = eqx.filter_vmap(self.latent.prior, in_axes=(0, None))(self.prior_head, deter)
        return LatentStateDistribution(deter, UniformMixture(each))

    def posterior(
        self, prior: LatentStateDistribution, observation: Float[Array, " observation"]
    ) -> LatentStateDistribution:
        return self.posterior_of(prior, self.encoder(observation))

    def posterior_of(
        self, prior: LatentStateDistribution, embedding: Float[Array, " embedding"]
    ) -> LatentStateDistribution:
        """The posterior, where the observation is encoded already."""
        raw = self.posterior_head(jnp.concatenate([prior.deter, embedding]))
        return LatentStateDistribution(prior.deter, self.latent(raw))

    def decode(self, state: LatentState) -> AbstractDistribution:
        return self.decoder(self.features(state))

    def reward(self, state: Any, action: Any, next_state: LatentState) -> Float[Array, ""]:
        return self.reward_scalar.mean(self.reward_head(self.features(next_state)))

    def discount(self, state: Any, action: Any, next_state: LatentState) -> Float[Array, ""]:
        goes_on = jax.nn.sigmoid(self.discount_head(self.features(next_state))[0])
        return jnp.minimum(goes_on / self.longest, 1.0)


class OnEmbeddings(AbstractFilter):
    """An `RSSM` whose observations were encoded beforehand, all steps at once.

    Training filters with it: the encoder then runs as one large batch outside the loop over time.
    """

    model: RSSM

    def initial(self) -> LatentState:
        return self.model.initial()

    def transition(self, state: LatentState, action: Array) -> LatentStateDistribution:
        return self.model.transition(state, action)

    def posterior(
        self, prior: LatentStateDistribution, observation: Float[Array, " embedding"]
    ) -> LatentStateDistribution:
        return self.model.posterior_of(prior, observation)

    def decode(self, state: LatentState) -> AbstractDistribution:
        return self.model.decode(state)

    def reward(self, state: Any, action: Any, next_state: LatentState) -> Float[Array, ""]:
        return self.model.reward(state, action, next_state)

    def discount(self, state: Any, action: Any, next_state: LatentState) -> Float[Array, ""]:
        return self.model.discount(state, action, next_state)
