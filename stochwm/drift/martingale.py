"""A conformal test martingale: bet that surprises no longer rank like those of before."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..distributions.checks import as_float, check_finite
from .detector import AbstractDetector
from .episode_threshold import (
    by_episode,
    check_false_alarm,
    episode_threshold,
    finite_surprise,
    pilot_and_rest,
)

POWERS = (0.25, 0.5, 1.0, 2.0, 4.0)  # below 1: bets on more surprise; 1: none; above: on less
JUMP = 0.01  # share of the capital that is dealt anew each step
BITS = 12  # of a surprise, which count: the last ones are rounded otherwise in another program


class Bets(eqx.Module):
    """What a `ConformalMartingale` remembers."""

    steps: Int[Array, ""]
    counts: Float[Array, " gaps"]
    """One more than the surprises so far between each two neighbours of the reference."""
    capital: Float[Array, " powers"]
    """Of each bet, in logs."""


class ConformalMartingale(AbstractDetector):
    """Wealth of a gambler who bets that p-values of surprise are not uniform.

    The p-value of a step is the rank of its surprise among the reference and all surprises before
    it, ties broken at random: if all of these are exchangeable, p-values are independent and
    uniform (Vovk, Nouretdinov & Gammerman 2003, "Testing exchangeability on-line"). Surprises
    between the same two neighbours of the reference count as ties, so that memory does not grow, as
    do those that agree in their first 12 bits (1 in 4,000): where few outcomes are possible, all
    that share a surprise would else be told from the reference by how another program rounds.

    Five players bet `power * p^(power - 1)`, the power martingales of that paper; each step a
    hundredth of all they have is dealt anew in equal parts (the Simple Jumper of Vovk et al. 2021,
    arXiv 2102.10439), so that a late change is found as well as an early one (Volkhonskiy et al.
    2017, arXiv 1706.03415, on such delays). They see more surprise, and less.

    The statistic is the log of the wealth, which begins at 0. Wealth is a martingale, so it ever
    reaches `1 / false_alarm` with probability at most `false_alarm` (Ville 1939): for any number of
    steps, but only under the assumption that

    * the surprises of the reference and of the unchanged stream are exchangeable. A right model is
      not enough where the spread of its law depends on the state: then surprises depend on each
      other. One-step PIT levels of a right model are independent and uniform; those of densities
      are `stochwm.calibration.hpd_level`. Give these in place of the surprise, or use
      `fit_episodes`, whose threshold needs exchangeable episodes only.
    * the random numbers, which the `key` fixes, are not those of the data.
    """

    reference: Float[Array, " reference"]
    """Surprises of the unchanged world, to 12 bits."""
    ties: Float[Array, " reference"]
    """Random numbers that rank equal surprises."""
    threshold: Float[Array, ""]
    """In nats of log wealth."""
    key: PRNGKeyArray

    def __init__(self, reference: Any, threshold: Any, *, key: PRNGKeyArray):
        """Choose the threshold by hand, which promises nothing; `fit` finds one that does.

        Args:
            reference: surprises of the unchanged world, `[reference]`; a step costs as many
                comparisons.
            threshold: the largest log wealth that is no alarm.
            key: ranks what is equal. It is part of the detector: the same series, the same alarm.

        Raises:
            ValueError: another shape, or what is not finite.
        """
        self.reference = _coarse(as_float("reference", finite_surprise(reference)))
        self.threshold = as_float("threshold", threshold)
        if self.threshold.ndim:
            raise ValueError(f"threshold must be one number, but has shape {self.threshold.shape}.")
        check_finite("threshold", self.threshold)
        key_ties, self.key = jax.random.split(key)
        self.ties = jax.random.uniform(key_ties, self.reference.shape)

    @classmethod
    def fit(
        cls, surprise: Any, *, key: PRNGKeyArray, false_alarm: float = 0.05
    ) -> "ConformalMartingale":
        """The martingale with the threshold of Ville's inequality; see the class on when it holds.

        Args:
            surprise: of held-out episodes, `[transitions]`, as `surprise_along` gives it; all of
                it becomes the reference.
            key: as for the class.
            false_alarm: probability of ever flagging the unchanged world, strictly between 0 and 1.

        Raises:
            ValueError: surprises that are not finite, another shape, or a rate out of range.
        """
        check_false_alarm(false_alarm)
        return cls(surprise, -math.log(false_alarm), key=key)

    @classmethod
    def fit_episodes(
        cls,
        surprise: Any,
        episode: Any,
        *,
        horizon: int,
        key: PRNGKeyArray,
        false_alarm: float = 0.05,
    ) -> "ConformalMartingale":
        """The martingale with a threshold from whole episodes, where steps depend on each other.

        The promise, the arguments and the errors are those of `Cusum.fit`. The first fifth of the
        episodes is the reference.
        """
        pilot, rest = pilot_and_rest(by_episode(surprise, episode, horizon), false_alarm)
        made = cls(pilot.surprise[pilot.mask], 0.0, key=key)
        threshold = as_float("threshold", episode_threshold(made, rest, false_alarm))
        return eqx.tree_at(lambda detector: detector.threshold, made, threshold)

    def initial(self) -> Bets:
        number, dtype = len(POWERS), self.threshold.dtype
        counts = jnp.ones(self.reference.shape[0] + 1, dtype)
        return Bets(jnp.zeros((), int), counts, jnp.full(number, -math.log(number), dtype))

    def update(self, state: Bets, surprise: Float[Array, ""]) -> Bets:
        counts, p = self._rank(state, surprise)
        powers = jnp.asarray(POWERS, self.threshold.dtype)
        dealt = logsumexp(state.capital) + math.log(JUMP / len(POWERS))
        staked = jnp.logaddexp(state.capital + math.log1p(-JUMP), dealt)
        gain = jnp.log(powers) + (powers - 1) * jnp.log(p)
        return Bets(state.steps + 1, counts, staked + gain)

    def statistic(self, state: Bets) -> Float[Array, ""]:
        return logsumexp(state.capital)

    def _rank(self, state: Bets, surprise: Float[Array, ""]) -> tuple[Array, Array]:
        """The counts with this surprise, and its p-value in (0, 1].

        Given the counts so far, a fresh exchangeable surprise falls into each gap with probability
        proportional to its count (every place in an order is equally likely): that makes the
        p-value uniform, whatever came before.
        """
        surprise = _coarse(jnp.where(jnp.isnan(surprise), jnp.inf, surprise))
        draws = jax.random.uniform(jax.random.fold_in(self.key, state.steps), (2,), surprise.dtype)
        equal = (self.reference == surprise) & (self.ties < draws[0])
        gap = jnp.sum((self.reference < surprise) | equal)
        above = jnp.sum(jnp.where(jnp.arange(state.counts.shape[0]) > gap, state.counts, 0.0))
        p = (above + (1 - draws[1]) * state.counts[gap]) / jnp.sum(state.counts)
        return state.counts.at[gap].add(1.0), p


def _coarse(surprise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The same function of all, so that what was exchangeable is so."""
    exponent = jnp.finfo(surprise.dtype).nexp
    return jax.lax.reduce_precision(surprise, exponent_bits=exponent, mantissa_bits=BITS)
