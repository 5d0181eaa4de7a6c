"""The loss of a recurrent state-space model along one real sequence."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from .._rollout import observe
from ..distributions import LatentState
from ..models import RSSM, OnEmbeddings
from .kl import Divergence


class SequenceLoss(eqx.Module):
    """What one sequence says about a model; every leaf has a leading time axis, in nats."""

    observation: Float[Array, " time"]
    """-log p(observation | state), up to a constant of the scale where that is fixed."""
    reward: Float[Array, " time"]
    discount: Float[Array, " time"]
    divergence: Float[Array, " time"]
    """As trained: after free bits and weights."""
    raw_divergence: Float[Array, " time"]
    """KL(posterior || prior): the information that the observation brought."""
    state: LatentState
    """The filtered states, from which to imagine."""

    def total(self) -> Float[Array, ""]:
        """The mean over time of the sum of all terms."""
        return jnp.mean(self.observation + self.reward + self.discount + self.divergence)


def rssm_loss(
    model: RSSM, sequence: Any, *, divergence: Divergence, key: PRNGKeyArray
) -> SequenceLoss:
    """The negative evidence bound of one sequence, term by term (arXiv 2301.04104, equation 5).

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
        record=lambda prior, posterior, state: (posterior.stoch, prior.stoch),
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
    raw = jax.vmap(lambda q, p: q.kl_divergence(p))(posterior, prior)
    return SequenceLoss(*terms, jax.vmap(divergence)(posterior, prior), raw, state)
