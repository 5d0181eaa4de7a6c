"""Split conformal regions: coverage that holds for any model and any law, from few episodes."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..data import Transitions
from ..distributions import SymlogNormal, symexp, symlog
from ..distributions.censored import slack_at
from ..transitions import AbstractTransition
from .factors import RANGE
from .spread import Spread, before_clipping, bounds_of, cannot, spread

ROUNDING = 1e-9  # 0.9 * 20 must not count as a little more than 18


def conformal_quantile(scores: Any, level: float) -> float:
    """The `ceil((n + 1) level)`-th smallest of n scores; infinity if there is none.

    Another score, exchangeable with these, is at most that with probability at least `level`, and
    at most `level + 1 / (n + 1)` if ties have probability zero (Vovk, Gammerman & Shafer 2005,
    "Algorithmic learning in a random world"; Lei et al. 2018, arXiv 1604.04173, theorem 2). It is
    an order statistic: a quantile function that interpolates, or that counts from 0 to n - 1,
    gives the next one.

    Args:
        scores: one number an exchangeable unit, here an episode, `[n]`.
        level: wanted coverage, strictly between 0 and 1.

    Raises:
        ValueError: no score, NaN, or a level out of range.
    """
    ordered = np.sort(np.asarray(scores, float).reshape(-1))
    if ordered.size == 0 or np.isnan(ordered).any():
        raise ValueError(f"scores must be at least one number and not NaN, but are {scores}.")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, but is {level}.")
    rank = max(math.ceil((ordered.size + 1) * level - ROUNDING), 1)
    return float(ordered[rank - 1]) if rank <= ordered.size else math.inf


def fewest_scores(level: float) -> int:
    """The least number of scores whose `conformal_quantile` at this level is finite."""
    return math.ceil(level / (1 - level) - ROUNDING)


def central_box(
    prediction: Any, level: Float[Array, ""] | float
) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
    """Lower and upper corner of a box of mass `level`, `[dim]` each.

    The central interval of mass `level^(1 / dim)` of each marginal: exact where dimensions are
    independent. Where the mean lies outside of it, as that of a very skewed marginal does, the box
    is stretched to the mean and holds more: so boxes of predictions that are `spread` ever wider
    hold each other.

    Raises:
        TypeError: a prediction without quantiles.
    """
    if isinstance(prediction, SymlogNormal):  # which is spread before `symexp`
        low, high = central_box(prediction.normal, level)
        return symexp(low), symexp(high)
    free, ends = before_clipping(prediction), bounds_of(prediction)
    try:
        tail = 0.5 * (1 - level ** (1 / prediction.event_shape[0]))
        low, high, mean = free.quantile(tail), free.quantile(1 - tail), free.mean()
    except (NotImplementedError, AttributeError) as error:
        raise cannot("have a central box", prediction, error) from error
    return jnp.clip(jnp.minimum(low, mean), *ends), jnp.clip(jnp.maximum(high, mean), *ends)


def needed_spread(
    prediction: Any, value: Float[Array, " dim"], level: Float[Array, ""] | float
) -> Float[Array, ""]:
    """The factor by which a prediction must be `spread` so that its `central_box` reaches `value`.

    At most 1 where the value lies in the box; infinite where no factor is enough.

    Raises:
        TypeError: a prediction without quantiles.
    """
    if isinstance(prediction, SymlogNormal):
        return needed_spread(prediction.normal, symlog(value), level)
    free = before_clipping(prediction)  # whose box is spread in proportion
    low, high = central_box(free, level)
    mean, (bottom, top) = free.mean(), bounds_of(prediction)
    under, over = bottom - value, value - top
    # What lies anywhere beyond a bound is at it, so that the nearest to the mean may stand for it.
    before = jnp.where(under >= -slack_at(bottom), jnp.minimum(value, mean), value)
    before = jnp.where(over >= -slack_at(top), jnp.maximum(value, mean), before)
    side = jnp.where(before >= mean, high - mean, mean - low)
    distance = jnp.abs(before - mean)
    factor = distance / jnp.where(side > 0, side, 1.0)
    factor = jnp.where(side > 0, factor, jnp.where(distance > 0, jnp.inf, 0.0))
    beyond = (under > slack_at(bottom)) | (over > slack_at(top))
    return jnp.max(jnp.where(beyond, jnp.inf, factor))


def episode_scores(
    kernel: AbstractTransition, rows: Transitions, level: float, *, key: PRNGKeyArray
) -> Float[np.ndarray, " episodes"]:
    """`needed_spread` at one step of each episode, drawn at random, `[episodes]`.

    One step only: episodes are exchangeable, steps of one episode are not.
    """
    rng = np.random.default_rng(np.asarray(jax.random.bits(key, (4,), "uint32")))
    _, first, count = np.unique(rows.episode, return_index=True, return_counts=True)
    picked = first + rng.integers(count)  # rows of one episode follow each other

    @eqx.filter_jit
    def scores(kernel, *inputs):
        def one(state, action, value):
            prediction = kernel(state, action)
            spread(prediction, jnp.ones(()))  # or it says why it cannot be
            return needed_spread(prediction, value, level)

        return jax.vmap(one)(*inputs)

    inputs = (jnp.asarray(x[picked]) for x in (rows.state, rows.action, rows.next_state))
    return np.asarray(scores(kernel, *inputs))


def fit_conformal(
    kernel: AbstractTransition, rows: Transitions, level: float = 0.9, *, key: PRNGKeyArray
) -> Spread:
    """The kernel, spread so that its central boxes have a coverage guarantee.

    If the hold-out episodes and a fresh one are exchangeable, and the kernel knows none of them,
    then the next state at a step of the fresh episode, drawn uniformly from its steps, lies in
    `central_box(prediction, level)` with probability at least `level`: over the draw of the
    hold-out and of the fresh episode, for any law and however wrong the kernel is. The guarantee is
    marginal: it says nothing about one state, nor about the coverage given this hold-out. Particles
    obey it, since the box is that of the prediction that they are drawn from.

    All dimensions have one factor: calibrate their proportions before, on other episodes, with
    the method "scale".

    Args:
        kernel: predicts a family with `mean`, `quantile` and `affine`.
        rows: transitions of the hold-out episodes.
        level: wanted coverage of the whole next state.
        key: draws the step of each episode.

    Raises:
        TypeError: predictions without quantiles, or that cannot be spread.
        ValueError: too few episodes for the level, or no finite factor reaches that far.
    """
    scores = episode_scores(kernel, rows, level, key=key)
    factor = conformal_quantile(scores, level)
    if not factor < math.inf:
        raise ValueError(
            f"holdout gives no finite factor for level {level}: that takes at least "
            f"{fewest_scores(level)} episodes (there are {len(scores)}) and predictions of some "
            "width."
        )
    return Spread(kernel, max(factor, 1 / RANGE))
