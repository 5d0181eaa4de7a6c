"""Gradients of mixture samples that reach every parameter, the weights included.

A mixture draw picks a component, which cuts the path from the weights to the value. Implicit
reparameterisation restores it: hold the conditional cdfs F_d(x_d | x_<d) of the draw fixed and
solve `dF = 0` for dx (Graves 2016, arXiv 1607.05690; Figurnov et al. 2018, arXiv 1805.08498,
equation 6).

For normal components with standardised residuals e_k (`L_k e_k = x - m_k`) and conditional weights
omega_k of dimension d given the dimensions before it,

    dx_d = -[Cov_omega(dl, Phi(e_d)) / p_d + sum_k rho_k de_kd / A_kdd],

where l_k is the log weight that component k has gathered up to d, rho_k its posterior weight with
dimension d included, A_k = L_k^-1, p_d the conditional density and de_kd the change of e_kd before
dx_d acts. This is the triangular solve of Figurnov et al., written per component so that no term
divides two vanishing numbers.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp, ndtr
from jaxtyping import Array, Float

from .normal import LOG_2PI

TINY_LOG_DENSITY = -80.0  # exp() of it is still a normal float32 number


@jax.custom_jvp
def reparameterise_diag(
    value: Float[Array, " dim"],
    log_weights: Float[Array, " components"],
    loc: Float[Array, "components dim"],
    scale: Float[Array, "components dim"],
) -> Float[Array, " dim"]:
    """`value`, with the gradient that a draw from this mixture has in its parameters."""
    return value


@reparameterise_diag.defjvp
def _diag_jvp(primals, tangents):
    value, log_weights, loc, scale = primals
    dvalue, dlog_weights, dloc, dscale = tangents
    residual = (value - loc) / scale
    dresidual = -(dloc + dscale * residual) / scale
    dx = _solve(log_weights, dlog_weights, residual, dresidual, scale, dscale / scale, None)
    return value, dvalue + dx


@jax.custom_jvp
def reparameterise_full(
    value: Float[Array, " dim"],
    log_weights: Float[Array, " components"],
    loc: Float[Array, "components dim"],
    scale_tril: Float[Array, "components dim dim"],
) -> Float[Array, " dim"]:
    """`value`, with the gradient that a draw from this mixture has in its parameters."""
    return value


@reparameterise_full.defjvp
def _full_jvp(primals, tangents):
    value, log_weights, loc, tril = primals
    dvalue, dlog_weights, dloc, dtril = tangents
    solve = jax.vmap(lambda left, right: solve_triangular(left, right, lower=True))
    residual = solve(tril, value - loc)
    dresidual = -solve(tril, dloc + jnp.einsum("kij,kj->ki", dtril, residual))
    inverse = solve(tril, jnp.broadcast_to(jnp.eye(value.shape[0], dtype=tril.dtype), tril.shape))
    scale = jnp.diagonal(tril, axis1=-2, axis2=-1)
    dlog_scale = jnp.diagonal(dtril, axis1=-2, axis2=-1) / scale
    rows = jnp.tril(inverse, -1)
    dx = _solve(log_weights, dlog_weights, residual, dresidual, scale, dlog_scale, rows)
    return value, dvalue + dx


def _solve(log_weights, dlog_weights, residual, dresidual, scale, dlog_scale, rows):
    """Solve `dF = 0` for dx, one dimension after the other; arrays are `[components, dim]`.

    `rows` holds the strictly lower triangles of A, `[components, dim, dim]`, or None if diagonal.
    """

    def step(carry, inputs):
        log_omega, dlog_omega, dx = carry
        d, e, de, s, dlog_s, row = inputs
        if row is not None:
            de = de + row @ dx
        log_density = -0.5 * (e**2 + LOG_2PI) - jnp.log(s)
        omega = jax.nn.softmax(log_omega)
        joint = log_omega + log_density
        rho = jax.nn.softmax(joint)
        log_p = logsumexp(joint) - logsumexp(log_omega)
        # The covariance does not change when 1 is taken from the cdf: use the smaller tail.
        upper = jnp.sum(omega * ndtr(e)) > 0.5
        tail = jnp.where(upper, -ndtr(-e), ndtr(e))
        centred = dlog_omega - jnp.sum(omega * dlog_omega)
        p = jnp.exp(jnp.maximum(log_p, TINY_LOG_DENSITY))
        dx_d = -jnp.sum(omega * tail * centred) / p - jnp.sum(rho * s * de)
        de = de + dx_d / s
        dlog_omega = dlog_omega - e * de - dlog_s
        return (joint, dlog_omega, dx.at[d].set(dx_d)), None

    dim = residual.shape[-1]
    columns = tuple(x.T for x in (residual, dresidual, scale, dlog_scale))
    by_dim = None if rows is None else jnp.swapaxes(rows, 0, 1)
    start = (log_weights, dlog_weights, jnp.zeros_like(residual[0]))
    (_, _, dx), _ = jax.lax.scan(step, start, (jnp.arange(dim), *columns, by_dim))
    return dx
