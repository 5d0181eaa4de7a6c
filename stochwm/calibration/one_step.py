"""How probable a model held the next observation: the log density, one step ahead."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..data import Episodes, Transitions
from ..distributions import LatentState, LatentStateDistribution
from ..models import AbstractFilter, AbstractWorldModel
from .bootstrap import episode_interval
from .score_inputs import core_of
from .scorecard import Sample, Score, Scorecard
from .starts import fingerprint, in_blocks

ROW_BLOCK = 1024


class OneStep(eqx.Module):
    """What a model predicts of the next observation, as `nll` sees it.

    A pytree, not a closure: the arrays of the model must not be constants of the program.
    """

    model: AbstractWorldModel
    noise: Array | None

    def __call__(self, state: Array, action: Array) -> Any:
        return seen_density(self.model.transition(self.model.start(state), action), self.noise)


def evaluate_density(
    predict: Callable[[Array, Array], Any],
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    noise: Any = 0.0,
) -> Scorecard:
    """The metric `nll`, one step ahead, of any `(state, action) -> distribution`; see `evaluate`.

    Args:
        predict: such as `model.transition`, or a law seen through the same noise,
            `lambda s, a: world.law(s, a).smoothed(noise)`.
        episodes: held-out episodes.
        key: for the target noise; the same key gives the same targets.
        noise: standard deviation of the target noise, a scalar or `[state]`.

    Raises:
        ValueError: a noise that is not one number a dimension, or negative.
    """
    noise = per_dimension("noise", noise, episodes)
    try:
        sample = density_sample(predict, episodes, key=key, noise=noise)
    except NotImplementedError as error:
        return Scorecard((), (f"nll: the prediction has no density ({error})",))
    if not np.isfinite(sample.values).all():
        share = np.mean(~np.isfinite(sample.values))
        return Scorecard((), (f"nll: {100 * share:.1f} % of the steps have no finite log density",))
    interval = episode_interval(sample.values, sample.episode)
    score = Score("nll", 1, *interval, len(sample.values))
    return Scorecard((score,), samples={("model", "nll", 1): sample})


def density_sample(
    predict: Callable[[Array, Array], Any],
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    noise: np.ndarray,
) -> Sample:
    """Minus the log density of every step, in nats.

    Raises:
        NotImplementedError: a prediction without a density.
    """
    rows, target, name = next_targets(episodes, key=key, noise=noise)
    inputs = (np.asarray(rows.state), np.asarray(rows.action), target)
    if not isinstance(predict, eqx.Module):
        # A new function each time: an old program knows an old function's variables by value.
        given, predict = predict, lambda state, action: given(state, action)
    values = in_blocks(lambda *block: _log_probs(predict, *block), inputs, ROW_BLOCK)
    return Sample(-values, np.asarray(rows.episode), name)


def next_targets(
    episodes: Episodes, *, key: PRNGKeyArray, noise: np.ndarray
) -> tuple[Transitions, np.ndarray, str]:
    """All steps, what followed with noise `[transitions, state]`, and the fingerprint of both."""
    rows = episodes.transitions()
    target = rows.next_state + noise * np.asarray(jax.random.normal(key, rows.next_state.shape))
    name = fingerprint(*(np.asarray(x) for x in (rows.state, rows.action, rows.next_state)))
    return rows, np.asarray(target, np.float32), name


@eqx.filter_jit
def _log_probs(predict, *inputs):
    return jax.vmap(lambda *row: with_density(predict(*row[:2])).log_prob(row[2]))(*inputs)


def why_no_density(
    model: AbstractWorldModel, noise: Array | None, state: np.ndarray, action: np.ndarray
) -> str | None:
    """Why the density of the next observation is not known, or None where it is.

    Nothing is computed. A density belongs to the drawn part of a state: it is the observation's if
    that part is what the model shows, unchanged. That of a filter is what it decodes to.

    Args:
        model: any world model over flat observations.
        noise: what its predictions are seen through, `[state]`, or None.
        state: an observation, `[state]`.
        action: an action, `[action]`.
    """

    def probe(model, noise, state, action):
        if isinstance(model, AbstractFilter):
            return seen_density(model.decode(model.initial()), noise).log_prob(state)
        prediction = model.transition(model.start(state), action)
        drawn = part = prediction.sample(seed=jax.random.key(0))
        while isinstance(part, LatentState):
            part = part.stoch
        if model.observed(drawn) is not part:
            raise NotImplementedError("what is observed is not the drawn part of the state itself")
        return seen_density(prediction, noise).log_prob(state)

    try:
        eqx.filter_eval_shape(probe, model, noise, jnp.asarray(state), jnp.asarray(action))
    except NotImplementedError as error:
        return str(error)
    return None


def seen_density(prediction: Any, noise: Array | None) -> Any:
    """The density of the drawn part of the next state, seen through noise `[state]` if any.

    Raises:
        NotImplementedError: a prediction that can only be sampled.
    """
    while isinstance(prediction, LatentStateDistribution):  # of a model with a clock
        prediction = prediction.stoch
    prediction = with_density(prediction)
    return prediction if noise is None else prediction.smoothed(noise)


def with_density(prediction: Any) -> Any:
    """The prediction; `NotImplementedError` if it, or what it mixes, can only be sampled.

    Asked for by name: catching `AttributeError` would take a mistake in a model for a missing
    density.
    """
    core = core_of(prediction)
    if not hasattr(core, "log_prob"):
        raise NotImplementedError(f"{type(core).__name__} has no log_prob")
    return prediction


def per_dimension(name: str, value: Any, episodes: Episodes) -> np.ndarray:
    """One number a dimension of the observation, `[state]`.

    Raises:
        ValueError: neither one number nor one a dimension, not finite, or negative.
    """
    size = episodes.observation.shape[1]
    array = np.asarray(value, np.float32)
    if array.shape not in ((), (size,)) or not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(
            f"{name} must be one number or {size}, finite and not negative, but is {value}."
        )
    return np.broadcast_to(array, (size,))
