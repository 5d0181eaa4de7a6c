"""The loss of a recurrent state-space model along one real sequence."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from .._rollout import observe
from ..distributions import (
    AbstractDistribution,
    ChainedCategoricals,
    LatentState,
    UniformMixture,
)
from ..distributions.mixture import over_components
from ..models import RSSM, OnEmbeddings
from .kl import Divergence, plain_kl


class SequenceLoss(eqx.Module):
    """What one sequence says about a model; every leaf has a leading time axis, in nats."""

    observation: Float[Array, " time"]
    """-log p(observation | state), up to a constant of the scale where that is fixed."""
    reward: Float[Array, " time"]
    discount: Float[Array, " time"]
    divergence: Float[Array, " time"]
    """As trained: after free bits and weights."""
    raw_divergence: Float[Array, " time"]
    """KL(posterior || prior): the information that the observation brought. Of several prior heads,
    the mean over them: no less than the divergence from their mixture. Of a chain, at one draw."""
    state: LatentState
    """The filtered states, from which to imagine."""

    def total(self) -> Float[Array, ""]:
        """The mean over time of the sum of all terms."""
        return jnp.mean(self.observation + self.reward + self.discount + self.divergence)


def rssm_loss(
    model: RSSM, sequence: Any, *, divergence: Divergence, key: PRNGKeyArray
) -> SequenceLoss:
    """The negative evidence bound of one sequence, term by term (arXiv 2301.04104, equation 5).

    Under a `ChainedLatent` the divergence is that at the posterior's one draw, held fixed. Without
    free bits its mean is the divergence from the chain, and its gradient is right on average for
    the prior; for the posterior it lacks how another draw would move the later groups' priors. Free
    bits act on that one number: the mean of `max(nats, number)` is no less than `max(nats, mean)`
    (Jensen), so that both sides are still pulled together on some draws where the divergence itself
    is below the free nats.

    Args:
        model: whose parameters learn.
        sequence: rows in the time convention, `observation [time, observation]`, `action
            [time, action]`, `reward`, `is_first`, `is_terminal` `[time]`. It may begin inside an
            episode and run over several.
        divergence: `divergence(posterior, prior)`, see `stochwm.training.kl`.
        key: for the draws from the posteriors.
    """
    embedding = jax.vmap(model.encoder)(sequence.observation)
    _, filtered = observe(
        OnEmbeddings(model),
        embedding,
        sequence.action,
        sequence.is_first,
        key=key,
        record=lambda prior, posterior, state: (
            posterior.stoch,
            factors_at(prior.stoch, jax.lax.stop_gradient(state.stoch)),
        ),
    )
    state = filtered.state
    features = jax.vmap(model.features)(state)

    def heads(features, observation, reward, is_terminal):
        goes_on = model.longest * (1.0 - is_terminal)
        logit = model.discount_head(features)[0]
        return (
            -model.decoder(features).log_prob(observation),
            model.reward_scalar.loss(model.reward_head(features), reward),
            optax.sigmoid_binary_cross_entropy(logit, goes_on),
        )

    terms = jax.vmap(heads)(features, sequence.observation, sequence.reward, sequence.is_terminal)
    posterior, prior = filtered.aux
    trained, raw = (
        jax.vmap(partial(over_heads, each))(posterior, prior) for each in (divergence, plain_kl)
    )
    return SequenceLoss(*terms, trained, raw, state)


def factors_at(prior: AbstractDistribution, latent: Array) -> AbstractDistribution:
    """A prior that a posterior can be compared with: of a chain, what follows on each group drawn.

    The divergence from it is on average that from the chain; its gradient is so for the prior only,
    see `ChainedCategoricals.given`.
    """
    if isinstance(prior, UniformMixture):
        return UniformMixture(eqx.filter_vmap(lambda head: factors_at(head, latent))(prior.members))
    return prior.given(latent) if isinstance(prior, ChainedCategoricals) else prior


def over_heads(
    divergence: Divergence, posterior: AbstractDistribution, prior: AbstractDistribution
) -> Float[Array, ""]:
    """The divergence from a prior; of several heads, the mean over them: each learns by itself."""
    if not isinstance(prior, UniformMixture):
        return divergence(posterior, prior)
    return jnp.mean(over_components(lambda head: divergence(posterior, head), prior.members))
