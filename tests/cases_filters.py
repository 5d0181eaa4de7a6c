"""An exact filter, and episodes from their rows: for the tests of what filters are used in."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm.data import Episodes, FlatSpace
from stochwm.distributions import DiagNormal, LatentStateDistribution
from stochwm.models import AbstractFilter


class Kalman(AbstractFilter):
    """A random walk, pushed by the action, that is seen through noise.

    The belief (mean, variance) is `deter`, and a draw from it is `stoch`: single states follow the
    law at every step, whole paths do not.
    """

    moves: jax.Array = eqx.field(converter=jnp.asarray, default=0.25)
    """Variance of a step."""
    blurs: jax.Array = eqx.field(converter=jnp.asarray, default=0.25)
    """Variance of an observation given the state."""

    def initial(self):
        return self.belief(0.0, 1.0).sample(seed=jax.random.key(0))

    def belief(self, mean, variance):
        known = jnp.stack([jnp.asarray(mean), jnp.asarray(variance)])
        return LatentStateDistribution(known, DiagNormal(known[:1], jnp.sqrt(known[1:])))

    def transition(self, state, action):
        return self.belief(state.deter[0] + action[0], state.deter[1] + self.moves)

    def posterior(self, prior, observation):
        mean, variance = prior.deter
        gain = variance / (variance + self.blurs)
        return self.belief(mean + gain * (observation[0] - mean), (1 - gain) * variance)

    def decode(self, state):
        return DiagNormal(state.stoch, jnp.sqrt(self.blurs)[None])

    def reward(self, state, action, next_state):
        return jnp.zeros(())

    def discount(self, state, action, next_state):
        return jnp.ones(())


def space(size):
    names = tuple(f"x{i}" for i in range(size))
    return FlatSpace(size, (-math.inf,) * size, (math.inf,) * size, (), names)


def episodes_of(observation, action, lengths, spaces=None):
    """Episodes of so many observations each, from their rows."""
    ends = np.cumsum(lengths) - 1
    last = np.isin(np.arange(len(observation)), ends)
    spaces = spaces or (space(observation.shape[1]), space(action.shape[1]))
    zeros = np.zeros(len(last))
    flags = (np.roll(last, 1), last, zeros.astype(bool))
    return Episodes(
        observation, action, zeros, *flags, observation_space=spaces[0], action_space=spaces[1]
    )
