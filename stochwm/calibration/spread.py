"""One spread factor per dimension: predictions wider or narrower about their mean."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..data import Transitions
from ..distributions import AbstractDistribution, Censored, SymlogNormal, UniformMixture
from ..transitions import AbstractTransition
from .crps import crps
from .factors import Factors, best_factors

ROW_BATCH = 256
NUM_DRAWS = 64  # a prediction: beside the chance of what happened, theirs is small


def spread(
    prediction: Any, factor: Float[Array, ""] | Float[Array, " dim"]
) -> AbstractDistribution:
    """The prediction spread about its mean: the law of `mean + factor * (x - mean)`.

    The mean, the shape and the dependence between dimensions stay; standard deviations are
    multiplied. For an ensemble's mixture it is the mean of the mixture. A `SymlogNormal`, which is
    normal after `symlog`, is spread there, and a `Censored` before it is clipped: atoms stay at
    their bounds.

    Args:
        prediction: a distribution of vectors with `mean` and `affine`.
        factor: positive, a scalar or `[dim]`.

    Raises:
        TypeError: a prediction that cannot be spread.
        ValueError: a factor of other dimensions, which would give the prediction as many.
    """
    if isinstance(prediction, SymlogNormal):
        return SymlogNormal(prediction.loc, factor * prediction.scale)
    if isinstance(prediction, Censored):
        return Censored(spread(prediction.base, factor), prediction.low, prediction.high)
    if isinstance(members := getattr(prediction, "members", None), Censored):
        free: Any = spread(before_clipping(prediction), factor)
        return UniformMixture(Censored(free.members, members.low, members.high))
    try:
        mean = prediction.mean()
        if jnp.shape(factor) not in ((), mean.shape[-1:]):
            raise ValueError(
                f"factor must be one number or [{mean.shape[-1]}] like the prediction, but has "
                f"shape {jnp.shape(factor)}."
            )
        return prediction.affine(mean - factor * mean, factor * jnp.ones_like(mean))
    except (NotImplementedError, AttributeError) as error:
        raise cannot("be spread about its mean", prediction, error) from error


def before_clipping(prediction: Any) -> Any:
    """What a censored prediction, or an ensemble of them, was before it was clipped."""
    if isinstance(prediction, Censored):
        return prediction.base
    members = getattr(prediction, "members", None)
    return UniformMixture(members.base) if isinstance(members, Censored) else prediction


def bounds_of(prediction: Any) -> tuple[Array, Array]:
    """Where a prediction is clipped, an ensemble at the outermost bounds; infinite if it is not."""
    if isinstance(prediction, Censored):
        return prediction.low, prediction.high
    if isinstance(members := getattr(prediction, "members", None), Censored):
        return jnp.min(members.low, axis=0), jnp.max(members.high, axis=0)
    return jnp.asarray(-jnp.inf), jnp.asarray(jnp.inf)


def cannot(what: str, prediction: Any, reason: object) -> TypeError:
    """The error for a family that a method does not fit."""
    return TypeError(
        f"A prediction of type {type(prediction).__name__} cannot {what}: {reason} The methods "
        "'scale', 'conformal' and 'adaptive' need mean and affine, 'pit' and 'beta' need cdf and "
        "quantile, 'weights' needs a mixture or categories."
    )


class Spread(AbstractTransition):
    """A kernel whose predictions are spread about their mean by one factor per dimension."""

    kernel: AbstractTransition
    factor: Factors

    def __init__(self, kernel: AbstractTransition, factor: Any):
        """Wrap a kernel.

        Args:
            kernel: predicts a family with `mean` and `affine`; an `Ensemble` is spread about the
                mean of its mixture, so that what its members disagree about is spread as well.
            factor: positive, a scalar or `[state]`; 1 leaves the kernel as it is.

        Raises:
            ValueError: a factor known not to be positive.
        """
        self.kernel, self.factor = kernel, Factors(factor)

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AbstractDistribution:
        return spread(self.kernel(state, action), jax.lax.stop_gradient(self.factor.values))


def fit_spread(kernel: AbstractTransition, rows: Transitions, *, key: PRNGKeyArray) -> Spread:
    """The kernel with the factors that minimise the CRPS of hold-out transitions.

    Not the likelihood: the CRPS exists with atoms and bounded supports too, each dimension has its
    own whatever the copula, and single outliers do not decide it (Gebetsberger et al. 2018,
    "Estimation methods for nonhomogeneous regression models: minimum continuous ranked probability
    score versus maximum likelihood").

    The CRPS is that of draws with the same random numbers for every candidate: no quadrature.

    Args:
        kernel: see `Spread`.
        rows: transitions that the kernel was not trained on.
        key: for the draws.

    Raises:
        TypeError: predictions that cannot be spread.
    """
    values = jnp.asarray(rows.next_state)
    inputs = (jnp.asarray(rows.state), jnp.asarray(rows.action), jax.random.split(key, len(rows)))
    drawn = _predict_with_noise(kernel, *inputs)
    factor = best_factors(lambda f: _mean_crps(drawn, values, f), values.shape[1])
    return Spread(kernel, factor)


@eqx.filter_jit
def _predict_with_noise(kernel: AbstractTransition, *inputs: Array) -> tuple[Any, PyTree[Array]]:
    """Predictions, and noise for draws of them, each with a leading row axis."""

    def one(state, action, key):
        prediction = spread(kernel(state, action), jnp.ones(()))  # or it says why it cannot be
        keys = jax.random.split(key, NUM_DRAWS)
        return prediction, jax.vmap(lambda seed: prediction.noise(seed=seed))(keys)

    return eqx.filter_vmap(one)(*inputs)


@eqx.filter_jit
def _mean_crps(drawn: tuple[Any, PyTree], values: Array, factor: Array) -> Float[Array, " dim"]:
    arrays, static = eqx.partition(drawn[0], eqx.is_array)

    def one(row):
        arrays, noise, value = row
        prediction = spread(eqx.combine(arrays, static), factor)
        return crps(jax.vmap(prediction.push)(noise), value)

    return jnp.mean(jax.lax.map(one, (arrays, drawn[1], values), batch_size=ROW_BATCH), axis=0)


@eqx.filter_jit
def predict_rows(kernel: AbstractTransition, rows: Transitions) -> Any:
    """The prediction for each transition: one distribution with a leading row axis."""
    states, actions = jnp.asarray(rows.state), jnp.asarray(rows.action)
    return eqx.filter_vmap(lambda state, action: kernel(state, action))(states, actions)


def thin(rows: Transitions, most: int) -> Transitions:
    """At most `most` transitions, evenly spread over all."""
    picked = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return jax.tree.map(lambda x: x[picked], rows)
