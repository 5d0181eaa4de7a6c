"""The tables of transitions and world models: a name, and a constructor from a key.

All share one shape, so that the laws compile little: states `[2]` (one-hot for the categorical
ones), actions `[1]`, narrow networks.
"""

from functools import partial

import jax.numpy as jnp

from stochwm.models import Markov
from stochwm.transitions import (
    AutoregressiveCategorical,
    Categorical,
    Ensemble,
    FullGaussian,
    FullMixtureDensity,
    Gaussian,
    MixtureDensity,
    MomentMatched,
    Standardised,
    Standardiser,
)

STATE = jnp.array([1.0, 0.0])
ACTION = jnp.array([0.5])
SMALL = {"width": 8, "depth": 1}


def gaussian(key):
    return Gaussian(2, 1, **SMALL, key=key)


def full_gaussian(key):
    return FullGaussian(2, 1, **SMALL, key=key)


def mixture_density(key):
    return MixtureDensity(2, 1, num_components=3, **SMALL, key=key)


def full_mixture_density(key):
    return FullMixtureDensity(2, 1, num_components=3, **SMALL, key=key)


def categorical(key):
    return Categorical(2, 1, **SMALL, key=key)


def autoregressive(key):
    return AutoregressiveCategorical(2, 1, num_bins=8, features=8, **SMALL, key=key)


def standardised(make, key):
    state = Standardiser([0.5, -1.0], [2.0, 0.5])
    delta = Standardiser([0.1, 0.2], [0.3, 3.0])
    return Standardised(make(key), state, Standardiser([0.2], [0.7]), delta)


def ensemble(make, key):
    return Ensemble(make, 3, key=key)


def moment_matched(make, key):
    return MomentMatched(ensemble(make, key))


TRANSITIONS = {
    "Gaussian": gaussian,
    "FullGaussian": full_gaussian,
    "MixtureDensity": mixture_density,
    "FullMixtureDensity": full_mixture_density,
    "Categorical": categorical,
    "AutoregressiveCategorical": autoregressive,
    "Standardised MixtureDensity": partial(standardised, mixture_density),
    "Standardised AutoregressiveCategorical": partial(standardised, autoregressive),
    "Ensemble of Gaussian": partial(ensemble, gaussian),
    "Ensemble of FullMixtureDensity": partial(ensemble, full_mixture_density),
    "Ensemble of Categorical": partial(ensemble, categorical),
    "Ensemble of AutoregressiveCategorical": partial(ensemble, autoregressive),
    "Ensemble of Standardised MixtureDensity": partial(
        ensemble, partial(standardised, mixture_density)
    ),
    "MomentMatched Ensemble of MixtureDensity": partial(moment_matched, mixture_density),
}


def distance(state, action, next_state):
    """A reward that depends on all it is given, so that no argument can be swapped."""
    return jnp.sum(next_state) - 2 * jnp.sum(state) + 3 * jnp.sum(action)


def stays_near(state, action, next_state):
    return jnp.exp(-0.1 * jnp.sum((next_state - 0.5 * state) ** 2) - 0.1 * jnp.sum(action**2))


def markov(make, key):
    return Markov(make(key), distance, stays_near)


WORLD_MODELS = {
    "Markov with the defaults": lambda key: Markov(gaussian(key)),
    "Markov with heads": partial(markov, partial(standardised, full_gaussian)),
    "Markov of an Ensemble": partial(markov, partial(ensemble, mixture_density)),
    "Markov of categories": partial(markov, categorical),
}
