"""What a sequence of rewards is worth."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from ..distributions.checks import as_float


def lambda_returns(
    reward: Num[Array, " time"],
    discount: Float[Array, " time"],
    value: Float[Array, " time"],
    lambda_: Float[Array, " time"] | float,
) -> Float[Array, " time"]:
    """`R_t = r_{t+1} + c_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1})`, with `R_T = v_T`.

    Sutton & Barto 2018, equation 12.18; lambda 0 is one-step bootstrapping, lambda 1 the discounted
    sum that ends in the last value.

    Args:
        reward: on arrival at the states 1 to T.
        discount: of what follows these states, the agent's factor included; 0 where one is
            terminal.
        value: of these states.
        lambda_: one number, or one for each of these states: 0 where an episode is cut off, so that
            what comes after it, of another episode, does not count.

    Returns:
        the returns of the states 0 to T - 1.
    """
    # As a float, whatever rewards are: lambda would be 0 among whole numbers.
    reward = as_float("reward", reward)
    lambda_ = jnp.broadcast_to(jnp.asarray(lambda_, reward.dtype), reward.shape)

    def step(following, inputs):
        r, c, v, share = inputs
        returns = r + c * ((1 - share) * v + share * following)
        return returns, returns

    inputs = (reward, discount, value, lambda_)
    return jax.lax.scan(step, value[-1], inputs, reverse=True)[1]
