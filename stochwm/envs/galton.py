"""Galton: a ball falls through pegs on a board that the player tilts."""

import math
from typing import Any, ClassVar

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import Deterministic, OneHotCategoricals
from ._checks import count, number
from ._galton_picture import draw_galton
from ._probability import safe_log
from .base import AbstractWorld


class Galton(AbstractWorld):
    """A ball on a tilted Galton board: where it ends has an exact binomial law.

    The ball starts at row 0, column 0 and falls R rows; at each it goes on to the same column or to
    the next one on the right. Action `[a]` in [-1, 1] tilts the board:

        P(right) = p(a) = sigmoid(slant + gain a)

    A state is one of (R + 1) (R + 2) / 2 cells, one-hot: `cell(row, column)` numbers them, row
    after row. The law is exactly a one-hot categorical over the cells. After a plan of tilts
    `law_after(state, actions)` is exact too, and under a constant tilt the last column is
    Binomial(R, p(a)): `final_law(tilt)`.

    Reward: on arrival in the last row, 1 in the pocket `target`, .5 in the pockets beside it, 0
    elsewhere. The last row ends the episode. A player who looks corrects the tilt on the way down.
    """

    max_episode_steps: ClassVar[int | None] = None
    slant: Float[Array, ""]
    gain: Float[Array, ""]
    rows: int = eqx.field(static=True)
    target: int = eqx.field(static=True)

    def __init__(self, rows: int = 8, target: int | None = None, slant: Any = 0.0, gain: Any = 1.5):
        """Make the world.

        Args:
            rows: number of rows R that the ball falls, at least 1.
            target: the pocket that pays, from 0 to `rows`; default: three quarters to the right.
            slant: log odds of going right when nobody tilts.
            gain: by how much a full tilt moves the log odds.

        Raises:
            ValueError: a parameter is of another kind or out of its range.
        """
        self.rows = count("rows", rows, 1)
        self.target = count("target", 3 * self.rows // 4 if target is None else target, 0)
        if self.target > self.rows:
            raise ValueError(f"target is {target}, expected a pocket from 0 to rows={rows}")
        self.slant, self.gain = number("slant", slant), number("gain", gain)

    @property
    def observation_space(self) -> gym.Space:
        return gym.spaces.Discrete((self.rows + 1) * (self.rows + 2) // 2)

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(f"{row}: column {column}" for row, column in self._places())

    def cell(self, row: int, column: int) -> int:
        """The number of a cell, with `0 <= column <= row <= rows`."""
        return row * (row + 1) // 2 + column

    def initial(self) -> Deterministic:
        return Deterministic(jnp.zeros(len(self._places())).at[0].set(1.0))

    def law(self, state: Float[Array, " cells"], action: Float[Array, " 1"]) -> OneHotCategoricals:
        return OneHotCategoricals(safe_log(self._fall(state, action)))

    def law_after(
        self, state: Float[Array, " cells"], actions: Float[Array, "steps 1"]
    ) -> OneHotCategoricals:
        """The exact distribution of the state after a plan of tilts, `[cells]`."""
        probs, _ = jax.lax.scan(lambda p, a: (self._fall(p, a), None), state, actions)
        return OneHotCategoricals(safe_log(probs))

    def final_law(self, tilt: Any) -> OneHotCategoricals:
        """The last column under one tilt from the start, `[rows + 1]`: Binomial(rows, p(tilt))."""
        odds = self.slant + self.gain * jnp.asarray(tilt)
        rights = np.arange(self.rows + 1)
        # np.log takes no whole numbers beyond 64 bits: those of some 70 rows.
        ways = np.array([math.log(math.comb(self.rows, int(n))) for n in rights], np.float32)
        right, left = jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)
        return OneHotCategoricals(ways + rights * right + (self.rows - rights) * left)

    def entropy(self, state: Float[Array, " cells"], action: Float[Array, " 1"]) -> Array:
        """Exact, in nats."""
        return self.law(state, action).entropy()

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        prize = np.maximum(1 - 0.5 * np.abs(np.arange(self.rows + 1) - self.target), 0.0)
        arrives = 1 - jnp.sum(self._pockets(state))
        return arrives * jnp.sum(prize * self._pockets(next_state))

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return 1 - jnp.sum(self._pockets(next_state))

    def render(self, state: Float[np.ndarray, " cells"]) -> UInt8[np.ndarray, "height width 3"]:
        """The ball among the pegs; bars show where it will end on a board that nobody tilts."""
        row, column = self._places()[int(np.argmax(state))]
        return draw_galton(self.rows, self.target, row, column, np.asarray(_ends(self, state)))

    def _fall(self, probs, action):
        """Each cell's mass moves one row on; the last row keeps what it has."""
        # An action of another precision does not change that of the mass, which loops carry.
        right = jax.nn.sigmoid(self.slant + self.gain * action[0]).astype(probs.dtype)
        left_of, right_of = self._next()
        fallen = jnp.zeros_like(probs).at[left_of].add((1 - right) * probs)
        return fallen.at[right_of].add(right * probs)

    def _next(self) -> tuple[np.ndarray, np.ndarray]:
        places = self._places()
        here = np.arange(len(places))
        below = here + np.array([row + 1 for row, _ in places])
        last = np.array([row == self.rows for row, _ in places])
        return np.where(last, here, below), np.where(last, here, below + 1)

    def _places(self) -> list[tuple[int, int]]:
        return [(row, column) for row in range(self.rows + 1) for column in range(row + 1)]

    def _pockets(self, state):
        return state[-(self.rows + 1) :]


@jax.jit
def _ends(world: Galton, state: Float[Array, " cells"]):
    law = world.law_after(state, jnp.zeros((world.rows, 1)))
    return law.mean()[-(world.rows + 1) :]
