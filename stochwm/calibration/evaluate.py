"""One scoring path: held-out episodes in, a table with confidence intervals out."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..data import Episodes
from ..models import AbstractWorldModel
from ..models.checks import mend, named
from ..transitions import AbstractTransition
from .bootstrap import episode_interval
from .climatology import Climatology
from .metrics import METRICS, metric_names
from .one_step import per_dimension
from .persistence import Persistence
from .pit_tests import pit_tests
from .scorecard import Sample, Score, Scorecard
from .source_samples import Source, Task, samples_of
from .starts import HORIZONS, choose_starts, too_short

SOURCES = ("model", "gaussian", "law", "excess", "climatology", "persistence")
OF_POINTS = ("energy", "crps", "variogram")  # what a forecast of a single point can be held to


def evaluate(
    model: AbstractWorldModel | AbstractTransition,
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    horizons: Sequence[int] = HORIZONS,
    metrics: str | Sequence[str] = "default",
    num_particles: int = 100,
    num_starts: int = 300,
    noise: Any = 0.0,
    scale: Any = 1.0,
    smoothed: bool = False,
    law: AbstractWorldModel | AbstractTransition | None = None,
    train: Episodes | None = None,
    gaussian: AbstractWorldModel | AbstractTransition | None = None,
) -> Scorecard:
    """Score predicted densities and open-loop futures against what really happened.

    From clouds of futures under the recorded actions, at each horizon: `energy` (energy score of
    the joint state), `crps` (mean over dimensions), `variogram` (dependence of dimensions),
    `coverage90` (share of dimensions inside their central 90 % interval, randomised at atoms so
    that 0.9 is right) and `pit` (p-value of the Cramer-von Mises test of uniform PIT values). The
    default is `nll`, `energy`, `crps` and `coverage90`.

    `nll` is the mean of -log p(s' + e | s, a) with e ~ N(0, noise^2), in nats: one step ahead over
    all steps. At a longer horizon h the density is the equal mixture, over the particles, of the
    one-step predictions from where they are at h - 1, each with its own member of an ensemble. It
    is right for many particles; with few it is too high on average, the more so the narrower a
    step is against the spread of the cloud. Raise `num_particles` until it stays.

    A filter, such as an `RSSM`, is shown the episode of a start from its beginning up to the start,
    and nothing after it; every particle filters with draws of its own. The particles of its clouds
    are observations drawn in the latent states of its futures, and its `nll` is, at every horizon,
    that of the equal mixture over the particles of what their latent states decode to, which with
    few is too high likewise. One step ahead it is over all steps too, so that it compares with that
    of any other model.

    All that is scored has the same starts, targets and keys, so that differences are in pairs:
    see `compare`. Beside the `model`, rows of the card are `of`: "persistence" (no change; always),
    "climatology" (draws of training states, with `train`), "gaussian", "law", and "excess", the
    score of the model minus that of the law, with the interval of the paired difference.

    Args:
        model: any world model over flat states, a filter of them, or a transition, with or without
            a density.
        episodes: held-out episodes.
        key: makes starts, noise and futures; the same for all models that are to be compared.
        horizons: steps ahead at which to score.
        metrics: names of metrics, or "default".
        num_particles: futures a start, at least 2.
        num_starts: at most this many starts, spread over the episodes.
        noise: standard deviation of the target noise of `nll`, a scalar or `[state]`.
        scale: what a unit of each dimension is, a scalar or `[state]`: pass the training standard
            deviations. Energy score, CRPS and variogram score are in this unit.
        smoothed: whether the model is free of that noise, as a law is, and as
            `smoothed_likelihood` trains it: its prediction is then seen through the noise too.
        law: the truth, such as a bundled world, always seen through the noise.
        train: training episodes, for climatology.
        gaussian: a model to hold against, such as a Gaussian of the same size.

    Returns:
        A `Scorecard`; what could not be scored is in `skipped` with the reason.

    Raises:
        TypeError: no model or no episodes, or horizons that are no whole numbers.
        ValueError: models of other spaces, an unknown metric, a horizon below 1, fewer than 2
            particles, no start, a noise or scale that is not one number a dimension, or a scale
            that is not positive.
    """
    horizons = _check_types({"model": model, "law": law, "gaussian": gaussian}, episodes, horizons)
    names = metric_names(metrics)
    for name, number, least in (
        ("horizons", min(horizons, default=0), 1),
        ("num_particles", num_particles, 2),
        ("num_starts", num_starts, 1),
    ):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, but is {number}.")
    scale = per_dimension("scale", scale, episodes)
    if not (scale > 0).all():
        raise ValueError(f"scale must be positive, but is {scale}.")
    noise = per_dimension("noise", noise, episodes)
    task, skipped = _task(episodes, tuple(sorted(set(horizons))), num_starts, noise, scale, key)
    if "variogram" in names and len(scale) == 1:
        skipped.append("variogram: one dimension has no pairs")
        names = tuple(name for name in names if name != "variogram")
    if not getattr(law, "fully_observed", True):
        skipped.append("law: it hides a part of its state, and what is seen follows no such law")
        law = None
    climatology = None if train is None else Climatology(train.observation)
    clouds = tuple(name for name in names if name != "nll")
    samples: dict[tuple[str, str, int], Sample] = {}
    for source in (
        Source("model", model, names, num_particles, smoothed),
        Source("gaussian", gaussian, names, num_particles, smoothed),
        Source("law", law, names, num_particles, bool(noise.any())),
        Source("climatology", climatology, clouds, num_particles),
        Source("persistence", Persistence(), tuple(n for n in clouds if n in OF_POINTS), 2),
    ):
        if source.model is not None:
            found, reasons = samples_of(source, task)
            samples |= {(source.of, *at): sample for at, sample in found.items()}
            skipped += [r if source.of == "model" else f"{source.of}: {r}" for r in reasons]
    samples |= _excess(samples)
    scores = [_score(*at, sample) for at, sample in samples.items()]
    scores.sort(key=lambda s: (SOURCES.index(s.of), list(METRICS).index(s.metric), s.horizon))
    return Scorecard(tuple(scores), tuple(skipped), samples)


def _check_types(models: dict[str, Any], episodes: Any, horizons: Any) -> tuple[int, ...]:
    """Refuse what would fail far from here; the horizons as ints."""
    for name, model in models.items():
        given = model is not None or name == "model"
        if given and not isinstance(model, AbstractWorldModel | AbstractTransition):
            of_functions = (
                ". Make the function a transition, a class with __call__(state, action) under "
                "AbstractTransition; evaluate_density takes a function for the nll"
            )
            raise TypeError(
                f"{name} must be a world model or a transition, but is {named(model)}"
                f"{mend(model) or of_functions * callable(model)}."
            )
    if not isinstance(episodes, Episodes):
        raise TypeError(
            f"episodes must be Episodes, but is {type(episodes).__name__}: futures are held "
            "against whole episodes, which single steps no longer are."
        )
    try:
        return tuple(operator.index(horizon) for horizon in horizons)
    except TypeError as error:
        raise TypeError(
            f"horizons must be whole numbers in a tuple, such as (1, 5), but are {horizons!r}."
        ) from error


def _task(episodes, horizons, num_starts, noise, scale, key) -> tuple[Task, list[str]]:
    """The task, and which horizons are too long for the episodes."""
    key_nll, key_futures = jax.random.split(key)
    starts = choose_starts(episodes, num_starts, horizons[-1])
    draws = jax.random.normal(jax.random.fold_in(key_nll, 1), starts.future.shape)
    target = (starts.future + noise * np.asarray(draws)).astype(np.float32)
    lasted = {horizon: int(starts.mask[:, horizon - 1].sum()) for horizon in horizons}
    reasons = too_short(lasted)
    keys = jax.random.split(key_futures, len(starts.state))
    return Task(
        episodes, starts, horizons, target, noise, scale, key_nll, key_futures, keys
    ), reasons


def _excess(samples: dict[tuple[str, str, int], Sample]) -> dict[tuple[str, str, int], Sample]:
    """The values of the model minus those of the law, start by start."""
    found = {}
    for (of, metric, horizon), sample in samples.items():
        law = samples.get(("law", metric, horizon))
        if of == "model" and law is not None and METRICS[metric].is_score:
            values = sample.values - law.values
            found["excess", metric, horizon] = sample._replace(values=values)
    return found


def _score(of: str, metric: str, horizon: int, sample: Sample) -> Score:
    if metric == "pit":
        p_value = pit_tests(sample.values, sample.episode, lag=horizon).cramer_von_mises.p_value
        row = (p_value, math.nan, math.nan)
    else:
        row = episode_interval(sample.values, sample.episode)
    return Score(metric, horizon, *row, len(sample.values), of)
