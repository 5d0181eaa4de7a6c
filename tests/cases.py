"""The tables that every law is checked on: name -> constructor.

A distribution is made from a number: `make(0.0)` is one instance, `eqx.filter_vmap(make)(numbers)`
a stack of them. Plain numbers, because programs that draw random ones take long to compile.
A new family joins its table and has to pass every law there.
"""

from collections.abc import Callable
from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, ScalarLike

from stochwm.distributions import (
    AbstractSampler,
    AutoregressiveBins,
    BoxMixture,
    Censored,
    ChainedCategoricals,
    Deterministic,
    DiagNormal,
    DiagNormalMixture,
    FullNormal,
    FullNormalMixture,
    Joint,
    LatentStateDistribution,
    OneHotCategoricals,
    SymlogNormal,
    UniformBox,
    UniformMixture,
)

DIM, COMPONENTS, MEMBERS, GROUPS = 2, 3, 3, (3, 2)


def numbers(x, *shape, phase):
    """An array of numbers in [-1, 1] that look random and change with x."""
    return jnp.sin(x + phase + 2.4 * np.arange(np.prod(shape)).reshape(shape) ** 1.5)


def locations(x, *shape):
    return 3 * numbers(x, *shape, phase=1)


def scales(x, *shape):
    return jnp.exp(0.5 * numbers(x, *shape, phase=2))


def trils(x, *shape):
    below = jnp.tril(numbers(x, *shape, shape[-1], phase=3), -1)
    return below + scales(x, *shape)[..., None] * jnp.eye(shape[-1])


def weights(x, *shape):
    return numbers(x, *shape, phase=4)


def diag_normal(x, dim=DIM):
    return DiagNormal(locations(x, dim), scales(x, dim))


def symlog_normal(x, dim=DIM):
    # Mild ones: float32 holds no more than seven digits of a value of a thousand.
    return SymlogNormal(0.4 * locations(x, dim), 0.5 * scales(x, dim))


def full_normal(x, dim=DIM):
    return FullNormal(locations(x, dim), trils(x, dim))


def diag_mixture(x, dim=DIM, components=COMPONENTS):
    loc, scale = locations(x, components, dim), scales(x, components, dim)
    return DiagNormalMixture(weights(x, components), loc, scale)


def full_mixture(x, dim=DIM, components=COMPONENTS):
    loc, tril = locations(x, components, dim), trils(x, components, dim)
    return FullNormalMixture(weights(x, components), loc, tril)


def uniform_box(x, dim=DIM):
    low = locations(x, dim)
    return UniformBox(low, low + scales(x, dim))


def box_mixture(x, dim=DIM, components=COMPONENTS):
    """Blurred, which makes it an ordinary density; its own tests look at atoms."""
    low = locations(x, components, dim)
    high = low + scales(x, components, dim)
    return BoxMixture(weights(x, components), low, high, 0.5)


def censored(x):
    """A third of the mass is at bounds, one to a dimension."""
    return Censored(diag_mixture(x), jnp.array([-1.0, -np.inf]), jnp.array([np.inf, 1.5]))


def one_hot(x, sizes=(4,)):
    return OneHotCategoricals(weights(x, sum(sizes)), sizes)


def one_hots(x):
    return one_hot(x, GROUPS)


def deterministic(x, dim=DIM):
    return Deterministic(locations(x, dim))


def uniform_mixture_of(make, members=MEMBERS):
    return lambda x: UniformMixture(eqx.filter_vmap(make)(x + jnp.arange(float(members))))


def joint(x):
    return Joint([diag_normal(x, 1), diag_mixture(x + 1, 1)])


def latent_state(x):
    return LatentStateDistribution(locations(x, 3), one_hots(x))


class BinHead(eqx.Module):
    """A small network of bin logits; it holds a function, as networks do."""

    context: Float[Array, "bins features"]
    previous: Float[Array, "bins dim"]
    bias: Float[Array, "dim bins"]
    activation: Callable

    def __init__(self, x, dim: int, bins: int, features: int):
        self.context = numbers(x, bins, features, phase=5)
        self.previous = numbers(x, bins, dim, phase=6)
        self.bias = numbers(x, dim, bins, phase=7)
        self.activation = jnp.tanh

    def __call__(
        self, context: Float[Array, " features"], previous: Float[Array, " dim"], d: Int[Array, ""]
    ) -> Float[Array, " bins"]:
        hidden = self.context @ context + self.previous @ previous + self.bias[d]
        return self.activation(hidden)


def autoregressive_bins(x, dim=DIM):
    head, context = BinHead(x, dim, 6, 3), numbers(x, 3, phase=8)
    low, high = jnp.full(dim, -3.0), jnp.full(dim, 2.0)
    return AutoregressiveBins(head, context, low, high, locations(x, dim), scales(x, dim))


def chained(x, groups=3, classes=3, width=4):
    # Outer products: float32 cannot tell the angles of long arrays.
    rows = numbers(x, groups, classes, phase=9)
    seen, weight = (3 * rows[..., None] * numbers(x, width, phase=phase) for phase in (10, 11))
    return ChainedCategoricals(numbers(x, width, phase=12), seen[1:], weight, 0.1 * rows, mix=0.01)


DISTRIBUTIONS: dict[str, Callable[[ScalarLike], AbstractSampler]] = {
    "diag_normal": diag_normal,
    "symlog_normal": symlog_normal,
    "full_normal": full_normal,
    "diag_mixture": diag_mixture,
    "full_mixture": full_mixture,
    "uniform_box": uniform_box,
    "box_mixture": box_mixture,
    "censored": censored,
    "one_hot": one_hot,
    "one_hots": one_hots,
    "deterministic": deterministic,
    "uniform_of_normals": uniform_mixture_of(diag_normal),
    "uniform_of_mixtures": uniform_mixture_of(diag_mixture),
    "uniform_of_categoricals": uniform_mixture_of(one_hot),
    "joint": joint,
    "latent_state": latent_state,
    "autoregressive_bins": autoregressive_bins,
    "chained": chained,
}

# What a law needs and some families do not have. Everything else holds for every entry.
# No closed form, or no vector.
NO_MOMENTS = {"autoregressive_bins", "chained", "latent_state"}
ONE_HOT = {"one_hot", "one_hots", "chained", "uniform_of_categoricals"}
DISCRETE = {"deterministic", "latent_state"} | ONE_HOT
NO_CDF = {"autoregressive_bins"} | DISCRETE
NO_AFFINE = {"symlog_normal", "latent_state"} | ONE_HOT
NO_SMOOTHED = {"autoregressive_bins", "censored"} | NO_AFFINE
ATOMS = {"censored"}  # in some dimension, with a density in others
# A network, a chain, tuples, blur.
NO_TWIN = {"autoregressive_bins", "chained", "latent_state", "box_mixture", "joint", "censored"}


def names(excluded: set[str] = frozenset()) -> list[str]:
    """The distributions that a law applies to."""
    return [name for name in DISTRIBUTIONS if name not in excluded]


@cache
def instance(name: str, x: float = 0.0) -> AbstractSampler:
    """One distribution of the table."""
    return DISTRIBUTIONS[name](x)


@cache
def stack(name: str, number: int = 4) -> AbstractSampler:
    """The instances 0, 1, 2, ... of the table as one stack, made under `filter_vmap`."""
    return eqx.filter_jit(eqx.filter_vmap(DISTRIBUTIONS[name]))(jnp.arange(float(number)))
