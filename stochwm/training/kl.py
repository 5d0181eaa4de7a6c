"""How far the posterior of a latent is from its prior, and who of the two is to move.

Every option is a function `(posterior, prior) -> nats` that a loss of a latent-variable model takes
as an argument. They need `kl_divergence` only, so that categorical and normal latents are alike.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import AbstractDistribution

Divergence = Callable[[AbstractDistribution, AbstractDistribution], Array]
"""`divergence(posterior, prior) -> nats`, a scalar for unbatched distributions."""


def plain_kl(
    posterior: AbstractDistribution, prior: AbstractDistribution
) -> Float[Array, "*batch"]:
    """KL[q || p] in nats, summed over all dimensions of the latent: that of the evidence bound."""
    return posterior.kl_divergence(prior)


def balanced_kl(alpha: float = 0.8) -> Divergence:
    """`alpha KL[sg(q) || p] + (1 - alpha) KL[q || sg(p)]`: KL balancing of DreamerV2.

    Its value is KL[q || p]. Of its gradient the prior p gets the share `alpha` and the posterior q
    the rest, so that for `alpha` above 1/2 the prior learns to predict faster than the posterior
    gives up information (Hafner et al. 2021, arXiv 2010.02193, algorithm 2).

    Raises:
        ValueError: `alpha` outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], but is {alpha}.")

    def divergence(posterior: AbstractDistribution, prior: AbstractDistribution):
        dynamics, representation = split_kl(posterior, prior)
        return alpha * dynamics + (1 - alpha) * representation

    return divergence


def free_bits(nats: float = 1.0, dyn: float = 1.0, rep: float = 0.1) -> Divergence:
    """`dyn max(nats, KL[sg(q) || p]) + rep max(nats, KL[q || sg(p)])`: as in DreamerV3.

    The divergences are sums over all dimensions of the latent, and so `nats` is what one example
    may cost for free: below it no gradient flows (Hafner et al. 2023, arXiv 2301.04104, equation 3;
    free bits: Kingma et al. 2016, arXiv 1606.04934). With `dyn = rep = 1` the gradient is that of
    `max(nats, KL[q || p])`, the free nats of DreamerV1 (arXiv 1912.01603, there 3 and clipped
    after averaging over the batch); the value is then twice as large.

    Raises:
        ValueError: a negative argument.
    """
    for name, number in (("nats", nats), ("dyn", dyn), ("rep", rep)):
        if not number >= 0:
            raise ValueError(f"{name} must not be negative, but is {number}.")

    def divergence(posterior: AbstractDistribution, prior: AbstractDistribution):
        dynamics, representation = split_kl(posterior, prior)
        return dyn * jnp.maximum(nats, dynamics) + rep * jnp.maximum(nats, representation)

    return divergence


def split_kl(
    posterior: AbstractDistribution, prior: AbstractDistribution
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """`(KL[sg(q) || p], KL[q || sg(p)])`: equal numbers, whose gradients train one side each."""
    dynamics = jax.lax.stop_gradient(posterior).kl_divergence(prior)
    representation = posterior.kl_divergence(jax.lax.stop_gradient(prior))
    return dynamics, representation
