"""Adaptive conformal inference: coverage kept over a stream whose law drifts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..data import Transitions
from ..distributions import AbstractDistribution
from ..distributions.checks import as_float, as_level, check_positive
from ..transitions import AbstractConstant, AbstractTransition
from .conformal import episode_scores, needed_spread
from .factors import RANGE
from .spread import spread

RATE = 0.01


class AdaptiveLevel(AbstractConstant):
    """The state of adaptive conformal inference (Gibbs & Candes 2021, arXiv 2106.00072).

    A score is covered if it is at most `reach()`, the conformal quantile of the hold-out scores at
    level `1 - miss`. Each update moves `miss` by `rate * (target - 1{not covered})` (their
    equation 2). Whatever the stream does, the share of misses over T updates then differs from the
    target by at most `(1 + rate) / (rate * T)` (their proposition 4.1).
    """

    scores: Float[Array, " episodes"]
    """Of the hold-out, in order."""
    miss: Float[Array, ""]
    """The share of misses that is asked for now; leaves [0, 1] where nothing or all is covered."""
    target: Float[Array, ""]
    """The share of misses that is wanted in the long run."""
    rate: Float[Array, ""]
    """How far one miss moves the level."""

    def __init__(self, scores: Any, level: Any = 0.9, rate: Any = RATE):
        """Start with the level that is wanted.

        Args:
            scores: one number a hold-out episode, `[episodes]`; infinite ones are allowed.
            level: wanted coverage, strictly between 0 and 1.
            rate: positive; larger follows a shift sooner and jitters more.

        Raises:
            ValueError: no score, NaN, or numbers out of range.
        """
        scores = as_float("scores", scores)
        if scores.ndim != 1 or len(scores) == 0 or bool(jnp.isnan(scores).any()):
            raise ValueError(f"scores must be [episodes], at least one, not NaN, but are {scores}.")
        self.scores = jnp.sort(scores)
        self.target = (1 - as_level(level)).astype(scores.dtype)
        self.miss = self.target
        self.rate = as_float("rate", rate).astype(scores.dtype)
        check_positive("rate", self.rate)

    def reach(self) -> Float[Array, ""]:
        """What is covered now: scores up to this; infinity: all, minus infinity: none."""
        number = self.scores.shape[0]
        rank = jnp.ceil((number + 1) * (1 - self.miss) - 1e-4)  # float32: 18 is not 18.000001
        inside = self.scores[jnp.clip(rank, 1, number).astype(int) - 1]
        return jnp.where(rank > number, jnp.inf, jnp.where(rank < 1, -jnp.inf, inside))

    def covers(self, score: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether a score is covered now."""
        return score <= self.reach()

    def update(self, score: Float[Array, ""]) -> "AdaptiveLevel":
        """The state after one more score of the stream."""
        missed = 1.0 - self.covers(score)
        miss = self.miss + self.rate * (self.target - missed)
        return eqx.tree_at(lambda level: level.miss, self, miss)


class Adaptive(AbstractTransition):
    """A kernel that is spread as adaptive conformal inference says, and learns from a stream.

    Immutable: `kernel.update(state, action, next_state)` is the kernel after that transition. In a
    `Markov` model, `eqx.tree_at(lambda m: m.kernel, model, model.kernel.update(...))`.
    """

    kernel: AbstractTransition
    level: AdaptiveLevel

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AbstractDistribution:
        """The prediction, spread so that its `central_box` is the region that is covered now.

        Where all or nothing is covered, by the largest or least finite score: particles are finite.
        """
        scores = jax.lax.stop_gradient(self.level.scores)
        finite = jnp.isfinite(scores)
        low = jnp.min(jnp.where(finite, scores, jnp.inf))
        high = jnp.max(jnp.where(finite, scores, -jnp.inf))
        factor = jnp.clip(jax.lax.stop_gradient(self.level.reach()), low, high)
        return spread(self.kernel(state, action), jnp.maximum(factor, 1 / RANGE))

    def score(
        self,
        state: Float[Array, " state"],
        action: Float[Array, " action"],
        next_state: Float[Array, " state"],
    ) -> Float[Array, ""]:
        """`needed_spread` of the kernel's own prediction at what happened."""
        return needed_spread(self.kernel(state, action), next_state, 1 - self.level.target)

    def update(
        self,
        state: Float[Array, " state"],
        action: Float[Array, " action"],
        next_state: Float[Array, " state"],
    ) -> "Adaptive":
        """The kernel after it has seen one more transition; pure, and fit for `lax.scan`."""
        level = self.level.update(self.score(state, action, next_state))
        return eqx.tree_at(lambda kernel: kernel.level, self, level)


def fit_adaptive(
    kernel: AbstractTransition,
    rows: Transitions,
    level: float = 0.9,
    rate: float = RATE,
    *,
    key: PRNGKeyArray,
) -> Adaptive:
    """An `Adaptive` kernel that starts from the scores of hold-out episodes.

    Arguments as for `fit_conformal`, and the `rate` of `AdaptiveLevel`.

    Raises:
        TypeError: as `fit_conformal`.
        ValueError: numbers out of range, or scores of which none is finite.
    """
    scores = episode_scores(kernel, rows, level, key=key)
    if not np.isfinite(scores).any():
        raise ValueError("holdout has no finite score: the predictions have no width.")
    return Adaptive(kernel, AdaptiveLevel(scores, level, rate))
