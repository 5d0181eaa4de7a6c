"""Moment matching: a mixture replaced by the normal with the same mean and covariance."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import AbstractDistribution, FullNormal
from .base import MIN_SCALE, AbstractTransition


class MomentMatched(AbstractTransition):
    """Predicts the normal that has the mean and the covariance of the kernel's prediction.

    What an ensemble of Gaussians is often reduced to (Deisenroth & Rasmussen 2011, PILCO; "MM" in
    Chua et al. 2018, arXiv 1805.12114): every mode but one average future is lost.
    """

    kernel: AbstractTransition

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> FullNormal:
        prediction: Any = self.kernel(state, action)
        return moment_matched(prediction)


def moment_matched(distribution: AbstractDistribution) -> FullNormal:
    """The normal with the mean and covariance of `distribution`.

    Variances gain `(1e-3)^2` of their own size, in single precision `(dim / 12)^2` times that in
    more than 12 dimensions, so that a degenerate covariance has a factor.
    """
    covariance = distribution.covariance()
    # The least eigenvalue has to exceed what a factorisation is rounded by, at most.
    rounding = jnp.finfo(covariance.dtype).eps * covariance.shape[0] ** 2 / 16
    ridge = jnp.maximum(jnp.diagonal(covariance), MIN_SCALE**2) * max(MIN_SCALE**2, rounding)
    return FullNormal(distribution.mean(), jnp.linalg.cholesky(covariance + jnp.diag(ridge)))
