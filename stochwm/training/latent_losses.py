"""Losses of models with a discrete latent whose likelihood cannot be summed out."""

from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ..transitions import view_latents
from .expectations import Expectation, leave_one_out
from .kl import Divergence, plain_kl
from .losses import Loss, blur


def negative_elbo(
    kl: Divergence = plain_kl,
    noise: Any = 0.0,
    *,
    expectation: Expectation = leave_one_out,
    num_samples: int = 2,
) -> Loss:
    """The loss `-E_q[log p(s' + e | s, a, z)] + kl(q, p)` with e ~ N(0, diag noise^2), in nats.

    With `plain_kl` it is minus the evidence lower bound (see `stochwm.transitions.elbo`); DreamerV2
    and DreamerV3 train with `balanced_kl()` and `free_bits()`, and `straight_through` expectations.
    While a `DiscreteLatent` predicts an exact mixture, `negative_log_likelihood` is the better
    loss: it has no gap, and its gradient no noise.

    Args:
        kl: `(posterior, prior) -> nats`.
        noise: standard deviation of the target noise, a scalar or `[state]`, in units of the state.
        expectation: `leave_one_out`, or `straight_through`, which leaves the futures of a sharp
            law smeared: its gradient is biased.
        num_samples: draws of the posterior an example.

    Returns:
        A loss over `Transitions` rows, for a `DiscreteLatent`, alone or `Standardised`.

    Raises:
        ValueError: as `negative_log_likelihood`.
    """
    blurred = blur(noise)

    def loss(model: Any, example: Any, *, key: PRNGKeyArray) -> Float[Array, ""]:
        key_noise, key_codes = jax.random.split(key)
        target = blurred(example.next_state, key_noise)
        view = view_latents(model, example.state, example.action, target)
        likelihood = expectation(
            view.posterior, view.log_likelihood, key=key_codes, num_samples=num_samples
        )
        return kl(view.posterior, view.prior) - likelihood

    return loss
