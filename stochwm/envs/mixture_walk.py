"""MixtureWalk: a random walk whose law is known at every horizon."""

import itertools
import math
from typing import Any, ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import DiagNormal, DiagNormalMixture
from ._checks import number, numbers, positives
from ._mixture_walk_picture import draw_mixture_walk
from ._probability import normal_mixture_entropy
from .base import AbstractWorld

START = 0.1  # standard deviation of the first position


class MixtureWalk(AbstractWorld):
    """A random walk with steps from a mixture: its law is exact at every horizon.

    State `[x]`, action `[a]` in [-1, 1]: a push c a, `push = 0.5` by default, so that the walk is a
    task; an action of 0 leaves the pure walk.

        x' = x + c a + z,  z ~ sum_k w_k N(m_k, s_k^2)

    After h steps under a plan a_1 .. a_h, whoever took component k n_k times is at

        N(x + c sum_t a_t + sum_k n_k m_k, sum_k n_k s_k^2)  with weight  h! prod_k w_k^n_k / n_k!

    so `law_after(state, actions)` is exactly a `DiagNormalMixture` with one component for each way
    to share h steps among the K components, h + 1 for the default fork (w = .5, .5, m = -1, 1,
    s = .1, .1). What a normal loses to the law shrinks with h (the central limit theorem): a model
    that really finds the modes is told from one that is lucky. For the fork, in nats:

        h                         1        2        5        10       20
        entropy               -.1905    .5026   1.4447   2.1393   2.7707
        lost by a normal      1.6144   1.2678    .7839    .4359    .1511

    Reward: `exp(-x'^2 / 2) - .1 a^2`, paid for staying at home. Episodes start near x = 0 and never
    end by themselves; the registered environment truncates them after 50 steps. The bounds of the
    observation space are out of reach in that time and are never enforced.
    """

    max_episode_steps: ClassVar[int | None] = 50
    weights: Float[Array, " components"]
    means: Float[Array, " components"]
    scales: Float[Array, " components"]
    push: Float[Array, ""]

    def __init__(
        self,
        weights: Any = (0.5, 0.5),
        means: Any = (-1.0, 1.0),
        scales: Any = (0.1, 0.1),
        push: Any = 0.5,
    ):
        """Make the world.

        Args:
            weights: how likely each kind of step is, positive; they are divided by their sum.
            means: mean m_k of each kind.
            scales: standard deviation s_k of each kind, positive.
            push: how far a full action moves the walk, c.

        Raises:
            ValueError: lists of different lengths, or a number out of its range.
        """
        weights = positives("weights", weights)
        self.weights = weights / jnp.sum(weights)
        self.means, self.scales = numbers("means", means), positives("scales", scales)
        self.push = number("push", push)
        lengths = [len(x) for x in (self.weights, self.means, self.scales)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"weights, means and scales have {lengths} entries, expected one for each kind of "
                "step in all three"
            )

    @property
    def observation_space(self) -> gym.Space:
        furthest = float(jnp.max(jnp.abs(self.means)) + jnp.abs(self.push))
        reach = np.full(1, 50 * furthest + 100 * float(jnp.max(self.scales)) + 1, np.float32)
        return gym.spaces.Box(-reach, reach)

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("x",)

    def initial(self) -> DiagNormal:
        return DiagNormal(jnp.zeros(1), jnp.full(1, START))

    def law(self, state: Float[Array, " 1"], action: Float[Array, " 1"]) -> DiagNormalMixture:
        return self.law_after(state, action[None])

    def law_after(
        self, state: Float[Array, " 1"], actions: Float[Array, "steps 1"]
    ) -> DiagNormalMixture:
        """The exact distribution of the state after a plan of at least one action, `[1]`."""
        counts = _shares(len(actions), len(self.weights))
        ways = jnp.asarray([_log_ways(row) for row in counts], jnp.float32)
        moved = state + self.push * jnp.sum(actions, axis=0)
        return DiagNormalMixture(
            ways + counts @ jnp.log(self.weights),
            moved + (counts @ self.means)[:, None],
            jnp.sqrt(counts @ self.scales**2)[:, None],
        )

    def entropy(self, state: Float[Array, " 1"], action: Float[Array, " 1"]) -> Float[Array, ""]:
        """In nats, by quadrature; it is the same everywhere."""
        return self.entropy_after(state, action[None])

    def entropy_after(
        self, state: Float[Array, " 1"], actions: Float[Array, "steps 1"]
    ) -> Float[Array, ""]:
        """Entropy of `law_after` in nats, by quadrature."""
        law = self.law_after(state, actions)
        return normal_mixture_entropy(law.logits, law.loc[:, 0], law.scale[:, 0])

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return jnp.exp(-0.5 * next_state[0] ** 2) - 0.1 * action[0] ** 2

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return jnp.ones(())

    def render(self, state: Float[np.ndarray, " 1"]) -> UInt8[np.ndarray, "height width 3"]:
        """The walker on the number line; the hill is the law of the next position, action 0."""
        law = _ahead(self, state)
        ahead = (np.asarray(law.weights()), np.asarray(law.loc)[:, 0], np.asarray(law.scale)[:, 0])
        return draw_mixture_walk(float(state[0]), *ahead)


@jax.jit
def _ahead(world: MixtureWalk, state: Float[Array, " 1"]):
    return world.law(state, jnp.zeros(1))


def _shares(steps: int, kinds: int) -> Float[np.ndarray, "ways kinds"]:
    """Every way to share the steps among the kinds: between stars stand kinds - 1 bars."""
    if steps < 1:
        raise ValueError("actions is empty, expected a plan of at least one step")
    places = steps + kinds - 1
    bars = itertools.combinations(range(places), kinds - 1)
    rows = [np.diff([-1, *row, places]) - 1 for row in bars]
    return np.array(rows[::-1], np.float32)  # a single step: the kinds in their own order


def _log_ways(counts: Float[np.ndarray, " kinds"]) -> float:
    """Log of the multinomial coefficient."""
    return math.lgamma(counts.sum() + 1) - sum(math.lgamma(n + 1) for n in counts)
