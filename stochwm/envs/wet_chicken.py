"""Wet-Chicken: a canoeist drifts towards a waterfall, and whoever falls starts again."""

from typing import Any, ClassVar

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import BoxMixture, Deterministic
from ._checks import positive
from ._probability import safe_log
from ._wet_chicken_picture import draw_wet_chicken
from .base import AbstractWorld


class WetChicken(AbstractWorld):
    """The two-dimensional, continuous canoeist: bimodal and heteroscedastic.

    State `[x, y]` in [0, w] x [0, l]: across and along the river, whose waterfall is at y = l.
    Action `[ax, ay]` in [-1, 1]^2: paddling. The current v grows with x, the turbulence s shrinks:

        v = 3 x / w,  s = 3.5 - v,  tau ~ U[-1, 1],  yhat = y + (ay - 1) + v + s tau
        falls, if yhat > l:  x' = 0,  y' = 0
        else                 x' = clip(x + ax, 0, w),  y' = max(yhat, 0)

    (Tresp 1994; Hans & Udluft 2009; Depeweg et al. 2017, arXiv 1605.07127, equation 17). The law is
    exactly a `BoxMixture` of three boxes: the fall (a point), the clip at y' = 0 (a point), and an
    interval of y' at a known x'. Whether he fell decides x': the two dimensions are dependent.

    Reward: `-(l - y')`, at the next state. Episodes start at (0, 0) and never end by themselves;
    the registered environment truncates them after 100 steps.

    Under uniformly random actions, in the long run: P(y' = 0) = .443, P(fall) = .045, average
    reward -3.886; y' with noise .1 has entropy .7849 nats and costs the best Gaussian 1.4120.
    """

    max_episode_steps: ClassVar[int | None] = 100
    width: Float[Array, ""]
    length: Float[Array, ""]

    def __init__(self, width: Any = 5.0, length: Any = 5.0):
        """Make the world.

        Args:
            width: width w of the river, positive.
            length: distance l of the waterfall from the start, positive.

        Raises:
            ValueError: a parameter is not a positive, finite number.
        """
        self.width = positive("width", width)
        self.length = positive("length", length)

    @property
    def observation_space(self) -> gym.Space:
        high = np.array([self.width, self.length], np.float32)
        return gym.spaces.Box(np.zeros(2, np.float32), high)

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("x", "y")

    @property
    def noise_convention(self) -> tuple[float, ...]:
        """Noise .1 on both coordinates: without it the atoms make log-likelihoods unbounded."""
        return (0.1, 0.1)

    def initial(self) -> Deterministic:
        return Deterministic(jnp.zeros(2))

    def law(self, state: Float[Array, " 2"], action: Float[Array, " 2"]) -> BoxMixture:
        across = jnp.clip(state[0] + action[0], 0.0, self.width)
        current = 3 * state[0] / self.width
        turbulence = 3.5 - current
        middle = state[1] + action[1] - 1 + current
        low, high = middle - turbulence, middle + turbulence
        bottom, top = jnp.clip(low, 0.0, self.length), jnp.clip(high, 0.0, self.length)
        falls = jnp.clip((high - self.length) / (2 * turbulence), 0.0, 1.0)
        clipped = jnp.clip(-low / (2 * turbulence), 0.0, 1.0)
        inside = (top - bottom) / (2 * turbulence)
        zero = jnp.zeros_like(across)
        return BoxMixture(
            safe_log(jnp.stack([falls, clipped, inside])),
            jnp.stack([zero, zero, across, zero, across, bottom]).reshape(3, 2),
            jnp.stack([zero, zero, across, zero, across, top]).reshape(3, 2),
        )

    def entropy(self, state: Float[Array, " 2"], action: Float[Array, " 2"]) -> Float[Array, ""]:
        """Exact, in nats: log mass at the points, log density on the interval.

        With the noise of `noise_convention` use `target_law(state, action).entropy_estimate(...)`,
        or the average of `-target_law(...).log_prob` over the points that models are scored on.
        """
        return self.law(state, action).entropy()

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return next_state[1] - self.length

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return jnp.ones(())

    def render(self, state: Float[np.ndarray, " 2"]) -> UInt8[np.ndarray, "height width 3"]:
        """The river from above, the waterfall at the bottom; it is swifter on the right."""
        return draw_wet_chicken(float(state[0] / self.width), float(state[1] / self.length))
