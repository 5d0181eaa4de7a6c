"""Chance and ignorance: what a prediction is uncertain about, told apart in two ways."""

from typing import Any, NamedTuple

from jaxtyping import PRNGKeyArray

from .information import NUM_SAMPLES, InformationSplit, split_information
from .variance import VarianceSplit, split_variance


class Decomposition(NamedTuple):
    """An ensemble's uncertainty in an aleatoric and an epistemic part."""

    variance: VarianceSplit
    """By the law of total variance: covariances, which see means only."""
    information: InformationSplit
    """By information, in nats, which sees every difference of distributions."""


def decompose(
    prediction: Any, *, key: PRNGKeyArray | None = None, num_samples: int = NUM_SAMPLES
) -> Decomposition:
    """What of an ensemble's uncertainty is chance, and what is disagreement of its members.

    Disagreement is all that an ensemble knows of its own ignorance: an error that every member
    makes looks like knowledge. See `split_variance` and `split_information` for the two ways.

    Args:
        prediction: of an ensemble.
        key: for draws, where the information has no closed form.
        num_samples: draws of each member, at least 2.

    Raises:
        TypeError: not an ensemble's prediction.
        ValueError: draws needed without a `key`, or fewer than two.
        NotImplementedError: members without a density or a covariance.
    """
    information = split_information(prediction, key=key, num_samples=num_samples)
    return Decomposition(split_variance(prediction), information)
