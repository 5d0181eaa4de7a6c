"""The tables of transitions and world models: a name, and a constructor from a key.

All share one shape, so that the laws compile little: states `[2]` (one-hot for the categorical
ones), actions `[1]`, linear networks.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stochwm.data import Transitions
from stochwm.distributions import DiagNormal
from stochwm.models import AbstractWorldModel, Markov
from stochwm.transitions import (
    AbstractTransition,
    AutoregressiveCategorical,
    Bounds,
    BoxMixtureDensity,
    Categorical,
    Clipped,
    DiscreteLatent,
    Ensemble,
    FullGaussian,
    FullMixtureDensity,
    Gaussian,
    MixtureDensity,
    MomentMatched,
    Pinned,
    Pins,
    Standardised,
    Standardiser,
)

STATE = jnp.array([1.0, 0.0])
ACTION = jnp.array([0.5])
SMALL = {"width": 8, "depth": 0}


class UnindexedHead(AbstractWorldModel):
    """One head returns the vector of its network's one output, and nobody annotated it."""

    kernel: AbstractTransition
    head: str

    def transition(self, state, action):
        return self.kernel(state, action)

    def reward(self, state, action, next_state):
        return next_state[:1] if self.head == "reward" else jnp.zeros(())

    def discount(self, state, action, next_state):
        return jnp.ones(1) if self.head == "discount" else jnp.ones(())


def gaussian(key):
    return Gaussian(2, 1, **SMALL, key=key)


def full_gaussian(key):
    return FullGaussian(2, 1, **SMALL, key=key)


def mixture_density(key):
    return MixtureDensity(2, 1, num_components=3, **SMALL, key=key)


def full_mixture_density(key):
    return FullMixtureDensity(2, 1, num_components=3, **SMALL, key=key)


def box_mixture_density(key):
    return BoxMixtureDensity(2, 1, num_components=3, **SMALL, key=key)


def pinned(key):
    nan = np.nan
    return Pinned(box_mixture_density(key), Pins([[nan, nan], [nan, 0.0], [1.0, 0.0]]))


def clipped(key):
    return Clipped(gaussian(key), Bounds(low=0.0, high=jnp.array([np.inf, 1.0])))


def categorical(key):
    return Categorical(2, 1, **SMALL, key=key)


def autoregressive(key):
    return AutoregressiveCategorical(2, 1, num_bins=8, features=8, **SMALL, key=key)


def discrete_latent(key, **options):
    return DiscreteLatent(2, 1, num_classes=3, features=8, **SMALL, **options, key=key)


def sampled_latent(key):
    """Nine codes, of which the prediction may sum one: it can only be sampled."""
    return discrete_latent(key, num_groups=2, max_components=1)


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
    "BoxMixtureDensity": box_mixture_density,
    "Pinned BoxMixtureDensity": pinned,
    "Clipped Gaussian": clipped,
    "Categorical": categorical,
    "AutoregressiveCategorical": autoregressive,
    "DiscreteLatent": discrete_latent,
    "DiscreteLatent, sampled": sampled_latent,
    "Standardised MixtureDensity": partial(standardised, mixture_density),
    "Standardised AutoregressiveCategorical": partial(standardised, autoregressive),
    "Ensemble of Gaussian": partial(ensemble, gaussian),
    "Ensemble of Clipped Gaussian": partial(ensemble, clipped),
    "Ensemble of FullMixtureDensity": partial(ensemble, full_mixture_density),
    "Ensemble of Categorical": partial(ensemble, categorical),
    "Ensemble of AutoregressiveCategorical": partial(ensemble, autoregressive),
    "Ensemble of Standardised MixtureDensity": partial(
        ensemble, partial(standardised, mixture_density)
    ),
    "Ensemble of Standardised DiscreteLatent, sampled": partial(
        ensemble, partial(standardised, sampled_latent)
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
    "Markov with heads": partial(markov, partial(standardised, full_gaussian)),
    "Markov of an Ensemble": partial(markov, partial(ensemble, gaussian)),
    "Markov of categories": partial(markov, categorical),
}


# --- for training: as small as a model that learns can be ---------------------------------------
class Line(AbstractTransition):
    """s' = w_s s + w_a a + b + noise, in one dimension."""

    weight: Float[Array, "*member 2"]
    bias: Float[Array, "*member"]
    log_scale: Float[Array, "*member"]

    def __init__(self, key):
        self.weight = 0.1 * jax.random.normal(key, (2,))
        self.bias = jnp.zeros(())
        self.log_scale = jnp.zeros(())

    def __call__(self, state, action):
        loc = self.weight[0] * state + self.weight[1] * action + self.bias
        return DiagNormal(loc, jnp.exp(self.log_scale) * jnp.ones(1))


def three_lines():
    return Ensemble(Line, 3, key=jax.random.key(2))


def line_data(number=256, seed=0):
    """Transitions of s' = 0.8 s - 0.5 a + 0.3 + 0.2 noise, in episodes of 32 steps."""
    rng = np.random.default_rng(seed)
    state, action, noise = rng.normal(size=(3, number, 1)).astype("float32")
    return Transitions(
        state=state,
        action=action,
        reward=np.zeros(number, "float32"),
        discount=np.ones(number, "float32"),
        next_state=0.8 * state - 0.5 * action + 0.3 + 0.2 * noise,
        episode=np.arange(number) // 32,
    )


def same_bits(one, other):
    """Whether two models agree in every bit of every array."""
    pairs = zip(*(jax.tree.leaves(eqx.filter(m, eqx.is_array)) for m in (one, other)), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
