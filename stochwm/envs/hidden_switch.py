"""HiddenSwitch: a boat in a wind that nobody sees, and that turns without a sign."""

from typing import Any, ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, UInt8

from ..distributions import DiagNormal, DiagNormalMixture, Joint, OneHotCategoricals
from ._checks import number, numbers, positive, probability
from ._hidden_switch_picture import draw_hidden_switch
from ._probability import normal_mixture_entropy, safe_log
from .base import AbstractWorld

KEPT = 0.9  # share of the position that the anchor chain lets be
START = 0.3  # standard deviation of the first position


class HiddenSwitch(AbstractWorld):
    """A hidden regime with sticky modes: only the position is observed.

    State `[x, r_1 .. r_K]`: position, and the regime (the wind) as a one-hot vector. Only x is
    emitted. Action `[a]` in [-1, 1]: the engine. With winds m_k, noise s, and K regimes, the first
    of them uniformly drawn,

        x' ~ N(.9 x + c a + m_r, s^2)
        r' = r with probability 1 - flip, else any other regime, each with flip / (K - 1)

    independent of each other given (x, r), so the law is exactly a `Joint` of a normal and a
    categorical. The law of what is *observed* depends on the whole past, through the belief
    b_k = P(r = k | x_0 .. x_t, a_0 .. a_t-1):

        p(x' | past, a) = sum_k b_k N(x'; .9 x + c a + m_k, s^2)      predictive(belief, x, a)
        b'_j = sum_k P(j | k) c_k,  c_k ~ b_k N(x'; .9 x + c a + m_k, s^2)     update(belief, ...)

    That is the filter of Hamilton (1989, "A new approach to the economic analysis of nonstationary
    time series and the business cycle"); nothing is approximated. Under random actions the next x
    costs -.190 nats a step if the regime is known, -.05 with this filter, .15 with an even belief.
    `SwitchFilter(world)` is the same as an `AbstractFilter`, for `observe` and `imagine`; its
    scores are the best that any model of the observations can reach. The world itself predicts full
    states and is scored on episodes of full states.

    Reward: `exp(-x'^2 / (2 .5^2)) - .1 a^2`, paid for staying at the buoy. Episodes start near
    x = 0 and never end by themselves; the registered environment truncates them after 100 steps.
    The bounds of the observation space are never enforced.
    """

    max_episode_steps: ClassVar[int | None] = 100
    winds: Float[Array, " regimes"]
    flip: Float[Array, ""]
    noise: Float[Array, ""]
    engine: Float[Array, ""]

    def __init__(
        self, winds: Any = (-0.2, 0.2), flip: Any = 0.05, noise: Any = 0.2, engine: Any = 0.3
    ):
        """Make the world.

        Args:
            winds: drift m_k of each regime, in units of x a step; at least two.
            flip: probability that the regime changes in a step.
            noise: standard deviation s of a step, positive.
            engine: how far a full action moves the boat, c.

        Raises:
            ValueError: a parameter is of another kind or out of its range.
        """
        self.winds, self.flip = numbers("winds", winds), probability("flip", flip)
        self.noise, self.engine = positive("noise", noise), number("engine", engine)
        if len(self.winds) < 2:
            raise ValueError(f"winds is {winds!r}, expected at least two regimes")

    @property
    def observation_space(self) -> gym.Space:
        drift = float(jnp.max(jnp.abs(self.winds)) + jnp.abs(self.engine))
        reach = (drift + 10 * float(self.noise)) / (1 - KEPT) + 10 * START
        return gym.spaces.Box(-reach, reach, (1,), np.float32)

    @property
    def state_space(self) -> gym.Space:
        regime = gym.spaces.Discrete(len(self.winds))
        return gym.spaces.Dict({"position": self.observation_space, "regime": regime})

    @property
    def fully_observed(self) -> bool:
        return False

    def emit(self, state: Any) -> Any:
        """The position without the regime, `[1]`."""
        return state[..., :1]

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("x", *(f"wind {wind:+g}" for wind in np.asarray(self.winds).tolist()))

    def initial(self) -> Joint:
        return Joint([self.initial_position(), OneHotCategoricals(self.initial_belief())])

    def law(self, state: Float[Array, " state"], action: Float[Array, " 1"]) -> Joint:
        x, regime = state[:1], state[1:]
        if regime.shape != self.winds.shape:
            raise ValueError(
                f"state has the shape {list(state.shape)}, expected [{1 + len(self.winds)}]: the "
                "position and the regime. For observations alone there is SwitchFilter(world)"
            )
        loc = self._drifts(x, action) @ regime
        after = safe_log(regime @ self._turning())
        return Joint([DiagNormal(loc[None], self.noise[None]), OneHotCategoricals(after)])

    def entropy(self, state: Float[Array, " state"], action: Float[Array, " 1"]) -> Array:
        """Exact, in nats, of the next state given this one: less than an observer can know."""
        return self.law(state, action).entropy()

    def initial_position(self) -> DiagNormal:
        """The distribution of the first observation, `[1]`."""
        return DiagNormal(jnp.zeros(1), jnp.full(1, START))

    def initial_belief(self) -> Float[Array, " regimes"]:
        """Log probability of each regime at the first observation, which tells nothing of it."""
        return jnp.full(self.winds.shape, -jnp.log(len(self.winds)))

    def predictive(
        self, belief: Float[Array, " regimes"], x: Float[Array, " 1"], action: Float[Array, " 1"]
    ) -> DiagNormalMixture:
        """The exact distribution of the next observation given the past, `[1]`.

        Args:
            belief: log probability of each regime given the past, up to a constant.
            x: the newest observation.
            action: the action chosen there.
        """
        loc = self._drifts(x, action)[:, None]
        return DiagNormalMixture(belief, loc, jnp.full_like(loc, self.noise))

    def predictive_entropy(
        self, belief: Float[Array, " regimes"], x: Float[Array, " 1"], action: Float[Array, " 1"]
    ) -> Float[Array, ""]:
        """Entropy of `predictive` in nats, by quadrature."""
        law = self.predictive(belief, x, action)
        return normal_mixture_entropy(law.logits, law.loc[:, 0], law.scale[:, 0])

    def update(
        self,
        belief: Float[Array, " regimes"],
        x: Float[Array, " 1"],
        action: Float[Array, " 1"],
        next_x: Float[Array, " 1"],
    ) -> Float[Array, " regimes"]:
        """The belief one step later, normalised log probabilities: what was seen, then a turn."""
        return self.turn(self.predictive(belief, x, action).responsibilities(next_x))

    def turn(self, belief: Float[Array, " regimes"]) -> Float[Array, " regimes"]:
        """Log probabilities of the next regime, given those (up to a constant) of this one."""
        known = jax.nn.log_softmax(belief)
        return logsumexp(known[:, None] + safe_log(self._turning()), axis=0)

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return jnp.exp(-0.5 * (next_state[0] / 0.5) ** 2) - 0.1 * action[0] ** 2

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return jnp.ones(())

    def render(self, state: Float[np.ndarray, " state"]) -> UInt8[np.ndarray, "height width 3"]:
        """The boat, the buoy, and, for the spectator only, the wind."""
        wind = np.asarray(self.winds) @ np.asarray(state)[1:]
        strongest = float(np.abs(np.asarray(self.winds)).max()) or 1.0
        return draw_hidden_switch(float(state[0]), float(wind) / strongest)

    def _drifts(self, x, action):
        return KEPT * x[0] + self.engine * action[0] + self.winds

    def _turning(self) -> Float[Array, "regimes regimes"]:
        """P(next regime | regime), a row for each regime."""
        same = jnp.eye(len(self.winds))
        return (1 - self.flip) * same + self.flip / (len(self.winds) - 1) * (1 - same)
