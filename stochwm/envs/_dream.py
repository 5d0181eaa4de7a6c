"""What the dream environments share: a world model, stepped from observations really seen."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, UInt32

from .._counts import checked_count
from .._guard import AbstractGuard
from .._rollout import last_state, make_step, start_carry, step_keys
from ..calibration import PitMapped, start_states
from ..data import Episodes, check_spaces
from ..distributions import (
    AbstractDistribution,
    AbstractSampler,
    LatentStateDistribution,
    UniformMixture,
)
from ..distributions.checks import as_float, check_finite
from ..drift import DisagreementReward
from ..drift.members import Measure, moments_of
from ..models import AbstractFilter, AbstractWorldModel, Markov
from ..models.checks import mend, named
from ..transitions import AbstractTransition

# Folded in for the start and for what is seen: far from the times of any episode.
BEFORE, SEEN = np.uint32(2**32 - 1), np.uint32(2**32 - 2)


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
    starts: PyTree[Array]
    """States of the model, with a leading axis."""
    guard: AbstractGuard | None
    max_steps: Int[Array, ""]

    def __init__(
        self,
        model: AbstractWorldModel,
        starts: PyTree[Array],
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
        self.model = DisagreementReward(model, measure, -weight) if weight > 0 else model
        self.starts, self.guard = starts, guard
        self.max_steps = jnp.asarray(checked_count("max_steps", max_steps))

    def begin(self, word: Array, episode: Array) -> Progress:
        """An episode at one of the starts, each as likely as any other."""
        key = jax.random.fold_in(_key(word, episode), BEFORE)
        number = len(jax.tree.leaves(self.starts)[0])
        chosen = jax.random.randint(key, (), 0, number)
        carry = start_carry(jax.tree.map(lambda x: x[chosen], self.starts), self.guard)
        return Progress(word, episode, jnp.zeros_like(self.max_steps), carry)

    def observe(self, progress: Progress) -> Float[Array, " observation"]:
        """What is seen, flat; the same whenever it is asked."""
        key = jax.random.fold_in(_key(progress.word, progress.episode), SEEN)
        state = last_state(progress.carry, self.guard)
        return self.model.emission(state, key=jax.random.fold_in(key, progress.time))

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
        # What was seen last is seen again where the dream is not trusted: time stands still.
        time = jnp.where(trusted, time, progress.time)
        after = Progress(progress.word, progress.episode, time, carry)
        info = {"trusted": trusted, **row.aux}
        return after, Arrival(self.observe(after), row.reward, terminated, truncated, info)


def as_world_model(model: AbstractWorldModel | AbstractTransition) -> AbstractWorldModel:
    """The model, or a transition as one without a reward.

    Raises:
        TypeError: neither.
    """
    if isinstance(model, AbstractTransition):
        return Markov(model)
    if not isinstance(model, AbstractWorldModel):
        raise TypeError(
            f"model must be a world model or a transition, but is {named(model)}{mend(model)}."
        )
    return model


def variances(prediction: AbstractSampler) -> dict[str, Float[Array, ""]]:
    """The traces of the variance split, as far as they are known in closed form."""
    if isinstance(prediction, LatentStateDistribution):
        prediction = prediction.stoch
    if isinstance(prediction, PitMapped) and isinstance(prediction.base, UniformMixture):
        prediction = prediction.base  # its members disagree as they did before it was recoded
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


def starting_states(model: AbstractWorldModel, starts: Any, rows: np.ndarray) -> PyTree[Array]:
    """The states in which dreams begin, `[starts, ...]`.

    Args:
        model: any world model; a filter has seen the past of each start.
        starts: as the environment was given them.
        rows: the observations of the starts, `[starts, observation]`.

    Raises:
        ValueError: starts of a filter that are not `Episodes`, or of other spaces.
    """
    if not isinstance(model, AbstractFilter):
        return jax.vmap(model.start)(jnp.asarray(rows, float))
    if not isinstance(starts, Episodes):
        raise ValueError(
            f"starts must be Episodes: model is a filter ({type(model).__name__}), which begins in "
            "what it has inferred from the past of a start, and an observation alone has none."
        )
    check_spaces(model, starts)
    row = np.flatnonzero(~starts.is_last)
    states = start_states(model, starts, row, key=jax.random.key(0), num_particles=1)
    return jax.tree.map(lambda x: jnp.asarray(x[:, 0]), states)


def check_dream(dream: Dream, size: int, action_size: int) -> None:
    """Trace one step, so that what does not fit together is refused before anybody steps.

    Raises:
        TypeError: `measure` does not take what the model predicts.
        ValueError: the model shows observations of another shape than those it starts from, its
            reward or discount is no scalar, or there is one member, which cannot disagree.
    """

    def one_step(dream):
        first = dream.begin(jnp.uint32(0), jnp.asarray(0))
        return dream.advance(first, jnp.zeros(action_size))[1].observation

    shape = eqx.filter_eval_shape(one_step, dream).shape
    if shape != (size,):
        raise ValueError(
            f"model must show flat observations of shape {(size,)}, like the starts, but "
            f"model.observed(state) has shape {shape}."
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
