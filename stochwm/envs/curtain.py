"""Curtain: pixels, a lamp to be remembered, and chance behind a curtain."""

from typing import Any, ClassVar

import equinox as eqx
import gymnasium as gym
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import OneHotCategoricals
from ._checks import count, probability
from ._curtain_picture import draw_curtain
from ._probability import safe_log
from .base import AbstractWorld

ABOVE = BELOW = 2  # rows above and below the curtain
BALL, PADDLE, CURTAIN = 255.0, 180.0, 90.0  # brightness; the lamp is as bright as the ball


class Curtain(AbstractWorld):
    """A ball falls behind a curtain where the wind blows: what is seen are pixels.

    On a grid of R = `hidden` + 4 rows the ball falls a row each step. Action 0, 1 or 2 moves the
    paddle, on the lowest row, to the left, not at all, or to the right. The ball starts on the top
    row, and only there a lamp shines: in the left corner if the wind blows to the left, else in the
    right one, 1/2 each. The middle rows are behind a curtain. Each of the `hidden` moves that begin
    there takes the ball one column downwind with probability `gust`; all other moves are straight
    down. Walls stop it. So it comes out on row R - 2 in the column

        start + wind * Binomial(hidden, gust)      walls aside; exactly: outcome_law(start, wind)

    and one move later it lands: the reward is 1 if the paddle is there, else 0, and the episode
    ends. A good player remembers the lamp, waits where the ball will probably come out, and has one
    move left when it does.

    A state is four one-hot vectors: row, column, wind (left, right), paddle. They are independent
    given state and action, so the law is exactly a product of categoricals. Of the state a grey
    picture is emitted, `cell` x `cell` pixels a place; `observation_space` says how large. The ball
    starts at least `hidden // 2` columns from each wall, the paddle anywhere.

    Best expected returns by default: 59/64 = .92 with memory (`optimal_value`); 1/2 for a player
    who never saw the lamp but knows all else (`value_without_lamp`). The paddle itself may serve as
    a memory: a player who goes downwind at once can see later on which side it is.
    """

    max_episode_steps: ClassVar[int | None] = None
    gust: Float[Array, ""]
    columns: int = eqx.field(static=True)
    hidden: int = eqx.field(static=True)
    cell: int = eqx.field(static=True)

    def __init__(self, columns: int = 8, hidden: int = 4, gust: Any = 0.5, cell: int = 2):
        """Make the world.

        Args:
            columns: of the grid; more than `hidden`.
            hidden: rows behind the curtain, at least 2.
            gust: probability that a move behind the curtain drifts.
            cell: side of a place in the picture, in pixels.

        Raises:
            ValueError: a parameter is of another kind or out of its range.
        """
        self.hidden, self.cell = count("hidden", hidden, 2), count("cell", cell, 1)
        self.columns = count("columns", columns, self.hidden + 1)
        self.gust = probability("gust", gust)

    @property
    def rows(self) -> int:
        """Rows of the grid."""
        return ABOVE + self.hidden + BELOW

    @property
    def starts(self) -> range:
        """The columns where the ball starts, each as often."""
        return range(self.hidden // 2, self.columns - self.hidden // 2)

    @property
    def observation_space(self) -> gym.Space:
        shape = (self.rows * self.cell, self.columns * self.cell, 1)
        return gym.spaces.Box(0, 255, shape, np.uint8)

    @property
    def state_space(self) -> gym.Space:
        return gym.spaces.MultiDiscrete(list(self._sizes))

    @property
    def fully_observed(self) -> bool:
        return False

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(3)

    @property
    def state_names(self) -> tuple[str, ...]:
        parts = zip(("row", "column", "wind", "paddle"), self._sizes, strict=True)
        names = [f"{part} {k}" for part, size in parts for k in range(size)]
        wind = names.index("wind 0")
        return (*names[:wind], "wind left", "wind right", *names[wind + 2 :])

    def emit(self, state: Any) -> Any:
        """The picture, flat `[pixels]`: whole numbers from 0 to 255, row after row."""
        row, column, wind, paddle = self._parts(state)
        top, bottom = np.eye(self.rows, dtype=np.float32)[[0, -1]]
        curtain = np.zeros(self.rows, np.float32)
        curtain[ABOVE:-BELOW] = 1.0
        corners = np.eye(self.columns, dtype=np.float32)[[0, -1]]
        seen = row * (1 - curtain)
        ball = seen[..., :, None] * column[..., None, :]
        lamp = (row * top)[..., :, None] * (wind @ corners)[..., None, :]
        below = bottom[:, None] * paddle[..., None, :]
        grid = BALL * (ball + lamp) + PADDLE * below * (1 - ball) + CURTAIN * curtain[:, None]
        picture = grid.repeat(self.cell, -2).repeat(self.cell, -1)
        return picture.reshape(*picture.shape[:-2], -1)

    def initial(self) -> OneHotCategoricals:
        row = jnp.zeros(self.rows).at[0].set(1.0)
        column = jnp.zeros(self.columns).at[np.asarray(self.starts)].set(1.0)
        return self._product(row, column, jnp.ones(2), jnp.ones(self.columns))

    def law(self, state: Float[Array, " state"], action: Float[Array, " 3"]) -> OneHotCategoricals:
        row, column, wind, paddle = self._parts(state)
        behind = jnp.sum(row[ABOVE:-BELOW])
        fallen = (1 - behind) * column + behind * wind @ (column @ self._gusts())
        lower = row @ _steps(self.rows)[2]
        moved = action @ (paddle @ _steps(self.columns))
        return self._product(lower, fallen, wind, moved)

    def entropy(self, state: Float[Array, " state"], action: Float[Array, " 3"]) -> Array:
        """Exact, in nats, of the next state given this one: less than an observer can know."""
        return self.law(state, action).entropy()

    def outcome_law(self, start: int, wind: int) -> OneHotCategoricals:
        """Where the ball comes out, `[columns]`, exactly.

        Args:
            start: the column where it starts.
            wind: 0 to the left, 1 to the right.
        """
        return OneHotCategoricals(safe_log(self._outcomes()[wind, start]))

    def optimal_value(self) -> Float[Array, ""]:
        """The best expected return of a player who sees the pictures and remembers them, exactly.

        Nothing is learned between the first picture and the one where the ball comes out, so all
        that counts is where the paddle waits: the best column that it reaches by then, from which
        one more move catches the ball wherever it can. Averaged over starts, winds and paddles.
        """
        return jnp.mean(self._best(self._outcomes()[:, np.asarray(self.starts)]))

    def value_without_lamp(self) -> Float[Array, ""]:
        """The best expected return of a player who sees and remembers all but the lamp, exactly."""
        return jnp.mean(self._best(self._outcomes()[:, np.asarray(self.starts)].mean(0)))

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        row, column, _, paddle = self._parts(next_state)
        lands = row[-1] * (1 - self._parts(state)[0][-1])
        return lands * jnp.sum(column * paddle)

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return 1 - self._parts(next_state)[0][-1]

    def render(self, state: Float[np.ndarray, " state"]) -> UInt8[np.ndarray, "height width 3"]:
        """For the spectator: the ball also behind the curtain, and the wind at all times."""
        row, column, wind, paddle = (int(np.argmax(part)) for part in self._parts(state))
        curtain = range(ABOVE, ABOVE + self.hidden)
        return draw_curtain(self.rows, self.columns, curtain, row, column, wind, paddle)

    @property
    def _sizes(self) -> tuple[int, int, int, int]:
        return self.rows, self.columns, 2, self.columns

    def _parts(self, state):
        ends = np.cumsum(self._sizes)
        return [state[..., e - n : e] for n, e in zip(self._sizes, ends, strict=True)]

    def _product(self, *weights) -> OneHotCategoricals:
        """Independent parts, from weights of each, up to a constant."""
        return OneHotCategoricals(safe_log(jnp.concatenate(weights)), self._sizes)

    def _gusts(self) -> Float[Array, "winds columns columns"]:
        """P(next column | column) behind the curtain, for each wind."""
        left, stays, right = _steps(self.columns)
        return (1 - self.gust) * stays + self.gust * np.stack([left, right])

    def _outcomes(self) -> Float[Array, "winds starts columns"]:
        return jnp.linalg.matrix_power(self._gusts(), self.hidden)

    def _best(self, outcomes: Float[Array, "*known columns"]) -> Float[Array, "*known columns"]:
        """The best probability of a catch, for each column where the paddle starts."""
        here = np.arange(self.columns)
        apart = np.abs(here[:, None] - here)
        caught = outcomes @ (apart <= 1).astype(np.float32)  # by where the paddle waits
        in_time = apart <= self.rows - BELOW  # moves until the ball comes out
        return jnp.max(jnp.where(in_time, caught[..., None, :], 0.0), axis=-1)


def _steps(places: int) -> Float[np.ndarray, "3 places places"]:
    """Matrices that move a one-hot row vector by -1, 0 and 1 between walls."""
    here = np.arange(places)
    eye = np.eye(places, dtype=np.float32)
    return np.stack([eye[np.clip(here + by, 0, places - 1)] for by in (-1, 0, 1)])
