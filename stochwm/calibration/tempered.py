"""A temperature on the weights of mixtures and of categories."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..data import Transitions
from ..distributions import (
    AbstractDistribution,
    BoxMixture,
    DiagNormalMixture,
    FullNormalMixture,
    OneHotCategoricals,
    UniformMixture,
)
from ..transitions import AbstractTransition
from .factors import Factors, best_factors
from .spread import ROW_BATCH, cannot, predict_rows

WEIGHTED = (DiagNormalMixture, FullNormalMixture, BoxMixture, OneHotCategoricals)


def temper(prediction: Any, temperature: Float[Array, ""]) -> AbstractDistribution:
    """The prediction with its logits divided by `temperature`: above 1 weights become more equal.

    What an ensemble mixes is first written as one mixture or one categorical.

    Raises:
        TypeError: a prediction without weights, or an ensemble of a family without such a form.
    """
    try:
        flat = prediction.flatten() if isinstance(prediction, UniformMixture) else prediction
    except NotImplementedError as error:
        raise cannot("be tempered", prediction, error) from error
    if not isinstance(flat, WEIGHTED):
        raise cannot("be tempered", prediction, "it has no logits.")
    return eqx.tree_at(lambda d: d.logits, flat, flat.logits / temperature)


class Tempered(AbstractTransition):
    """A kernel whose mixture weights or class probabilities have a temperature.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599), for mixture weights as well.
    """

    kernel: AbstractTransition
    temperature: Factors

    def __init__(self, kernel: AbstractTransition, temperature: Any):
        """Wrap a kernel that predicts a mixture or categories, or an ensemble of such.

        Args:
            kernel: see `temper`.
            temperature: positive, a scalar; 1 leaves the kernel as it is.

        Raises:
            ValueError: a temperature known not to be positive.
        """
        self.kernel, self.temperature = kernel, Factors(temperature)

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AbstractDistribution:
        temperature = jax.lax.stop_gradient(self.temperature.values)
        return temper(self.kernel(state, action), temperature)


def fit_temperature(
    kernel: AbstractTransition, rows: Transitions, *, key: PRNGKeyArray | None = None
) -> Tempered:
    """The kernel with the temperature that maximises the likelihood of hold-out transitions.

    Args:
        kernel: see `Tempered`.
        rows: transitions that the kernel was not trained on.
        key: not needed.

    Raises:
        ValueError: something happened that the kernel takes for impossible.
    """

    @eqx.filter_jit
    def loss(predictions, values, temperature):
        def one(row):
            return -temper(eqx.combine(row[0], static), temperature[0]).log_prob(row[1])

        scores = jax.lax.map(one, (predictions, values), batch_size=ROW_BATCH)
        return jnp.mean(scores)[None]

    predictions, static = eqx.partition(predict_rows(kernel, rows), eqx.is_array)
    values = jnp.asarray(rows.next_state)
    return Tempered(kernel, best_factors(lambda t: loss(predictions, values, t), 1)[0])
