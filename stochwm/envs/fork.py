"""Fork: a road that forks, where the same action goes left or right."""

from typing import Any, ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import DiagNormal, DiagNormalMixture
from ._checks import positive
from ._fork_picture import draw_fork
from ._probability import normal_mixture_entropy
from .base import AbstractWorld

ROADS = (-1.5, -0.5, 0.5, 1.5)  # in units of the spacing
STEERING = 0.5  # by how much full steering moves the aim, in units of the spacing
AIM_LIMIT = 1.6  # in units of the spacing: no driver aims beyond the outer roads
MEMORY = 0.15  # what is left of the distance to a road, one step after taking it
PULL = 0.6  # how quickly the speed follows the speed that the driver wants
SPEED_NOISE = 0.05


class Fork(AbstractWorld):
    """A vehicle on a road that forks at every step into four roads.

    State `[y, v]`: lateral position (in road spacings d = 1 by default) and speed (1 is cruising).
    Action `[a]`: steering in [-1, 1], positive to the right. With roads R = d (-1.5, -.5, .5, 1.5)
    and noise scale n,

        aim = 1.6 d tanh((y + .5 d a) / (1.6 d))             where the driver looks
        tau = d (.45 + .6 sigmoid(8 (.75 - v)))              slow vehicles can reach more roads
        w_k ~ exp(-(R_k - aim)^2 / (2 tau^2))                the road taken is chance
        y' | k ~ N(.85 R_k + .15 y, (n (.06 + .06 sigmoid(4 (v - .6))))^2)
        v' ~ N(v + .6 (v* - v), (.05 n)^2),  v* = 1.1 - .6 a^2 - .4 tanh(y / d)^2

    so the law is exactly a `DiagNormalMixture` of four components, smooth in state and action.
    Between two roads a fast vehicle goes left or right (2 modes); on an inner road it also stays
    (3); slow vehicles reach all four (4). At least two roads always have a weight above .05.
    Futures stay on bands along the roads at every horizon.

    Reward: `exp(-(y' - 1.5 d)^2 / (2 (.5 d)^2)) - .1 a^2`, paid for driving on the rightmost road.
    Episodes start near y = 0, v = .8 and never end by themselves; the registered environment
    truncates them after 50 steps. The bounds of the observation space are ten standard deviations
    away and are never enforced.
    """

    max_episode_steps: ClassVar[int | None] = 50
    spacing: Float[Array, ""]
    noise: Float[Array, ""]

    def __init__(self, spacing: Any = 1.0, noise: Any = 1.0):
        """Make the world.

        Args:
            spacing: distance d of neighbouring roads, positive.
            noise: factor n on all standard deviations, positive.

        Raises:
            ValueError: a parameter is not a positive, finite number.
        """
        self.spacing = positive("spacing", spacing)
        self.noise = positive("noise", noise)

    @property
    def observation_space(self) -> gym.Space:
        y = 1.5 * (float(self.spacing) + float(self.noise))
        slack = 1.5 * float(self.noise)
        low, high = np.array([-y, -slack]), np.array([y, 1.1 + slack])
        return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("y", "speed")

    def initial(self) -> DiagNormal:
        scale = 0.1 * self.noise * jnp.ones(2)
        return DiagNormal(jnp.array([0.0, 0.8]), scale)

    def law(self, state: Float[Array, " 2"], action: Float[Array, " 1"]) -> DiagNormalMixture:
        roads = self.spacing * jnp.asarray(ROADS)
        loc, scale = self._speed(state, action)
        y = (1 - MEMORY) * roads + MEMORY * state[0]
        y_scale = self.noise * (0.06 + 0.06 * jax.nn.sigmoid(4 * (state[1] - 0.6)))
        return DiagNormalMixture(
            self._logits(roads, state, action),
            jnp.stack([y, jnp.full_like(y, loc)], axis=-1),
            jnp.stack([jnp.full_like(y, y_scale), jnp.full_like(y, scale)], axis=-1),
        )

    def entropy(self, state: Float[Array, " 2"], action: Float[Array, " 1"]) -> Float[Array, ""]:
        """In nats: the speed is independent of the road, so one quadrature over y gives it all."""
        law = self.law(state, action)
        of_y = normal_mixture_entropy(law.logits, law.loc[:, 0], law.scale[:, 0])
        return of_y + DiagNormal(law.loc[0, 1:], law.scale[0, 1:]).entropy()

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        off = (next_state[0] - ROADS[-1] * self.spacing) / (0.5 * self.spacing)
        return jnp.exp(-0.5 * off**2) - 0.1 * action[0] ** 2

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return jnp.ones(())

    def render(self, state: Float[np.ndarray, " 2"]) -> UInt8[np.ndarray, "height width 3"]:
        """The vehicle from above; arrows are as wide as their roads are likely, steering 0."""
        d = float(self.spacing)
        targets, weights = (np.asarray(x) for x in _ahead(self, state))
        return draw_fork(float(state[0]) / d, float(state[1]), targets / d, weights)

    def _logits(self, roads, state, action):
        limit = AIM_LIMIT * self.spacing
        aim = limit * jnp.tanh((state[0] + STEERING * self.spacing * action[0]) / limit)
        tau = self.spacing * (0.45 + 0.6 * jax.nn.sigmoid(8 * (0.75 - state[1])))
        return -0.5 * ((roads - aim) / tau) ** 2

    def _speed(self, state, action):
        wanted = 1.1 - 0.6 * action[0] ** 2 - 0.4 * jnp.tanh(state[0] / self.spacing) ** 2
        return state[1] + PULL * (wanted - state[1]), SPEED_NOISE * self.noise


@jax.jit
def _ahead(world: Fork, state: Float[Array, " 2"]):
    law = world.law(state, jnp.zeros(1))
    return law.loc[:, 0], jax.nn.softmax(law.logits)
