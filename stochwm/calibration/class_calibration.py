"""Predicted probabilities of events and classes against how often they come."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from .._counts import checked_count
from .bootstrap import episode_variance
from .coverage import checked_levels

SUM_TOLERANCE = 1e-4  # by which probabilities of classes may miss one: float32 and many classes


class CalibrationBins(NamedTuple):
    """A reliability diagram: steps with similar probabilities together."""

    edges: Float[np.ndarray, " edges"]
    probability: Float[np.ndarray, " bins"]
    """Mean of the predicted probabilities in each bin; NaN in empty ones."""
    frequency: Float[np.ndarray, " bins"]
    """How often the event came; NaN in empty ones."""
    count: Int[np.ndarray, " bins"]


def calibration_bins(
    probabilities: Shaped[Array | np.ndarray, "steps *classes"],
    labels: Shaped[Array | np.ndarray, " steps"],
    bins: int = 10,
) -> CalibrationBins:
    """The reliability diagram of the probabilities of an event, or of the likeliest class.

    Bins are equally wide and right-closed: (0, 0.1], (0.1, 0.2], ...; 0 is in the first one.

    Args:
        probabilities: of an event, `[steps]`, or of all classes, `[steps, classes]`: then the event
            is that the likeliest class comes.
        labels: whether the event came (0 or 1), or which class came, `[steps]`.
        bins: how many, at least 1.

    Raises:
        ValueError: no bin, probabilities outside [0, 1], NaN included, or not summing to one,
            labels that are no class, or no step at all.
    """
    probability, happened = _events(probabilities, labels)
    index, count = _binned(probability, bins)
    filled = np.where(count > 0, count, np.nan)
    return CalibrationBins(
        np.arange(bins + 1) / bins,
        np.bincount(index, probability, bins) / filled,
        np.bincount(index, happened, bins) / filled,
        count,
    )


def expected_calibration_error(
    probabilities: Shaped[Array | np.ndarray, "steps *classes"],
    labels: Shaped[Array | np.ndarray, " steps"],
    bins: int = 10,
) -> float:
    """ECE: how far probability and frequency are apart, over bins weighted by count, in [0, 1].

    (Naeini, Cooper & Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian
    binning"; Guo et al. 2017, arXiv 1706.04599, equation 3.) It is biased upwards; see
    `debiased_calibration_error`. Arguments, bins and errors are those of `calibration_bins`.
    """
    table = calibration_bins(probabilities, labels, bins)
    gap = np.abs(table.probability - table.frequency)
    return float(np.nansum(gap * table.count) / np.sum(table.count))


def debiased_calibration_error(
    probabilities: Shaped[Array | np.ndarray, "steps *classes"],
    labels: Shaped[Array | np.ndarray, " steps"],
    episode: Int[np.ndarray, " steps"],
    bins: int = 10,
) -> float:
    """The root mean square of probability - frequency over bins, without its sampling bias.

    The squared gap of each bin less its sampling variance (Kumar, Liang & Ma 2019, "Verified
    uncertainty calibration", arXiv 1909.10155, section 4), which is estimated over episodes. A bin
    that a single episode fills has no such estimate and is left out. What falls below zero is zero.

    Args:
        probabilities, labels, bins: as for `calibration_bins`.
        episode: the episode that each step belongs to, `[steps]`.

    Returns:
        The error, a difference of probabilities; NaN if every bin is left out.

    Raises:
        ValueError: as for `calibration_bins`.
    """
    probability, happened = _events(probabilities, labels)
    index, count = _binned(probability, bins)
    gap = (probability - happened)[:, None]
    squared = np.full(bins, np.nan)
    for b in np.flatnonzero(count):
        here = index == b
        squared[b] = (gap[here].mean() ** 2 - episode_variance(gap[here], episode[here]))[0]
    known = np.isfinite(squared)
    if not known.any():
        return float("nan")
    return float(np.sqrt(max(np.average(squared[known], weights=count[known]), 0.0)))


def _binned(probability: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each probability, and how many each bin holds."""
    # In the precision of the probabilities: 0.8 of float32 is above 0.8 of float64.
    bins = checked_count("bins", bins)
    edges = (np.arange(1, bins) / bins).astype(probability.dtype)
    index = np.searchsorted(edges, probability, side="left")
    return index, np.bincount(index, minlength=bins)


def _events(probabilities, labels) -> tuple[np.ndarray, np.ndarray]:
    """The probability of an event at each step, and whether it came (0 or 1)."""
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    checked_levels("probabilities", probabilities)
    if not np.issubdtype(probabilities.dtype, np.floating):  # certain ones, as bools
        probabilities = probabilities.astype(float)
    classes = 2 if probabilities.ndim == 1 else probabilities.shape[1]
    if labels.shape != probabilities.shape[:1] or not np.isin(labels, np.arange(classes)).all():
        raise ValueError(
            f"labels must be {len(probabilities)} whole numbers from 0 to {classes - 1}, one a row "
            f"of probabilities, but have shape {labels.shape} and values {np.unique(labels)[:5]}."
        )
    if probabilities.ndim == 1:
        return probabilities, labels.astype(float)
    total = probabilities.sum(axis=1)
    if not np.allclose(total, 1, atol=SUM_TOLERANCE):
        raise ValueError(
            f"probabilities of the classes must sum to 1, but one row sums to "
            f"{total[np.argmax(np.abs(total - 1))]}."
        )
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(float)
