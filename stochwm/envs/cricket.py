"""Cricket: one delivery, which pitches and deviates one way or the other."""

from typing import Any, ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import DiagNormal, DiagNormalMixture
from ._checks import positive
from ._cricket_picture import draw_cricket
from ._probability import normal_mixture_entropy
from .base import AbstractWorld

GRAVITY = 0.0245  # metres a step squared; a step is 0.05 s
BOUNCE = 0.55  # what is left of the vertical speed
RELEASE = (17.7, 0.0, 2.2, 0.0, -0.24, 0.0)
RELEASE_SCALE = (0.02, 0.1, 0.02, 0.015, 0.015, 0.01)
WAYS = (-1.0, 0.0, 1.0)  # in-seam, straight, out-seam
WEIGHTS = (0.3, 0.4, 0.3)
FOLLOW = 20.0  # by how much the seam goes with the swing, in nats for each metre a step
NOISE = 0.004  # of place, in metres
SPEED_NOISE = (0.001, 0.002)  # of the lateral and the vertical speed, in metres a step
REACH, LIMIT = 0.04, 0.6  # how far a bat moves in a step, and from the middle stump, in metres
STUMPS, BAILS = 0.115, 0.72  # half width and height of the wicket, in metres
MIDDLE, MISS = 0.06, 0.12  # how good a bat is, and where it ends, in metres
STEPS = 14  # no delivery from the hand takes longer


class Cricket(AbstractWorld):
    """A ball swings, pitches and seams: the batsman has to choose his line before.

    State `[x, y, z, vy, vz, bat]`: distance to the wicket, line (0 is the middle stump) and height
    of the ball in m; its lateral and vertical speed in m a step (0.05 s); the line of the bat in m.
    Action `[a]` in [-1, 1] moves the bat by .04 a, too slow to wait and see. With gravity
    g = .0245, speed u, seam d, swing s, and drop = z + vz - g / 2, the mean of the next state is::

        x' = x - u,  bat' = clip(bat + .04 a, -.6, .6)
        in the air     y' = y + vy,  z' = drop,  vy' = vy,  vz' = vz - g
        when it pitches (vz < 0 and drop < 0), share = drop / (vz - g / 2) of the step being left,
                       y' = y + vy + share d k,  z' = -.55 drop,
                       vy' = vy + d k,  vz' = -.55 (vz - g)
                       k = -1, 0, 1 with weights ~ (.3, .4, .3) exp(20 k vy)

    with independent normal noise on all six: .004 m on places (.01 on x, .002 on bat), .002 on vz,
    .001 on vy, and while the ball falls s (1 - x / 17.7) more on vy: swing, the later the stronger.
    A ball that has arrived (x <= 0) is dead: the mean of the next state is the state. So the law is
    exactly a `DiagNormalMixture` of three components, which differ only at the pitch. The phases of
    a delivery are flight, pitch and what follows: read them off z and vz.

    Reward: on arrival (x' <= 0), which ends the episode, `exp(-(y' - bat')^2 / (2 .06^2))` for the
    middle of the bat, less 1 when bowled: more than .12 beside the bat, within .115 of the middle
    stump and under .72 m. No step before pays. A delivery takes 11 steps. The bounds of the
    observation space are never enforced.
    """

    max_episode_steps: ClassVar[int | None] = None
    speed: Float[Array, ""]
    seam: Float[Array, ""]
    swing: Float[Array, ""]

    def __init__(self, speed: Any = 1.7, seam: Any = 0.05, swing: Any = 0.006):
        """Make the world.

        Args:
            speed: of the ball towards the batsman, in m a step, positive; 1.7 is 34 m/s.
            seam: by how much the lateral speed jumps at the pitch, in m a step, positive.
            swing: deviation of the lateral speed that a step in the air adds near the batsman, in
                m a step, positive.

        Raises:
            ValueError: a parameter is not a positive, finite number.
        """
        self.speed, self.seam = positive("speed", speed), positive("seam", seam)
        self.swing = positive("swing", swing)

    @property
    def observation_space(self) -> gym.Space:
        fast = 2 + float(self.speed)
        sideways = 1 + 4 * float(self.seam + self.swing)
        high = np.array([20.0, 10 * sideways, 6.0, sideways, 2.0, 1.0], np.float32)
        low = np.array([-fast, -high[1], -1.0, -sideways, -2.0, -1.0], np.float32)
        return gym.spaces.Box(low, high)

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def state_names(self) -> tuple[str, ...]:
        lengths = ("distance (m)", "line (m)", "height (m)")
        return (*lengths, "lateral speed (m/step)", "vertical speed (m/step)", "bat (m)")

    def initial(self) -> DiagNormal:
        return DiagNormal(jnp.array(RELEASE), jnp.array(RELEASE_SCALE))

    def law(self, state: Float[Array, " 6"], action: Float[Array, " 1"]) -> DiagNormalMixture:
        x, y, z, vy, vz, bat = state
        ways = jnp.array(WAYS)
        step = vz - 0.5 * GRAVITY  # how far gravity and speed carry it in one step
        drop = z + step
        pitches = (vz < 0) & (drop < 0)
        share = jnp.where(pitches, drop / jnp.minimum(step, -1e-3), 0.0)
        kick = jnp.where(pitches, self.seam, 0.0) * ways
        turn = jnp.where(pitches, -BOUNCE, 1.0)
        same = jnp.ones(len(WAYS))
        moved = jnp.clip(bat + REACH * action[0], -LIMIT, LIMIT)
        loc = [
            (x - self.speed) * same,
            y + vy + share * kick,
            turn * drop * same,
            vy + kick,
            turn * (vz - GRAVITY) * same,
            moved * same,
        ]
        mean = jnp.where(x > 0, jnp.stack(loc, axis=-1), state)
        scale = jnp.broadcast_to(self._scale(x, vz), (len(WAYS), 6))
        logits = jnp.log(jnp.array(WEIGHTS)) + FOLLOW * vy * ways
        return DiagNormalMixture(logits, mean, scale)

    def entropy(self, state: Float[Array, " 6"], action: Float[Array, " 1"]) -> Float[Array, ""]:
        """In nats: in units of the noise the means lie on a line, along which one quadrature does.

        Across the line the noise is that of a single component.
        """
        law = self.law(state, action)
        squared = jnp.sum(((law.loc[2] - law.loc[1]) / law.scale[1]) ** 2)
        apart = squared > 0  # a root has no gradient at 0
        between = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
        along = normal_mixture_entropy(law.logits, between * jnp.array(WAYS), jnp.ones(len(WAYS)))
        of_one = DiagNormal(law.loc[1], law.scale[1]).entropy()
        return of_one + along - DiagNormal(jnp.zeros(1), jnp.ones(1)).entropy()

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        line, height, bat = next_state[1], next_state[2], next_state[5]
        off = jnp.abs(line - bat)
        bowled = (off > MISS) & (jnp.abs(line) < STUMPS) & (height < BAILS)
        arrives = (state[0] > 0) & (next_state[0] <= 0)
        return arrives * (jnp.exp(-0.5 * (off / MIDDLE) ** 2) - bowled)

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return (next_state[0] > 0).astype("float32")

    def render(self, state: Float[np.ndarray, " 6"]) -> UInt8[np.ndarray, "height width 3"]:
        """From behind the wicket; ribbons are the ball's paths, as wide as they are likely."""
        weights, paths = (np.asarray(part) for part in _paths(self, state))
        return draw_cricket(np.asarray(state), weights, paths)

    def _scale(self, x, vz):
        late = jnp.clip(1 - x / RELEASE[0], 0.0, 1.0)
        swing = SPEED_NOISE[0] + jnp.where(vz < 0, self.swing * late, 0.0)
        places = jnp.array([0.01, NOISE, NOISE])
        return jnp.concatenate([places, swing[None], jnp.array([SPEED_NOISE[1], 0.002])])


@jax.jit
def _paths(world: Cricket, state: Float[Array, " 6"]):
    """The weights of the ways, and the mean path under each, `[ways, steps, 6]`."""

    def follow(way):
        def step(state, _):
            # The law is of JAX's precision, a state of Gymnasium is of its own.
            there = world.law(state, jnp.zeros(1)).loc[way].astype(state.dtype)
            return there, there

        return jax.lax.scan(step, state, length=STEPS)[1]

    weights = world.law(state, jnp.zeros(1)).weights()
    return weights, jax.vmap(follow)(jnp.arange(len(WAYS)))
