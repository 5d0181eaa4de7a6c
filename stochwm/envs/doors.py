"""Doors: chance in the hall decides which door is right."""

from typing import Any, ClassVar

import equinox as eqx
import gymnasium as gym
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import OneHotCategoricals
from ._checks import count, number, probability
from ._doors_picture import draw_doors
from ._probability import safe_log
from .base import AbstractWorld


class Doors(AbstractWorld):
    """L stages of lobby and hall; it separates open-loop from closed-loop planning.

    In the lobby of a stage, action 0 is safe: it pays `safe` and leads to the next stage. Any
    other action pays nothing and leads into the hall, where one of K doors, uniformly drawn, is
    shown to be open. There action k takes door k: the open one pays 1, any other 0, and both lead
    to the next stage. With probability `forced` a stage starts in its hall. After stage L the
    episode ends.

    A state is one of L (K + 1) + 1 cells, one-hot: stage and place decide the law together.
    `cell(stage, place)` numbers them: place 0 is the lobby, place k + 1 the hall with door k open;
    the last cell is the end. The law is exactly a one-hot categorical over the cells.

    Values from the start: L with the best policy (enter, look, take the open door);
    L ((1 - forced) safe + forced) when always safe in the lobby. A plan that does not look at the
    hall gets 1 / K from entering, less than `safe`: an open-loop planner stays in the lobby.
    """

    max_episode_steps: ClassVar[int | None] = None
    safe: Float[Array, ""]
    forced: Float[Array, ""]
    stages: int = eqx.field(static=True)
    doors: int = eqx.field(static=True)

    def __init__(self, stages: int = 5, doors: int = 4, safe: Any = 0.6, forced: Any = 0.3):
        """Make the world.

        Args:
            stages: number of stages L, at least 1.
            doors: number of doors K, which is also the number of actions, at least 2.
            safe: what the safe action pays.
            forced: probability that a stage starts in the hall.

        Raises:
            ValueError: a parameter is of another kind or out of its range.
        """
        self.stages, self.doors = count("stages", stages, 1), count("doors", doors, 2)
        self.safe, self.forced = number("safe", safe), probability("forced", forced)

    @property
    def observation_space(self) -> gym.Space:
        return gym.spaces.Discrete(self.stages * (self.doors + 1) + 1)

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(self.doors)

    @property
    def state_names(self) -> tuple[str, ...]:
        places = ["lobby", *(f"door {k}" for k in range(self.doors))]
        return (*(f"{s}: {place}" for s in range(self.stages) for place in places), "end")

    def cell(self, stage: int, place: int = 0) -> int:
        """The number of a cell: place 0 is the lobby, k + 1 the hall whose door k is open."""
        return stage * (self.doors + 1) + place

    def initial(self) -> OneHotCategoricals:
        first_stage = jnp.zeros(self.stages + 1).at[0].set(1.0)
        return OneHotCategoricals(safe_log(self._starting(first_stage)))

    def law(
        self, state: Float[Array, " cells"], action: Float[Array, " doors"]
    ) -> OneHotCategoricals:
        places, at_end = self._places(state)
        enters = places[:, 0] * (1 - action[0])  # [stages]: in the lobby of this stage, going in
        leaves = jnp.sum(places, axis=-1) - enters
        after = self._starting(jnp.concatenate([jnp.zeros(1), leaves]))
        uniform = jnp.full((self.doors + 1,), 1 / self.doors).at[0].set(0.0)
        halls = jnp.append(jnp.outer(enters, uniform), at_end)
        return OneHotCategoricals(safe_log(after + halls))

    def entropy(
        self, state: Float[Array, " cells"], action: Float[Array, " doors"]
    ) -> Float[Array, ""]:
        """Exact, in nats."""
        return self.law(state, action).entropy()

    def reward(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        places, _ = self._places(state)
        return self.safe * jnp.sum(places[:, 0]) * action[0] + jnp.sum(places[:, 1:] @ action)

    def discount(self, state: Any, action: Any, next_state: Any) -> Float[Array, ""]:
        return 1 - next_state[-1]

    def render(self, state: Float[np.ndarray, " cells"]) -> UInt8[np.ndarray, "height width 3"]:
        """The lobby, the hall with its open door lit, or the end; dots count the stages."""
        stage, place = divmod(int(np.argmax(state)), self.doors + 1)
        return draw_doors(stage, self.stages, place, self.doors)

    def _places(self, state):
        """One row a stage, `[stages, 1 + doors]`, and whether the episode is over."""
        return state[:-1].reshape(self.stages, self.doors + 1), state[-1]

    def _starting(self, stage: Float[Array, " stages_and_end"]) -> Float[Array, " cells"]:
        """Probabilities of the cells where a stage starts, given those of the stage."""
        first = jnp.full((self.doors + 1,), self.forced / self.doors).at[0].set(1 - self.forced)
        return jnp.append(jnp.outer(stage[:-1], first), stage[-1])
