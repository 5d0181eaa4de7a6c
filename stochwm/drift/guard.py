"""The flag: trusts an imagined future until its ensemble disagrees more than it may."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .._guard import AbstractGuard
from ..data import Episodes, check_spaces
from ..distributions import AbstractSampler
from ..models import AbstractFilter, AbstractWorldModel, Markov
from ..transitions import AbstractTransition
from .measured import measured
from .members import Measure
from .promises import AbstractPromise
from .rehearsal import rehearse, units_of
from .variance import epistemic_variance
from .wrappers import InUnits


class DriftGuard(AbstractGuard):
    """Trusts a future as long as a measure of disagreement stays at or below a threshold.

    Pass it to `imagine(..., guard=guard)`. `fit` finds the threshold that keeps a promise; one that
    was chosen by hand promises nothing.
    """

    measure: Measure
    """`measure(prediction)`."""
    threshold: Float[Array, ""]
    cumulative: bool = eqx.field(static=True)
    """Whether the sum over all steps so far is compared, or each step by itself."""

    def __init__(
        self,
        measure: Measure,
        threshold: Array | float,
        *,
        cumulative: bool = False,
    ):
        """Choose the threshold by hand.

        Args:
            measure: `measure(prediction)`, a scalar.
            threshold: the largest trusted value, in units of the measure.
            cumulative: compare the sum over all steps so far.

        Raises:
            ValueError: a threshold that is NaN or not one number.
        """
        self.measure, self.cumulative = measure, cumulative
        self.threshold = jnp.asarray(threshold, float)
        if self.threshold.ndim:
            raise ValueError(f"threshold must be one number, but has shape {self.threshold.shape}.")
        if not isinstance(self.threshold, Tracer) and np.isnan(self.threshold):
            raise ValueError("threshold must be a number, but is NaN.")

    @classmethod
    def fit(
        cls,
        model: AbstractWorldModel | AbstractTransition,
        holdout: Episodes,
        *,
        promise: AbstractPromise,
        key: PRNGKeyArray,
        measure: Measure | None = None,
        cumulative: bool = False,
        num_particles: int = 32,
    ) -> "DriftGuard":
        """The guard with the largest threshold that keeps the promise.

        Held-out episodes are the units: the more of them, the sharper the threshold. From one
        random start of each, futures are imagined under its recorded actions.

        Args:
            model: a world model over flat observations, a filter of them, or a transition, on an
                ensemble.
            holdout: episodes that the model was not trained on.
            promise: `FalseAlarm`, `Coverage`, `Calibration` or `Accuracy`.
            key: picks the starts, and draws.
            measure: `measure(prediction)`; by default the variance of the members' means in units
                of the held-out observations, which costs least. The promise is exact for a
                measure that was made without the hold-out, which these units were not. Of a filter
                by default the variance of the means of its latent state, in units of its own.
            cumulative: compare the sum over all steps so far instead of each step.
            num_particles: futures from each start.

        Returns:
            A `DriftGuard`. If no threshold keeps the promise, it is -inf: nothing is trusted.

        Raises:
            TypeError: no model, no episodes, or `measure` does not take what the model predicts.
            ValueError: a model of other spaces, too few episodes for the promise, a measure that
                returns NaN or no scalar, or one of disagreement where there is one member.
        """
        world = Markov(model) if isinstance(model, AbstractTransition) else model
        check_spaces(world, holdout)
        if measure is None:
            hides = isinstance(world, AbstractFilter)
            measure = epistemic_variance if hides else standard_measure(holdout)
        rehearsal = rehearse(
            world,
            holdout,
            measure,
            cumulative=cumulative,
            horizon=promise.horizon,
            key=key,
            num_particles=num_particles,
        )
        return cls(measure, promise.threshold(rehearsal), cumulative=cumulative)

    def initial(self) -> Float[Array, ""]:
        return jnp.asarray(0.0 if self.cumulative else -jnp.inf, float)

    def step(
        self, memory: Float[Array, ""], prediction: AbstractSampler
    ) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """As `AbstractGuard.step`.

        Raises:
            TypeError: `measure` does not take what the model predicts.
            ValueError: it returns no scalar, or is a disagreement, and there is only one member.
        """
        now = measured(self.measure, prediction)
        memory = memory + now if self.cumulative else jnp.maximum(memory, now)
        return memory, memory <= self.threshold  # NaN is not trusted


def standard_measure(episodes: Episodes) -> Measure:
    """The variance of the members' means, where numbers in units of their spread over `episodes`.

    What is discrete stays as it is: one-hot entries share a unit.
    """
    if any(episodes.observation_space.one_hot):
        return epistemic_variance
    return InUnits(epistemic_variance, units_of(episodes))
