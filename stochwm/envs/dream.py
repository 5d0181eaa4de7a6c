"""A world model as a Gymnasium environment: agents learn in the dream as they do outside it."""

from typing import Any

import equinox as eqx
import gymnasium as gym
import jax
import numpy as np

from .._guard import AbstractGuard
from ..data import unflatten_value
from ..drift import epistemic_variance
from ..drift.members import Measure
from ..models import AbstractWorldModel
from ..transitions import AbstractTransition
from ._dream import Dream, as_world_model, check_arrived, check_dream, starting_states, word_of
from ._dream_spaces import ActionEncoder, resolve


class DreamEnv(gym.Env):
    """Any world model over flat observations as an environment: each step draws from the model.

    An episode begins at one of `starts`. `terminated` is drawn with the probability that the
    model's discount leaves. `truncated` means that the guard no longer trusts the dream, or that
    `max_steps` are over. As in `imagine`, a step that the guard distrusts leads nowhere: the
    observation is the last trusted one and the reward is 0, so that an agent bootstraps from a
    state that can be trusted.

    `info` of a step holds

    * `trusted`: whether the guard trusted the dream so far; always true without a guard;
    * `epistemic`: the variance of the members' means, summed over dimensions, in squared units of
      the observation; missing where the model is no ensemble, for then nobody can disagree, and
      where members can only be sampled;
    * `aleatoric`: the mean variance that the members predict, summed alike; of a model that is no
      ensemble, the variance that it predicts; missing where that has no closed form. Both are of
      the latent state where the model is a filter.

    `reset(seed=...)` fixes every draw that follows, those of later episodes too.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        model: AbstractWorldModel | AbstractTransition,
        starts: Any,
        *,
        max_steps: int,
        action_space: gym.Space | None = None,
        observation_space: gym.Space | None = None,
        guard: AbstractGuard | None = None,
        pessimism: float = 0.0,
        measure: Measure = epistemic_variance,
    ):
        """Dream with a model.

        Args:
            model: a world model whose `start` and `observed` take and show flat observations, or a
                filter, which decodes to them; what is seen is then drawn. Or a transition, which
                has no reward and never ends.
            starts: observations `[starts, observation]`; or `Episodes`, of which every observation
                is one at which an action was chosen. A filter takes `Episodes` only: it has seen
                each of them from its beginning up to the start.
            max_steps: of an episode, at least 1.
            action_space: of one action; its flat encoding is what the model takes. By default that
                of the `Episodes`, whose categories are counted from 0.
            observation_space: of one observation; its bounds are not enforced. By default that of
                the `Episodes`, without bounds on numbers: a dream may leave those of the world.
            guard: truncates where the dream is not to be trusted, see `stochwm.drift.DriftGuard`.
            pessimism: the reward is less by this multiple of `measure` (MOPO: Yu et al. 2020, arXiv
                2005.13239), in rewards per unit of the measure; 0 or more.
            measure: `measure(prediction)`, any of `stochwm.drift`.

        Raises:
            TypeError: pessimism about a model that is no ensemble.
            ValueError: pessimism about an ensemble of one member, a reward or a discount that is
                no scalar, or starts, spaces or numbers that do not fit together.
        """
        rows, self.observation_space, self.action_space = resolve(
            starts, observation_space, action_space
        )
        self._encode = ActionEncoder(self.action_space, ())
        model = as_world_model(model)
        states = starting_states(model, starts, rows)
        self._dream = Dream(model, states, guard, max_steps, pessimism, measure)
        check_dream(self._dream, rows.shape[1], self._encode.flat.size)
        self._word, self._episode = None, 0
        self._progress = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode.

        Raises:
            ValueError: any option; there is none.
        """
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}, expected none")
        super().reset(seed=seed)
        if seed is not None or self._word is None:
            self._word, self._episode = word_of(self.np_random), 0
        else:
            self._episode += 1
        self._progress, observation = _begin(self._dream, self._word, np.int32(self._episode))
        return self._decode(observation), {}

    def step(self, action: Any):
        """Draw what follows from the model.

        Raises:
            FloatingPointError: the prediction is NaN or infinite.
            ValueError: an action outside the action space.
            gymnasium.error.ResetNeeded: the episode ended, or there was no `reset` yet.
        """
        if self._progress is None:
            raise gym.error.ResetNeeded("step() without a running episode: call reset() first")
        self._progress, arrival = _advance(self._dream, self._progress, self._encode(action))
        arrival = jax.device_get(arrival)
        check_arrived(arrival.observation, arrival.reward)
        if arrival.terminated or arrival.truncated:
            self._progress = None
        info = {name: value.item() for name, value in arrival.info.items()}
        ends = bool(arrival.terminated), bool(arrival.truncated)
        return self._decode(arrival.observation), float(arrival.reward), *ends, info

    def _decode(self, flat: Any):
        return unflatten_value(self.observation_space, np.asarray(flat, np.float32))


# The dream is an argument: all environments of one kind share one compilation.
@eqx.filter_jit
def _begin(dream: Dream, word, episode):
    progress = dream.begin(word, episode)
    return progress, dream.observe(progress)


@eqx.filter_jit
def _advance(dream: Dream, progress, action):
    return dream.advance(progress, action)
