"""Repair a model's spread, shape or weights on held-out episodes, particles included."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import equinox as eqx
from jaxtyping import PRNGKeyArray

from ..data import Episodes, Transitions, check_spaces
from ..models import AbstractFilter, AbstractWorldModel, Markov
from ..transitions import AbstractTransition
from .adaptive import fit_adaptive
from .by_step import fit_by_step
from .conformal import fit_conformal
from .holdout import refuse_training_episodes
from .level_maps import BetaMap
from .pit_map import fit_pit_map
from .spread import fit_spread, thin
from .spread_decoder import fit_spread_decoder
from .starts import HORIZONS
from .tempered import fit_temperature

MAX_ROWS = 4096  # transitions, spread over all: more would cost time and add no precision
PER = ("step", "horizon")
_FITS = {
    "scale": fit_spread,
    "pit": fit_pit_map,
    "beta": partial(fit_pit_map, kind=BetaMap),
    "weights": fit_temperature,
}
METHODS = (*_FITS, "conformal", "adaptive")

_Model = TypeVar("_Model", AbstractTransition, AbstractWorldModel)


def recalibrate(
    model: _Model,
    holdout: Episodes,
    *,
    method: str = "scale",
    per: str = "step",
    level: float = 0.9,
    horizons: Sequence[int] = HORIZONS,
    train: Episodes | None = None,
    key: PRNGKeyArray,
) -> _Model:
    """A model whose predictions are right where the hold-out shows that they were not.

    The result is a model of the same sort, its kernel wrapped: it is sampled from, so that imagined
    particles, planners and critics see the repair; rewards and discounts stay. Ensembles are
    repaired as the mixture that they predict, so that functions that run members apart
    (`imagine_ts1`, `imagine_tsinf`) refuse the result: use `imagine_particles`. Calls
    compose, each on episodes of its own. `stochwm.save_tree` stores a result; to load it, let
    `like` be the same wrapper around a fresh model.

    Methods:
        "scale": one spread factor per dimension about the mean, see `fit_spread`; of a filter, on
            the spread of its observations, see `fit_spread_decoder`.
        "pit": a monotone map of each marginal cdf, copula kept, see `fit_pit_map`; for the shape.
        "beta": the same with three numbers a dimension, for few data, see `BetaMap`.
        "weights": a temperature on weights of mixtures or on classes, see `fit_temperature`.
        "conformal": spread with a coverage guarantee, see `fit_conformal`.
        "adaptive": conformal with an `update` for a stream that drifts, see `Adaptive`.

    Args:
        model: a transition, a world model with a `kernel` over flat states, or a filter.
        holdout: episodes that the model was not trained on.
        method: one of the above.
        per: "step" repairs the one-step kernel. "horizon" (method "scale", world models) gives
            the steps up to each of `horizons` a factor of their own: one factor for all mends the
            first step and leaves far horizons wrong, where errors of the mean have added up. The
            result keeps a clock in its state: see `ByStep`.
        level: wanted coverage of "conformal" and "adaptive".
        horizons: of `per="horizon"`, see `fit_by_step`.
        train: the training episodes: with them, a hold-out that contains some is refused. A model
            does not know what it was trained on, so that without them this is the caller's word.
        key: for whatever is drawn.

    Raises:
        ValueError: an unknown method or per, a combination of them that does not exist, a hold-out
            of other spaces, too small, or with training episodes.
        TypeError: a model without a kernel, predictions of a family that the method cannot repair,
            or a filter and another method than "scale".
    """
    _check(method, per)
    world: Any = Markov(model) if isinstance(model, AbstractTransition) else model
    if isinstance(world, AbstractFilter) and (method, per) != ("scale", "step"):
        raise TypeError(
            f"model is a filter ({type(model).__name__}), whose predictions are of a latent state "
            f"that no hold-out holds: what can be repaired is the spread of its observations, "
            f'method="scale" and per="step", but they are {method!r} and {per!r}.'
        )
    check_spaces(world, holdout)
    if train is not None:
        refuse_training_episodes(holdout, train)
    if isinstance(world, AbstractFilter):
        spread_out: Any = fit_spread_decoder(world, holdout, key=key)
        return spread_out
    if per == "horizon":
        if isinstance(model, AbstractTransition):
            raise TypeError(
                'per="horizon" needs a world model, whose state can keep a clock, but model is a '
                "transition: pass Markov(model)."
            )
        return fit_by_step(world, holdout, horizons=horizons, key=key)
    kernel = getattr(world, "kernel", None)
    if not isinstance(kernel, AbstractTransition):
        raise TypeError(
            "model must be a transition, or a world model with a transition as its kernel (such as "
            f'Markov), but is a {type(model).__name__}; per="horizon" takes any world model.'
        )
    fixed = _fit(method, kernel, holdout.transitions(), level, key)
    return fixed if isinstance(model, AbstractTransition) else eqx.tree_at(_kernel, model, fixed)


def _fit(method: str, kernel: AbstractTransition, rows: Transitions, level: float, key: Any) -> Any:
    if method == "conformal":
        return fit_conformal(kernel, rows, level, key=key)
    if method == "adaptive":
        return fit_adaptive(kernel, rows, level, key=key)
    return _FITS[method](kernel, thin(rows, MAX_ROWS), key=key)


def _kernel(model: Any) -> AbstractTransition:
    return model.kernel


def _check(method: str, per: str) -> None:
    for name, value, known in (("method", method, METHODS), ("per", per, PER)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, but is {value!r}.")
    if per == "horizon" and method != "scale":
        raise ValueError(
            f'per="horizon" takes the method "scale" only, but method is {method!r}: recalibrate '
            "twice, first the step, then the horizons."
        )
