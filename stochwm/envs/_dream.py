"""What the dream environments share: a world model, stepped from observations really seen."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, UInt32

from .._guard import AbstractGuard
from .._rollout import last_state, make_step, start_carry, step_keys
from ..distributions import (
    AbstractDistribution,
    AbstractSampler,
    LatentStateDistribution,
    UniformMixture,
)
from ..distributions.checks import as_float, check_finite
from ..drift import DisagreementReward
from ..drift.members import Measure, moments_of
from ..models import AbstractWorldModel

BEFORE = np.uint32(2**32 - 1)  # folded in for the start: far from the times of any episode


class Progress(eqx.Module):
    """Where one dream is; its draws are those of `word`, `episode` and `time`."""

    word: UInt32[Array, "*copies"]
    episode: Int[Array, "*copies"]
    time: Int[Array, "*copies"]
    carry: PyTree[Array]
    """As in a rollout: the state, and what the guard keeps."""


class Arrival(eqx.Module):
    """What one step of a dream led to."""

    observation: Float[Array, "*copies observation"]
    reward: Float[Array, "*copies"]
    terminated: Bool[Array, "*copies"]
    truncated: Bool[Array, "*copies"]
    info: dict[str, Array]


class Dream(eqx.Module):
    """A world model as something to step. Nothing here has a batch axis."""

    model: AbstractWorldModel
    starts: Float[Array, "starts observation"]
    guard: AbstractGuard | None
    max_steps: Int[Array, ""]

    def __init__(
        self,
        model: AbstractWorldModel,
        starts: np.ndarray,
        guard: AbstractGuard | None,
        max_steps: int,
        pessimism: float,
        measure: Measure,
    ):
        weight = as_float("pessimism", pessimism)
        check_finite("pessimism", weight)
        if weight.ndim or weight < 0:
            raise ValueError(
                f"pessimism must be one number, 0 or more, but is {pessimism}. To seek what the "
                "ensemble does not know, wrap the model: DisagreementReward."
            )
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ValueError(f"max_steps must be a whole number, at least 1, but is {max_steps}.")
        self.model = DisagreementReward(model, measure, -weight) if weight > 0 else model
        self.starts, self.guard = jnp.asarray(starts, float), guard
        self.max_steps = jnp.asarray(max_steps)

    def begin(self, word: Array, episode: Array) -> Progress:
        """An episode at one of the starts, each as likely as any other."""
        key = jax.random.fold_in(_key(word, episode), BEFORE)
        start = self.starts[jax.random.randint(key, (), 0, len(self.starts))]
        carry = start_carry(self.model.start(start), self.guard)
        return Progress(word, episode, jnp.zeros_like(self.max_steps), carry)

    def observe(self, progress: Progress) -> Float[Array, " observation"]:
        """What is seen, flat."""
        return self.model.observed(last_state(progress.carry, self.guard))

    def advance(self, progress: Progress, action: Array) -> tuple[Progress, Arrival]:
        """One step, drawn as `replay` with the key of the episode draws it."""
        for_end, for_state = step_keys(_key(progress.word, progress.episode), progress.time)
        step = make_step(
            self.model,
            lambda state, inputs: inputs,
            lambda inputs: for_state,
            record=lambda state, action, prediction, next_state: variances(prediction),
            guard=self.guard,
        )
        carry, row = step(progress.carry, action)
        time = progress.time + 1
        trusted = jnp.asarray(True) if row.trusted is None else row.trusted
        terminated = trusted & (jax.random.uniform(for_end) >= row.discount)
        truncated = ~terminated & (~trusted | (time >= self.max_steps))
        after = Progress(progress.word, progress.episode, time, carry)
        info = {"trusted": trusted, **row.aux}
        return after, Arrival(self.observe(after), row.reward, terminated, truncated, info)


def variances(prediction: AbstractSampler) -> dict[str, Float[Array, ""]]:
    """The traces of the variance split, as far as they are known in closed form."""
    if isinstance(prediction, LatentStateDistribution):
        prediction = prediction.stoch
    try:
        if isinstance(prediction, UniformMixture):
            mean, variance = moments_of(prediction)
            epistemic = jnp.sum(jnp.var(mean, axis=0))
            return {"epistemic": epistemic, "aleatoric": jnp.sum(jnp.mean(variance, axis=0))}
        if isinstance(prediction, AbstractDistribution):
            return {"aleatoric": jnp.sum(prediction.variance())}
    except NotImplementedError:
        pass  # can only be sampled
    return {}


def check_dream(dream: Dream, action_size: int) -> None:
    """Trace one step, so that what does not fit together is refused before anybody steps.

    Raises:
        TypeError: `measure` does not take what the model predicts.
        ValueError: the model shows observations of another shape than those it starts from.
    """

    def one_step(dream):
        first = dream.begin(jnp.uint32(0), jnp.asarray(0))
        return dream.advance(first, jnp.zeros(action_size))[1].observation

    shape = eqx.filter_eval_shape(one_step, dream).shape
    if shape != dream.starts.shape[1:]:
        raise ValueError(
            f"model must show flat observations of shape {dream.starts.shape[1:]}, like the "
            f"starts, but model.observed(state) has shape {shape}."
        )


def check_arrived(observation: np.ndarray, reward: np.ndarray) -> None:
    """Refuse what a broken model predicts; the wording is that of a rollout."""
    if not (np.isfinite(observation).all() and np.isfinite(reward).all()):
        raise FloatingPointError(
            "The dream became NaN or infinite: the model's prediction is broken, or the action "
            "that it was given is."
        )


def word_of(random: np.random.Generator) -> Any:
    """What all draws of a seeded copy come from."""
    return random.integers(2**32, dtype=np.uint32)


def _key(word: Array, episode: Array) -> PRNGKeyArray:
    return jax.random.fold_in(jax.random.key(word), episode)
