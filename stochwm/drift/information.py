"""Disagreement of whole distributions: what the outcome would tell about the member."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import UniformMixture
from ..distributions.mixture import over_components
from .information_bounds import mutual_information_bounds
from .members import as_mixture, densities
from .outcomes import exact_information

NUM_SAMPLES = 256


class InformationSplit(NamedTuple):
    """Two parts, in nats, whose sum is the entropy of the ensemble's prediction."""

    aleatoric: Float[Array, ""]
    """Mean entropy of the members: chance."""
    epistemic: Float[Array, ""]
    """Mutual information between member and outcome: disagreement, at most log(members)."""
    aleatoric_error: Float[Array, ""]
    """Standard error of `aleatoric`; 0 where it is exact."""
    epistemic_error: Float[Array, ""]
    """Standard error of `epistemic`; 0 where it is exact."""
    lower: Float[Array, ""]
    """Certified lower bound of the mutual information."""
    upper: Float[Array, ""]
    """Certified upper bound of the mutual information."""


def split_information(
    prediction: Any, *, key: PRNGKeyArray | None = None, num_samples: int = NUM_SAMPLES
) -> InformationSplit:
    """The entropy of an ensemble's prediction in two: chance, and disagreement of any kind.

    `H[x] = E[H[x | member]] + I(x; member)` (Depeweg et al. 2018, arXiv 1710.07283, equation 8).
    Members with equal means and different modes disagree here. Exact for categoricals with up to
    4,096 joint outcomes; else drawn (see `mutual_information_estimate`) and bounded (see
    `mutual_information_bounds`).

    Args:
        prediction: of an ensemble. Of latent states, the drawn part counts.
        key: for the draws.
        num_samples: draws of each member, at least 2.

    Raises:
        TypeError: not an ensemble's prediction.
        ValueError: draws needed without a `key`, or fewer than two.
        NotImplementedError: members without a density.
    """
    mixture = densities(prediction)
    exact = exact_information(mixture)
    if exact is not None:
        aleatoric, epistemic = exact
        zero = jnp.zeros_like(epistemic)
        return InformationSplit(aleatoric, epistemic, zero, zero, epistemic, epistemic)
    if key is None:
        raise ValueError(
            f"The information of members that are {type(mixture.members).__name__} has no closed "
            f"form: pass key=jax.random.key(...) for draws (num_samples={num_samples})."
        )
    _check_number(num_samples)
    log_probs = _log_probs_of_draws(mixture, key, num_samples)
    aleatoric, aleatoric_error = _mean(-jnp.diagonal(log_probs, axis1=1, axis2=2))
    epistemic, epistemic_error = _mean(_told(log_probs))
    lower, upper = mutual_information_bounds(mixture)
    return InformationSplit(aleatoric, epistemic, aleatoric_error, epistemic_error, lower, upper)


def mutual_information_estimate(
    prediction: Any, *, key: PRNGKeyArray, num_samples: int = NUM_SAMPLES
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mutual information between member and outcome drawn, and its standard error, in nats.

    `I(x; member) = E_e E_{x ~ p_e}[log p_e(x) - log mean_e' p_e'(x)]`. The inner mean runs over the
    finitely many members and is computed in full, so that the estimate is unbiased, as nested
    Monte Carlo with a drawn inner mean is not. Each draw is scored with its expectation over the
    member that made it, `sum_e r_e log(K r_e)` with `r_e` the probability of member e given x: the
    same mean with less variance (Rao-Blackwell), never negative and never above log K, and exactly
    0 for equal members. All members draw with the same noise, so that their order does not matter.
    The gradient is that of reparameterised draws.

    Args:
        prediction: of an ensemble. Of latent states, the drawn part counts.
        key: for the draws.
        num_samples: draws of each member, at least 2.

    Raises:
        TypeError: not an ensemble's prediction.
        ValueError: fewer than two draws.
        NotImplementedError: members without a density.
    """
    _check_number(num_samples)
    return _mean(_told(_log_probs_of_draws(densities(prediction), key, num_samples)))


class MutualInformation(eqx.Module):
    """Mutual information between member and outcome as a measure, in nats (`split_information`).

    Exact for categoricals, else by Monte Carlo. The key is part of the measure: it is a fixed
    function, so that a threshold fitted to it stays valid, and two situations differ by more than
    their draws.
    """

    key: PRNGKeyArray
    num_samples: int = eqx.field(static=True)

    def __init__(self, *, key: PRNGKeyArray, num_samples: int = 32):
        """Make the measure.

        Args:
            key: for the draws.
            num_samples: draws of each member, at least 2.

        Raises:
            ValueError: fewer than two draws.
        """
        _check_number(num_samples)
        self.key, self.num_samples = key, num_samples

    def __call__(self, prediction: Any) -> Float[Array, ""]:
        """The mutual information.

        Raises:
            TypeError: not an ensemble's prediction.
            NotImplementedError: members without a density.
        """
        exact = exact_information(as_mixture(prediction))
        if exact is not None:
            return exact[1]
        options: Any = {"key": self.key, "num_samples": self.num_samples}
        return mutual_information_estimate(prediction, **options)[0]


@eqx.filter_jit  # eagerly, every operation would be compiled on its own
def _log_probs_of_draws(
    mixture: UniformMixture, key: PRNGKeyArray, num_samples: int
) -> Float[Array, "samples drawn_from members"]:
    """The log density of each member at draws of each member."""
    members = mixture.members

    def of_noise(seed):
        draws = over_components(lambda member: member.sample(seed=seed), members)
        return jax.vmap(lambda x: over_components(lambda m: m.log_prob(x), members))(draws)

    return jax.vmap(of_noise)(jax.random.split(key, num_samples))


def _told(log_probs: Float[Array, "samples drawn_from members"]) -> Array:
    """How far a draw moves the probabilities of the members from equal ones, KL in nats."""
    log_share = jax.nn.log_softmax(log_probs, axis=-1)
    possible = log_share > -jnp.inf
    log_ratio = jnp.where(possible, log_share, 0.0) + math.log(log_probs.shape[-1])
    share = jnp.where(possible, jnp.exp(log_share), 0.0)
    return jnp.maximum(jnp.sum(share * log_ratio, axis=-1), 0.0)


def _mean(values: Float[Array, "samples drawn_from"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The mean and its standard error; draws that share their noise are one sample."""
    rows = jnp.mean(values, axis=-1)
    return jnp.mean(rows), jnp.std(rows, ddof=1) / math.sqrt(len(rows))


def _check_number(num_samples: int) -> None:
    if num_samples < 2:
        raise ValueError(
            f"num_samples must be at least 2 for a standard error, but is {num_samples}."
        )
