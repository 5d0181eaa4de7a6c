"""Gymnasium's Pendulum-v1 as a world of known law: what comes next is certain."""

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from stochwm.distributions import AbstractSampler, Deterministic


class Start(AbstractSampler):
    """Any angle, and a speed of at most `speed` rad/s."""

    speed: jax.Array

    def sample(self, *, seed):
        angle, speed = jax.random.uniform(seed, (2,), minval=-1.0)
        return observed(jnp.pi * angle, self.speed * speed)


class Pendulum(eqx.Module):
    """Observation `[cos, sin, speed]`, action: a torque in [-2, 2]."""

    speed: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)

    @property
    def observation_space(self):
        high = np.array([1, 1, 8], "float32")
        return gym.spaces.Box(-high, high)

    @property
    def action_space(self):
        return gym.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def initial(self):
        return Start(self.speed)

    def law(self, state, action):
        angle = jnp.arctan2(state[1], state[0])
        torque = jnp.clip(action[0], -2.0, 2.0)
        speed = jnp.clip(state[2] + 0.05 * (15 * jnp.sin(angle) + 3 * torque), -8.0, 8.0)
        return Deterministic(observed(angle + 0.05 * speed, speed))


def observed(angle, speed):
    """The observation of an angle and a speed."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])
