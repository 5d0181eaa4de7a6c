"""Lower bounds of the log likelihood of a discrete-latent transition."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import OneHotCategoricals
from .base import AbstractTransition
from .discrete_latent import DiscreteLatent
from .standardised import Standardised


class LatentView(NamedTuple):
    """One example as a discrete-latent model sees it: what bounds and losses are made of."""

    posterior: OneHotCategoricals
    """q(z | s, a, s')."""
    prior: OneHotCategoricals
    """p(z | s, a)."""
    log_likelihood: Callable[[Float[Array, " codes"]], Float[Array, ""]]
    """`z -> log p(s' | s, a, z)`, in nats and in the units of the state."""


def view_latents(
    model: AbstractTransition,
    state: Float[Array, " state"],
    action: Float[Array, " action"],
    next_state: Float[Array, " state"],
) -> LatentView:
    """Infer the code of one example.

    Args:
        model: a `DiscreteLatent`, alone or `Standardised`; one member of an ensemble at a time.
        state, action, next_state: one example, in the units of the model.

    Raises:
        TypeError: another model, which has no code to infer.
    """
    kernel, state, action, target, log_scale = _unwrap(model, state, action, next_state)
    context = kernel.context(state, action)
    return LatentView(
        kernel.posterior(context, target),
        kernel.prior(context),
        lambda code: kernel.decoder(context, code).log_prob(target) - log_scale,
    )


def elbo(
    model: AbstractTransition,
    state: Float[Array, " state"],
    action: Float[Array, " action"],
    next_state: Float[Array, " state"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 1,
) -> Float[Array, ""]:
    """An unbiased estimate of `E_q[log p(s'|s,a,z)] - KL[q(z|s,a,s') || p(z|s,a)]`, in nats.

    The evidence lower bound of log p(s' | s, a), equal to it where q is the true posterior
    (Kingma & Welling 2014, arXiv 1312.6114). The divergence is exact, the expectation an average
    over draws. It is for scoring; `stochwm.training.negative_elbo` trains.

    Args:
        model, state, action, next_state: as for `view_latents`.
        key: draws the codes.
        num_samples: how many, at least 1.

    Raises:
        TypeError: a model without a code.
        ValueError: `num_samples` is below 1.
    """
    view = view_latents(model, state, action, next_state)
    codes = _draws(view, key, num_samples)
    divergence = view.posterior.kl_divergence(view.prior)
    return jnp.mean(jax.vmap(view.log_likelihood)(codes)) - divergence


def importance_weighted_bound(
    model: AbstractTransition,
    state: Float[Array, " state"],
    action: Float[Array, " action"],
    next_state: Float[Array, " state"],
    *,
    key: PRNGKeyArray,
    num_samples: int,
) -> Float[Array, ""]:
    """`log 1/K sum_k p(s', z_k | s, a) / q(z_k | s, a, s')` for K draws z_k of q, in nats.

    In expectation it is at most log p(s' | s, a), never falls as K grows, and tends to it; one
    draw gives the evidence bound (Burda et al. 2016, arXiv 1509.00519, theorem 1). A single value
    may exceed what it bounds. It is for scoring. Arguments and errors as for `elbo`.
    """
    view = view_latents(model, state, action, next_state)

    def log_ratio(code):
        prior, posterior = view.prior.log_prob(code), view.posterior.log_prob(code)
        return view.log_likelihood(code) + prior - posterior

    ratios = jax.vmap(log_ratio)(_draws(view, key, num_samples))
    return logsumexp(ratios) - jnp.log(num_samples)


def _draws(view: LatentView, key: PRNGKeyArray, num_samples: int) -> Float[Array, "samples codes"]:
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but is {num_samples}.")
    keys = jax.random.split(key, num_samples)
    return jax.vmap(lambda seed: view.posterior.sample(seed=seed))(keys)


def _unwrap(
    model: AbstractTransition, state: Array, action: Array, next_state: Array
) -> tuple[DiscreteLatent, Array, Array, Array, Any]:
    """The kernel, the example in its units, and the log volume that a density changes by."""
    if isinstance(model, Standardised) and isinstance(model.kernel, DiscreteLatent):
        log_scale = jnp.sum(jnp.log(jax.lax.stop_gradient(model.delta.scale)))
        inner = (model.state(state), model.action(action), model.delta(next_state - state))
        return model.kernel, *inner, log_scale
    if isinstance(model, DiscreteLatent):
        return model, state, action, next_state, 0.0
    raise TypeError(
        f"model must be a DiscreteLatent, alone or Standardised, but is {type(model).__name__}; "
        "take one member of an ensemble at a time."
    )
