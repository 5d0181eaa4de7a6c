"""Discrete-latent transitions: chance is a code, and what it means is decoded."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import DiagNormal, DiagNormalMixture, LatentSampler, OneHotCategoricals, unimix
from .activations import silu
from .base import (
    MIN_SCALE,
    AbstractTransition,
    Network,
    check_min_scale,
    join,
    make_network,
    to_scale,
)


class DiscreteLatent(AbstractTransition):
    """p(s' | s, a) = sum_z p(z | s, a) N(m(s, a, z), diag s(s, a, z)^2), over discrete codes z.

    A code is G one-hot categoricals of C classes each. The posterior q(z | s, a, s') serves the
    bounds and losses of latent models only: see `elbo`, `importance_weighted_bound` and
    `stochwm.training.negative_elbo`.

    While there are at most `max_components` codes, C**G, the sum is done: the prediction is a
    `DiagNormalMixture` with everything exact, and `negative_log_likelihood` trains it best; that
    loss leaves the posterior untrained, since the true one is the mixture's `responsibilities`.
    With more codes it is a `LatentSampler`, whose likelihood is only bounded.

    As in `MixtureDensity`, what codes decode to starts apart, and inputs and targets should be of
    unit scale: see `Standardised`.
    """

    network: Network
    prior_head: eqx.nn.Linear
    posterior_head: eqx.nn.MLP
    decoder: "_Decoder"
    sizes: tuple[int, int] = eqx.field(static=True)
    groups: tuple[int, ...] = eqx.field(static=True)
    mix: float = eqx.field(static=True)
    max_components: int = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        action_size: int,
        *,
        num_groups: int = 1,
        num_classes: int = 8,
        mix: float = 0.0,
        max_components: int = 256,
        features: int = 64,
        width: int = 128,
        depth: int = 2,
        min_scale: float = MIN_SCALE,
        network: Network | None = None,
        key: PRNGKeyArray,
    ):
        """Make a transition between states `[state_size]` under actions `[action_size]`.

        Args:
            num_groups: G, how many categoricals make up a code.
            num_classes: C, classes of each of them.
            mix: rate of `unimix` for the prior, in [0, 1]. It bounds the divergence of a latent
                model, but that share of the draws goes to codes whose futures no data decided; so
                0 by default.
            max_components: up to how many codes the prediction is an exact mixture. A prediction
                then costs as many decodings, and memory in proportion.
            features: size of the context that prior, posterior and decoder share.
            width, depth: hidden units and hidden layers of the default MLP; the posterior and the
                decoder have one hidden layer of that width.
            min_scale: floor of the standard deviations, in units of the state.
            network: your own, `[state_size + action_size] -> [features]`.
            key: for the initial weights and anchors.

        Raises:
            ValueError: impossible numbers or a network of another shape.
        """
        for name, number in (("num_groups", num_groups), ("num_classes", num_classes)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, but is {number}.")
        if not 0 <= mix <= 1:
            raise ValueError(f"mix must be in [0, 1], but is {mix}.")
        self.sizes = (state_size, action_size)
        self.groups = (num_classes,) * num_groups
        self.mix, self.max_components = float(mix), max_components
        key_network, key_prior, key_posterior, key_decoder = jax.random.split(key, 4)
        self.network = make_network(
            network, sizes=self.sizes, outputs=features, width=width, depth=depth, key=key_network
        )
        codes = sum(self.groups)
        self.prior_head = eqx.nn.Linear(features, codes, key=key_prior)
        self.posterior_head = eqx.nn.MLP(
            features + state_size, codes, width, 1, activation=silu, key=key_posterior
        )
        self.decoder = _Decoder(
            features, self.groups, state_size, width, check_min_scale(min_scale), key=key_decoder
        )

    def context(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> Float[Array, " features"]:
        """What prior, posterior and decoder are told about state and action, `[features]`.

        In (-1, 1), so that what is decoded is bounded: a rollout that leaves the data would
        otherwise run away exponentially.
        """
        return jnp.tanh(self.network(join(state, action, self.sizes)))

    def prior(self, context: Float[Array, " features"]) -> OneHotCategoricals:
        """p(z | s, a) over flat codes `[G * C]`."""
        return unimix(OneHotCategoricals(self.prior_head(context), self.groups), self.mix)

    def posterior(
        self, context: Float[Array, " features"], next_state: Float[Array, " state"]
    ) -> OneHotCategoricals:
        """q(z | s, a, s') over flat codes `[G * C]`."""
        logits = self.posterior_head(jnp.concatenate([context, next_state]))
        return OneHotCategoricals(logits, self.groups)

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> DiagNormalMixture | LatentSampler:
        context = self.context(state, action)
        prior, dim = self.prior(context), self.sizes[0]
        if math.prod(self.groups) > self.max_components:
            return LatentSampler(prior, self.decoder, context, jnp.zeros(dim), jnp.ones(dim))
        codes = _all_codes(self.groups)
        decoded = jax.vmap(lambda code: self.decoder(context, code))(codes)
        return DiagNormalMixture(codes @ prior.log_probs(), decoded.loc, decoded.scale)


class _Decoder(eqx.Module):
    """p(s' | s, a, z). The context passes its layer once, however many codes are decoded."""

    from_context: eqx.nn.Linear
    from_code: eqx.nn.Linear
    to_normal: eqx.nn.Linear
    anchors: Float[Array, "codes state"]
    min_scale: float = eqx.field(static=True)

    def __init__(self, features, groups, dim, width, min_scale, *, key):
        keys, codes = jax.random.split(key, 4), sum(groups)
        self.from_context = eqx.nn.Linear(features, width, key=keys[0])
        self.from_code = eqx.nn.Linear(codes, width, use_bias=False, key=keys[1])
        self.to_normal = eqx.nn.Linear(width, 2 * dim, key=keys[2])
        # Divided so that a sum of one row a group has unit spread.
        self.anchors = jax.random.normal(keys[3], (codes, dim)) / math.sqrt(len(groups))
        self.min_scale = min_scale

    def __call__(
        self, context: Float[Array, " features"], code: Float[Array, " codes"]
    ) -> DiagNormal:
        hidden = silu(self.from_context(context) + self.from_code(code))
        loc, raw = jnp.split(self.to_normal(hidden), 2)
        return DiagNormal(code @ self.anchors + loc, to_scale(raw, self.min_scale))


def _all_codes(groups: tuple[int, ...]) -> np.ndarray:
    """Every code, flat, one a row: `[C**G, G * C]`."""
    rows = itertools.product(*(np.eye(size, dtype=np.float32) for size in groups))
    return np.stack([np.concatenate(row) for row in rows])
