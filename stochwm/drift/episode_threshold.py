"""The threshold of a detector from whole episodes, whose steps may depend on each other."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._counts import checked_count
from ..calibration import conformal_quantile, fewest_scores
from .detector import AbstractDetector
from .rehearsal import raised

PILOT = 5  # one in so many episodes makes the statistic, the others its threshold


class EpisodeSurprise(NamedTuple):
    """The surprises of the first steps of some episodes."""

    surprise: Float[np.ndarray, "episodes horizon"]
    """0 after the end of an episode."""
    mask: Bool[np.ndarray, "episodes horizon"]
    """Whether the episode lasted that long."""


def by_episode(surprise: Any, episode: Any, horizon: int) -> EpisodeSurprise:
    """A series of surprises, cut into its episodes and after `horizon` steps of each.

    Args:
        surprise: `[transitions]`, in the order of time.
        episode: which episode each belongs to, `[transitions]`.
        horizon: at least 1, and no longer than the longest episode.

    Raises:
        ValueError: other shapes, a surprise that is not finite, a horizon out of range.
    """
    values, episode = finite_surprise(surprise), np.asarray(episode)
    if episode.shape != values.shape:
        raise ValueError(
            "episode must say of each surprise which episode it is from, [transitions], but has "
            f"shape {episode.shape} for {len(values)} surprises."
        )
    order = np.argsort(episode, kind="stable")
    _, first, count = np.unique(episode[order], return_index=True, return_counts=True)
    if checked_count("horizon", horizon) > count.max():
        raise ValueError(
            f"horizon must be a number of steps from 1 to the {count.max()} of the longest "
            f"episode, but is {horizon}: the episodes say nothing of later steps."
        )
    steps = np.arange(horizon)
    mask = steps < count[:, None]
    rows = np.minimum(first[:, None] + steps, len(values) - 1)
    return EpisodeSurprise(np.where(mask, values[order][rows], 0.0), mask)


def finite_surprise(surprise: Any) -> Float[np.ndarray, " transitions"]:
    """Surprises to learn from, as float64.

    Raises:
        ValueError: none, another shape, or what is not finite.
    """
    values = np.asarray(surprise, float)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"surprise must be [transitions], but has shape {values.shape}.")
    if not np.isfinite(values).all():
        broken = 100 * np.mean(~np.isfinite(values))
        raise ValueError(
            f"surprise must be finite, but {broken:.1f} % is not: a model that holds some of the "
            "unchanged world impossible cannot tell a change. Give its predictions some width, or "
            "add noise= to the observations."
        )
    return values


def check_false_alarm(false_alarm: float) -> None:
    """Raise `ValueError` unless the rate lies strictly between 0 and 1."""
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm must lie strictly between 0 and 1, but is {false_alarm}.")


def pilot_and_rest(
    series: EpisodeSurprise, false_alarm: float
) -> tuple[EpisodeSurprise, EpisodeSurprise]:
    """A fifth of the episodes, at least one, to make a statistic of; the rest for its threshold.

    Other episodes, so that the statistic is a fixed function of those that set the threshold and
    of those that come: else they were not exchangeable.

    Raises:
        ValueError: a rate out of range, or too few episodes for it.
    """
    check_false_alarm(false_alarm)
    number = len(series.mask)
    pilot = max(1, number // PILOT)
    least = fewest_scores(1 - false_alarm)
    if number - pilot < least:
        needed = max(PILOT * (least - 1) // (PILOT - 1), least) + 1
        raise ValueError(
            f"surprise must come from at least {needed} episodes for a rate of false alarms of "
            f"{false_alarm}, but comes from {number}: hold out more, or allow a higher rate."
        )
    head, tail = slice(pilot), slice(pilot, None)
    return EpisodeSurprise(*(x[head] for x in series)), EpisodeSurprise(*(x[tail] for x in series))


def episode_threshold(
    detector: AbstractDetector, series: EpisodeSurprise, false_alarm: float
) -> float:
    """The threshold that a fresh episode exceeds with probability at most `false_alarm`.

    Split conformal prediction of the largest statistic of an episode: the
    `ceil((n + 1)(1 - false_alarm))`-th smallest of those of n episodes. It holds whatever depends
    on what inside an episode. What ties with it is no alarm in another program either, see
    `raised`.
    """
    statistic = np.asarray(_statistics(detector, *map(jnp.asarray, series)))
    return raised(conformal_quantile(statistic.max(axis=1), 1 - false_alarm), statistic)


@eqx.filter_jit
def _statistics(detector, surprise, mask) -> Float[Array, "episodes horizon"]:
    """What each detector compares after each step, -inf after the end of an episode."""
    return jnp.where(mask, jax.vmap(detector.watch)(surprise).statistic, -jnp.inf)
