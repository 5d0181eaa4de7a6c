"""What a future is worth."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._rollout import Trajectory


def discounted_return(trajectory: Trajectory, discount: Array | float = 1.0) -> Float[Array, ""]:
    """The expected return of one imagined future, in units of reward.

    `sum_t discount^t c_0 ... c_(t-1) reward_t`, where `c_t` is `trajectory.discount[t]`, the
    probability that the episode goes on after step t. Under a guard it ends at the trusted horizon,
    from which on reward and discount are 0.

    Args:
        trajectory: of `imagine` or `replay`, one future; `vmap` over many.
        discount: the agent's own factor per step, in [0, 1].
    """
    later = discount * trajectory.discount[:-1]
    weight = jnp.cumprod(jnp.concatenate([jnp.ones(1), later]))
    return jnp.sum(weight * trajectory.reward)
