"""The Dawid-Sebastiani score: are mean and covariance right?"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from ..distributions import DiagNormalMixture, FullNormal, FullNormalMixture
from .marginals import as_normal_mixture
from .score_inputs import NUM_SAMPLES, Prediction, as_cloud, as_value, density_of

SINGULAR = 100.0  # in units of rounding: a dimension explained this well by others is one of them


def dawid_sebastiani(
    prediction: Prediction,
    value: Any,
    *,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, ""]:
    """Dawid-Sebastiani score of mean m and covariance C; lower is better.

    `log det C + (y - m)^T C^-1 (y - m)` (Dawid & Sebastiani 1999, "Coherent dispersion criteria for
    optimal experimental design"), proper; for a normal, twice the log score up to a constant. It
    sees nothing but two moments. Exact without a key where mean and covariance have closed forms;
    of samples it takes their mean and (unbiased) covariance, by QR, which does not square the
    condition number.

    A singular covariance has no score: where a dimension is, to rounding, a linear function of
    others or has no spread, that is an error if values are known and NaN while tracing.

    Args:
        prediction: a distribution, or samples `[samples, dim]`, more of them than dimensions.
        value: what happened, `[dim]`.
        key: for draws of a distribution without moments in closed form.
        num_samples: how many draws.

    Raises:
        ValueError: bad shapes, too few samples, entries known to be not finite, a covariance known
            to be singular, or draws needed without a `key`.
    """
    value = as_value(value)
    density = density_of(prediction, value)
    mixture = as_normal_mixture(density)
    if mixture is not None:
        return _score(value - mixture.mean(), *_factor_of_root(_root(mixture)))
    moments = None if density is None else _moments(density)
    if moments is not None:
        return _score(value - moments[0], *_factor(moments[1]))
    cloud = as_cloud(
        "dawid_sebastiani", prediction, value, fair=True, key=key, num_samples=num_samples
    )
    number, dim = cloud.samples.shape
    if number <= dim:
        raise ValueError(
            f"samples must be more than their {dim} dimensions for a covariance, but are {number}."
        )
    mean = jnp.mean(cloud.samples, axis=0)
    return _score(value - mean, *_factor_of_root((cloud.samples - mean) / np.sqrt(number - 1)))


def _moments(density: Any) -> tuple[Array, Array] | None:
    try:
        return density.mean(), density.covariance()
    except NotImplementedError:
        return None


def _root(mixture: DiagNormalMixture | FullNormalMixture) -> Float[Array, "rows dim"]:
    """Rows r with `covariance = r^T r`: the spread of each component, and how it is shifted."""
    parts = mixture.components()
    full = parts if isinstance(parts, FullNormal) else parts.to_full()
    shift = full.loc - mixture.mean()
    rows = jnp.concatenate([full.scale_tril.mT, shift[:, None]], axis=1)
    # Not the root of a weight, whose gradient at zero is infinite.
    weighted = jnp.exp(0.5 * mixture.log_weights())[:, None, None] * rows
    return weighted.reshape(-1, rows.shape[-1])


def _factor(covariance: Array) -> tuple[Array, Array, Array]:
    """Scales, the Cholesky factor of the correlations, and whether they make a covariance."""
    scale = jnp.sqrt(jnp.diagonal(covariance))
    safe = jnp.where(scale > 0, scale, 1.0)
    tril = jnp.linalg.cholesky(covariance / safe[:, None] / safe[None])
    alone = jnp.diagonal(tril) ** 2 > SINGULAR * jnp.finfo(tril.dtype).eps
    return safe, tril, jnp.all(alone & (scale > 0))


def _factor_of_root(root: Float[Array, "rows dim"]) -> tuple[Array, Array, Array]:
    """As `_factor`, of `root^T root`, by QR: forming the product would square its condition."""
    scale = jnp.sqrt(jnp.sum(root**2, axis=0))
    safe = jnp.where(scale > 0, scale, 1.0)
    r = jnp.linalg.qr(root / safe, mode="r")
    alone = jnp.abs(jnp.diagonal(r)) > SINGULAR * jnp.finfo(r.dtype).eps
    return safe, r.mT, jnp.all(alone & (scale > 0))


def _score(residual: Array, scale: Array, tril: Array, regular: Array) -> Float[Array, ""]:
    if not isinstance(regular, Tracer) and not bool(np.asarray(regular)):
        raise ValueError(
            "prediction must have a covariance of full rank, but one of its dimensions has no "
            "spread or is a linear function of others: leave that dimension out."
        )
    whitened = solve_triangular(tril, residual / scale, lower=True)
    log_det = 2 * jnp.sum(jnp.log(scale) + jnp.log(jnp.abs(jnp.diagonal(tril))))
    return jnp.where(regular, log_det + jnp.sum(whitened**2), jnp.nan)
