"""NoisyTV: two rooms to explore, and a television that shows nothing but noise."""

from typing import Any, ClassVar

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import DiagNormal, DiagNormalMixture
from ._checks import positive
from ._noisy_tv_picture import draw_noisy_tv
from ._probability import normal_mixture_entropy
from .base import AbstractWorld

MOVES = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (0.0, 0.0))  # the last one watches
CHANNELS = np.linspace(-1.0, 1.0, 8, dtype=np.float32)
TV_SCALE = 0.03
SIZE, WALL, MARGIN = 4.0, 2.0, 0.15  # length of a side, where the wall is, how near one gets
DOOR = (3.0, 3.8)  # the gap in the wall, along y
STEP = 0.5
START, GOAL = (0.8, 0.8), (3.5, 0.5)
NEAR = 0.4  # the goal is reached at this distance


class NoisyTV(AbstractWorld):
    """Two rooms and a television: what a bonus for surprise must not fall for.

    State `[x, y, tv]`: position in a house of 4 x 4 whose wall at x = 2 has a door at 3 < y < 3.8,
    and what the screen shows. Actions: 0 to 3 walk west, east, south, north; 4 stands and watches.
    With noise scale n, 8 channels c_k evenly in [-1, 1], and w = 1 when watching, else 0,

        (x', y') ~ N(walk((x, y), a), (.02 n)^2 I)     .5 per step, stopped .15 before each wall
        tv' | k ~ N(w c_k, .03^2),  k uniform          a channel of chance, or a dark screen

    so the law is exactly a `DiagNormalMixture` of eight components. Given the action, the screen is
    independent of everything, before and after: watching costs ln 8 = 2.08 nats a step for ever,
    which no model can learn to predict, while walking is nearly certain. Curiosity that pays for
    prediction errors stays and watches (Burda et al. 2018, arXiv 1808.04355); an agent that wants
    to learn finds the door.

    Reward: 1 on arrival within .4 of (3.5, .5), in the other room, which ends the episode; else 0.
    The registered environment truncates episodes after 200 steps.
    """

    max_episode_steps: ClassVar[int | None] = 200
    noise: Float[Array, ""]

    def __init__(self, noise: Any = 1.0):
        """Make the world.

        Args:
            noise: factor n on the noise of walking, positive; at 1 walls are 7 deviations away.

        Raises:
            ValueError: it is not a positive, finite number.
        """
        self.noise = positive("noise", noise)

    @property
    def observation_space(self) -> gym.Space:
        slack = 0.2 * max(float(self.noise) - 1, 0.0)
        low = np.array([-slack, -slack, -1.3], np.float32)
        high = np.array([SIZE + slack, SIZE + slack, 1.3], np.float32)
        return gym.spaces.Box(low, high)

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(MOVES))

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("x", "y", "tv")

    def initial(self) -> DiagNormal:
        return DiagNormal(jnp.array([*START, 0.0]), self._scale())

    def law(self, state: Float[Array, " 3"], action: Float[Array, " 5"]) -> DiagNormalMixture:
        number = len(CHANNELS)
        place = jnp.broadcast_to(self._walk(state[:2], action), (number, 2))
        screen = action[-1] * CHANNELS[:, None]
        scale = jnp.broadcast_to(self._scale(), (number, 3))
        loc = jnp.concatenate([place, screen], axis=-1)
        return DiagNormalMixture(jnp.zeros(number), loc, scale)

    def entropy(self, state: Float[Array, " 3"], action: Float[Array, " 5"]) -> Float[Array, ""]:
        """In nats: position and screen are independent, so one quadrature over tv gives it all."""
        law = self.law(state, action)
        of_screen = normal_mixture_entropy(law.logits, law.loc[:, 2], law.scale[:, 2])
        return of_screen + DiagNormal(law.loc[0, :2], law.scale[0, :2]).entropy()

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return self._at_goal(next_state)

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return 1 - self._at_goal(next_state)

    def render(self, state: Float[np.ndarray, " 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """The house from above, north at the top; the screen shows its channel, or is dark."""
        off = abs(float(state[2])) < 0.5 * float(np.abs(CHANNELS).min())  # half way to the dimmest
        channel = None if off else int(np.argmin(np.abs(CHANNELS - state[2])))
        return draw_noisy_tv(float(state[0]), float(state[1]), channel)

    def _walk(self, place, action):
        wanted = jnp.clip(place + STEP * action @ jnp.asarray(MOVES), MARGIN, SIZE - MARGIN)
        before_wall = jnp.where(
            place[0] < WALL,
            jnp.minimum(wanted[0], WALL - MARGIN),
            jnp.maximum(wanted[0], WALL + MARGIN),
        )
        low, high = (DOOR[0] + MARGIN, DOOR[1] - MARGIN)
        through = (place[1] > low) & (place[1] < high) & (wanted[1] > low) & (wanted[1] < high)
        return wanted.at[0].set(jnp.where(through, wanted[0], before_wall))

    def _scale(self):
        return jnp.stack([0.02 * self.noise, 0.02 * self.noise, jnp.asarray(TV_SCALE)])

    def _at_goal(self, state):
        distance = jnp.hypot(state[0] - GOAL[0], state[1] - GOAL[1])
        return (distance < NEAR).astype("float32")
