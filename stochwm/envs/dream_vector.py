"""Thousands of dreams at once, as a Gymnasium vector environment."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from .._counts import checked_count
from .._guard import AbstractGuard
from ..data import unflatten_value
from ..drift import epistemic_variance
from ..drift.members import Measure
from ..models import AbstractWorldModel
from ..transitions import AbstractTransition
from ._dream import (
    Arrival,
    Dream,
    Progress,
    as_world_model,
    check_arrived,
    check_dream,
    starting_states,
    word_of,
)
from ._dream_spaces import ActionEncoder, resolve


class DreamVectorEnv(gym.vector.VectorEnv):
    """Many copies of `DreamEnv`, stepped by one compiled call.

    With one seed, copy i dreams what `DreamEnv` dreams with `seed + i`, episode after episode, and
    the results are those of `gymnasium.vector.SyncVectorEnv` over such copies, in every
    `AutoresetMode`: `info` has a mask `_key` for each `key`, which is false at resets; with
    SAME_STEP the last observation and info of an episode are in `final_obs` and `final_info`; with
    DISABLED, `reset(options={"reset_mask": mask})` restarts the copies that ended.
    """

    def __init__(
        self,
        model: AbstractWorldModel | AbstractTransition,
        starts: Any,
        num_envs: int,
        *,
        max_steps: int,
        action_space: gym.Space | None = None,
        observation_space: gym.Space | None = None,
        guard: AbstractGuard | None = None,
        pessimism: float = 0.0,
        measure: Measure = epistemic_variance,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        """Dream with a model; `DreamEnv` says more of what both take.

        Args:
            model: a world model, or a transition.
            starts: observations `[starts, observation]`, or `Episodes`, which a filter needs.
            num_envs: how many copies, at least 1.
            max_steps: of an episode.
            action_space: of one action of one copy.
            observation_space: of one observation of one copy.
            guard: truncates the copies that are not to be trusted.
            pessimism: the reward is less by this multiple of `measure`.
            measure: `measure(prediction)`.
            autoreset_mode: when the copies that ended begin again.

        Raises:
            TypeError: pessimism about a model that is no ensemble.
            ValueError: pessimism about an ensemble of one member, a reward or a discount that is
                no scalar, or starts, spaces or numbers that do not fit together, or another mode.
        """
        num_envs = checked_count("num_envs", num_envs)
        rows, self.single_observation_space, self.single_action_space = resolve(
            starts, observation_space, action_space
        )
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._encode = ActionEncoder(self.single_action_space, (num_envs,))
        model = as_world_model(model)
        states = starting_states(model, starts, rows)
        self._dream = Dream(model, states, guard, max_steps, pessimism, measure)
        check_dream(self._dream, rows.shape[1], self._encode.flat.size)
        self._words = np.zeros(num_envs, np.uint32)
        self._ended = np.zeros(num_envs, bool)
        self._progress: Progress | None = None

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ):
        """Start an episode in every copy, or in those that a mask names.

        Args:
            seed: of the copies: one each, or a number for `seed, seed + 1, ...`.
            options: nothing but `reset_mask`, a bool array `[num_envs]`.

        Raises:
            ValueError: seeds or a mask of another shape, an empty mask, or an unknown option.
            TypeError: a mask that is not a bool array.
        """
        mask = _reset_mask(self.num_envs, options or {})
        seeds = self._seeds(seed)
        if self._progress is None:
            mask = np.ones_like(mask)
            fresh, episodes = mask, np.zeros(self.num_envs, np.int32)
        else:
            fresh = mask & np.array([one is not None for one in seeds])
            episodes = np.where(fresh, 0, np.asarray(self._progress.episode) + 1)
        self._words = self._words.copy()  # the old ones may be what JAX still looks at
        for i in np.flatnonzero(fresh):
            one = seeds[i]
            random = self.np_random if one is None else seeding.np_random(one)[0]
            self._words[i] = word_of(random)
        self._ended = self._ended & ~mask
        before = None if mask.all() else self._progress
        self._progress, flat = _begin(self._dream, self._words, episodes, mask, before)
        return self._decode(flat), {}

    def step(self, actions: Any):
        """Draw what follows in every copy.

        Returns:
            observations, rewards, terminations, truncations and the info of the copies that
            stepped.

        Raises:
            FloatingPointError: a prediction is NaN or infinite.
            ValueError: actions of another shape or outside the action space.
            gymnasium.error.ResetNeeded: there was no `reset` yet, or autoreset is disabled and a
                copy that ended was not reset.
        """
        if self._progress is None:
            raise gym.error.ResetNeeded("step() before reset(): call reset() first")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise gym.error.ResetNeeded(
                f"copies {np.flatnonzero(self._ended)[:8]} ended: with autoreset disabled, call "
                "reset(options={'reset_mask': terminations | truncations}) first"
            )
        restart, same_step = self._ended, self.autoreset_mode == AutoresetMode.SAME_STEP
        inputs = self._encode(actions), restart
        self._progress, flat, arrival = _advance(self._dream, self._progress, *inputs, same_step)
        flat, arrival = jax.device_get((flat, arrival))
        rewards = np.where(restart, 0.0, arrival.reward).astype(np.float64)
        check_arrived(arrival.observation[~restart], rewards)
        terminated, truncated = arrival.terminated & ~restart, arrival.truncated & ~restart
        ended = terminated | truncated
        if same_step:
            info = self._final(arrival, ended)
        else:
            info = _masked(arrival.info, ~restart)
            self._ended = ended
        return self._decode(flat), rewards, terminated, truncated, info

    def _final(self, arrival: Arrival, ended: np.ndarray) -> dict[str, Any]:
        """Infos where an episode may have ended, and the next one begun, in the same step."""
        info = _masked(arrival.info, ~ended)
        if ended.any():
            final = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(ended):
                final[i] = self._decode(arrival.observation[i])
            info |= {"final_obs": final, "_final_obs": ended.copy()}
            info |= {"final_info": _masked(arrival.info, ended), "_final_info": ended.copy()}
        return info

    def _seeds(self, seed: int | list[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            return [int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"seed must hold num_envs={self.num_envs} seeds, but has {len(seed)}.")
        return list(seed)

    def _decode(self, flat: Any):
        return unflatten_value(self.single_observation_space, np.asarray(flat, np.float32))


@eqx.filter_jit
def _begin(dream: Dream, words, episodes, mask, before: Progress | None):
    progress = jax.vmap(dream.begin)(words, episodes)
    if before is not None:
        progress = _chosen(mask, progress, before)
    return progress, jax.vmap(dream.observe)(progress)


@eqx.filter_jit
def _advance(dream: Dream, progress: Progress, actions, restart, same_step: bool):
    """Step every copy, and begin anew where asked, or where an episode ends in the same step."""
    after, arrival = jax.vmap(dream.advance)(progress, actions)
    if same_step:
        restart = arrival.terminated | arrival.truncated
    anew = jax.vmap(dream.begin)(progress.word, progress.episode + 1)
    following = _chosen(restart, anew, after)
    return following, jax.vmap(dream.observe)(following), arrival


def _chosen(mask, where_true: Progress, where_false: Progress) -> Progress:
    return jax.vmap(lambda m, a, b: jax.tree.map(lambda x, y: jnp.where(m, x, y), a, b))(
        mask, where_true, where_false
    )


def _masked(info: Mapping[str, Any], mask: np.ndarray) -> dict[str, np.ndarray]:
    """Gymnasium's vector info: 0 where a copy has no such entry, and a mask that says where."""
    if not mask.any():
        return {}
    masked = {}
    for name, values in info.items():
        wide = values if values.dtype == bool else values.astype(np.float64)
        masked[name], masked[f"_{name}"] = np.where(mask, wide, 0).astype(wide.dtype), mask.copy()
    return masked


def _reset_mask(num_envs: int, options: dict[str, Any]) -> np.ndarray:
    unknown = set(options) - {"reset_mask"}
    if unknown:
        raise ValueError(f"unknown reset options {sorted(unknown)}, expected only 'reset_mask'")
    mask = options.get("reset_mask")
    if mask is None:
        return np.ones(num_envs, bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != bool:
        raise TypeError(f"options['reset_mask'] must be a bool numpy array, but is {mask!r}.")
    if mask.shape != (num_envs,) or not mask.any():
        raise ValueError(
            f"options['reset_mask'] must have shape ({num_envs},) and one True or more, but is "
            f"{mask}."
        )
    return mask
