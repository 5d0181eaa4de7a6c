"""What a future is worth."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .._rollout import Trajectory
from ..distributions.checks import as_float


def discounted_return(trajectory: Trajectory, discount: Array | float = 1.0) -> Float[Array, ""]:
    """The expected return of one imagined future, in units of reward.

    `sum_t discount^t c_0 ... c_(t-1) reward_t`, where `c_t` is `trajectory.discount[t]`, the
    probability that the episode goes on after step t. Under a guard it ends at the trusted horizon,
    from which on reward and discount are 0.

    Args:
        trajectory: of `imagine` or `replay`, one future; `vmap` over many.
        discount: the agent's own factor per step, in [0, 1].

    Raises:
        ValueError: a discount that is not one number or known to lie outside [0, 1], or a reward
            and a discount of the trajectory that are not one number a step.
    """
    own = as_discount(discount)
    reward, goes_on = trajectory.reward, trajectory.discount
    if jnp.ndim(reward) != 1 or jnp.shape(reward) != jnp.shape(goes_on):
        raise ValueError(
            "trajectory must be one future, with reward and discount [time], but they have shapes "
            f"{jnp.shape(reward)} and {jnp.shape(goes_on)}; vmap over many."
        )
    weight = jnp.cumprod(jnp.concatenate([jnp.ones(1), own * goes_on[:-1]]))
    return jnp.sum(weight * reward)


def as_discount(discount: Array | float) -> Float[Array, ""]:
    """An agent's own factor per step as an array.

    Raises:
        ValueError: not one number, or known to lie outside [0, 1].
    """
    factor = as_float("discount", discount)
    known = not isinstance(factor, Tracer)
    if factor.ndim or (known and not 0 <= np.asarray(factor) <= 1):
        raise ValueError(f"discount must be one number in [0, 1], but is {discount}.")
    return factor
