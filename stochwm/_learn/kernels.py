"""Which transitions the main job trains: the learner, and the baseline it is held against."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ..data import Episodes, FlatSpace, find_pins, standardisers
from ..transitions import (
    AbstractTransition,
    AutoregressiveCategorical,
    BoxMixtureDensity,
    Categorical,
    DiscreteLatent,
    FullMixtureDensity,
    Gaussian,
    MixtureDensity,
    Pinned,
    Standardised,
)
from .config import LearnConfig

Make = Callable[[PRNGKeyArray], AbstractTransition]
ONE_HOT_NOISE = 0.1
BOX_NOISE = 0.05  # in standard deviations of the change of state


class Recipe(NamedTuple):
    """How one ensemble is made and what its numbers mean."""

    label: str
    make: Make
    noise: np.ndarray
    """Standard deviation of the target noise, `[state]`."""
    nll_shift: float
    """What turns its log density into a log mass, where one-hot dimensions were noised."""
    smoothed: bool = False
    """Whether the model is free of the noise, and is trained and scored as seen through it."""


def family_of(config: LearnConfig, space: FlatSpace) -> str:
    """The family to learn, with `auto` resolved.

    Raises:
        ValueError: `categorical` for observations that are not discrete.
    """
    family = config.family
    if family == "auto":
        return "categorical" if space.discrete else "mixture"
    if family == "categorical" and not space.discrete:
        raise ValueError(
            "family 'categorical' needs observations that are all discrete; use 'autoregressive' "
            "for continuous ones."
        )
    return family


def recipes(
    config: LearnConfig, train: Episodes, convention: np.ndarray | None
) -> dict[str, Recipe]:
    """The recipes of `model` and `baseline`, with statistics of the training episodes only.

    Args:
        config: the choices.
        train: training episodes.
        convention: target noise that the world declares, `[state]`, or None.
    """
    space, action_space = train.observation_space, train.action_space
    statistics = standardisers(train.transitions(), space, action_space)
    family = family_of(config, space)
    noise = _noise(config, space, convention)
    shape = {"width": config.width, "depth": config.depth}
    shift = -_noise_entropy(noise[_one_hot(space)])

    def standardised(kind, statistics, **options) -> Make:
        return partial(_standardised, kind, train, statistics, options | shape)

    baseline = Recipe("Gaussian", standardised(Gaussian, statistics), noise, shift)
    if family == "categorical":
        make = partial(_categorical, train, shape)
        return {"model": Recipe("categorical", make, 0 * noise, 0.0), "baseline": baseline}
    if family == "boxes":
        noise = np.where(noise > 0, noise, BOX_NOISE * np.asarray(statistics[2].scale))
        make = partial(_boxes, train, statistics, {"num_components": config.components} | shape)
        learner = Recipe("box mixture", make, noise.astype(np.float32), shift, smoothed=True)
        return {"model": learner, "baseline": baseline._replace(noise=learner.noise)}
    label, kind, options = {
        "mixture": ("mixture", MixtureDensity, {"num_components": config.components}),
        "full-mixture": ("mixture", FullMixtureDensity, {"num_components": config.components}),
        "discrete-latent": (
            "discrete latent",
            DiscreteLatent,
            {"num_classes": config.components},
        ),
        "autoregressive": ("autoregressive", AutoregressiveCategorical, {}),
    }[family]
    learner = Recipe(label, standardised(kind, statistics, **options), noise, shift)
    return {"model": learner, "baseline": baseline}


def _standardised(kind, train, statistics, options, key) -> Standardised:
    sizes = (train.observation_space.size, train.action_space.size)
    return Standardised(kind(*sizes, **options, key=key), *statistics)


def _boxes(train, statistics, options, key) -> Pinned:
    pins = find_pins(train.transitions(), options["num_components"])
    return Pinned(_standardised(BoxMixtureDensity, train, statistics, options, key), pins)


def _categorical(train, options, key) -> Categorical:
    space = train.observation_space
    groups = tuple(size for _, size in space.groups)
    return Categorical(space.size, train.action_space.size, groups=groups, **options, key=key)


def _noise(config: LearnConfig, space: FlatSpace, convention: np.ndarray | None) -> np.ndarray:
    if config.noise is not None:
        return np.full(space.size, config.noise, np.float32)
    noise = np.zeros(space.size, np.float32) if convention is None else np.asarray(convention)
    return np.where(_one_hot(space), ONE_HOT_NOISE, noise).astype(np.float32)


def _one_hot(space: FlatSpace) -> np.ndarray:
    return np.asarray(space.one_hot, bool)


def _noise_entropy(noise: np.ndarray) -> float:
    """Entropy of the noise, in nats: what it adds to the entropy of well separated atoms."""
    noise = noise[noise > 0]
    return float(jnp.sum(0.5 * jnp.log(2 * jnp.pi * jnp.e * noise**2))) if noise.size else 0.0
