"""Page's CUSUM of surprise: an alarm when a model has been too surprised for too long."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..distributions.checks import as_float, check_finite, check_positive
from .detector import AbstractDetector
from .episode_threshold import by_episode, episode_threshold, pilot_and_rest


class Cusum(AbstractDetector):
    """Adds up how much more surprising than usual each step is, and never falls below 0.

        z_t = (surprise_t - mean) / std,   S_t = max(0, S_t-1 + z_t - allowance),   S_0 = 0

    (Page 1954, "Continuous inspection schemes"). Sooner than a threshold on single steps where a
    small rise stays. The rule of thumb for the allowance is half the rise, in standard deviations,
    that must be found soon; one below the allowance on average is not found.

    It sees rises only. A world that became calmer surprises less: watch minus the surprise for it.
    """

    mean: Float[Array, ""]
    std: Float[Array, ""]
    allowance: Float[Array, ""]
    threshold: Float[Array, ""]

    def __init__(self, mean: Any, std: Any, threshold: Any, *, allowance: Any = 0.5):
        """Choose the threshold by hand, which promises nothing; `fit` finds one that does.

        Args:
            mean: usual surprise, in nats.
            std: standard deviation of it, positive.
            threshold: the largest statistic that is no alarm, in standard deviations.
            allowance: what is taken off each step, in standard deviations.

        Raises:
            ValueError: what is not one number, not finite, or a `std` that is not positive.
        """
        numbers = {"mean": mean, "std": std, "allowance": allowance, "threshold": threshold}
        made = {name: as_float(name, value) for name, value in numbers.items()}
        for name, value in made.items():
            if value.ndim:
                raise ValueError(f"{name} must be one number, but has shape {value.shape}.")
            check_finite(name, value)
        check_positive("std", made["std"])
        self.mean, self.std = made["mean"], made["std"]
        self.allowance, self.threshold = made["allowance"], made["threshold"]

    @classmethod
    def fit(
        cls,
        surprise: Any,
        episode: Any,
        *,
        horizon: int,
        false_alarm: float = 0.05,
        allowance: float = 0.5,
    ) -> "Cusum":
        """The CUSUM that keeps a promise about fresh episodes of the unchanged world.

        Watched from its first step for `horizon` steps, or until it ends, such an episode is
        flagged with probability at most `false_alarm`, over the hold-out too. Episodes have to be
        exchangeable; surprises inside one may depend on each other. The first fifth of the episodes
        gives mean and standard deviation, the others the threshold (`episode_threshold`).

        Args:
            surprise: of held-out episodes, `[transitions]`, as `surprise_along` gives it.
            episode: which episode each is from: `episodes.transitions().episode`.
            horizon: steps that the promise is about, at most those of the longest episode.
            false_alarm: strictly between 0 and 1.
            allowance: as for the class.

        Raises:
            ValueError: too few episodes for the rate, surprises that are not finite or all the
                same, another shape, or a number out of range.
        """
        pilot, rest = pilot_and_rest(by_episode(surprise, episode, horizon), false_alarm)
        usual = pilot.surprise[pilot.mask]
        # Below the resolution of float32 the spread is rounding noise.
        if not usual.std() > 1e-7 * np.abs(usual).max():
            raise ValueError(f"surprise must vary, but is {usual[0]} all along the first episodes.")
        made = cls(usual.mean(), usual.std(), 0.0, allowance=allowance)
        threshold = as_float("threshold", episode_threshold(made, rest, false_alarm))
        return eqx.tree_at(lambda detector: detector.threshold, made, threshold)

    def initial(self) -> Float[Array, ""]:
        return jnp.zeros_like(self.threshold)

    def update(self, state: Float[Array, ""], surprise: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.maximum(0.0, state + (surprise - self.mean) / self.std - self.allowance)

    def statistic(self, state: Float[Array, ""]) -> Float[Array, ""]:
        return state
