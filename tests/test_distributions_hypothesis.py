"""Distributions with parameters that hypothesis chooses, against formulas in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats

from stochwm.distributions import DiagNormal, DiagNormalMixture, FullNormal, FullNormalMixture
from stochwm.distributions import OneHotCategoricals as Categoricals

SHAPES = [(1, 1), (2, 3), (4, 2)]  # components, dimensions: every pair is a compilation


def floats(low, high, *shape):
    return arrays(np.float32, shape, elements=st.floats(low, high, width=32))


@st.composite
def parameters(draw):
    """Logits, means, triangles and a value around one of the means."""
    components, dim = draw(st.sampled_from(SHAPES))
    logits = draw(floats(-8, 8, components))
    loc = draw(floats(-10, 10, components, dim))
    scale = np.exp(draw(floats(-4, 2, components, dim)))
    below = np.tril(draw(floats(-1, 1, components, dim, dim)), -1)
    tril = scale[..., None] * (below + np.eye(dim, dtype=np.float32))
    near = draw(st.integers(0, components - 1))
    value = loc[near] + scale[near] * draw(floats(-6, 6, dim))
    return logits, loc, tril, value


def diagonals(tril):
    return np.diagonal(tril, axis1=-2, axis2=-1)


def reference_log_prob(logits, loc, tril, value):
    """Mixture density from scipy, in float64."""
    logits, loc, tril, value = (np.asarray(a, np.float64) for a in (logits, loc, tril, value))
    parts = [
        stats.multivariate_normal(m, L @ L.T, allow_singular=False).logpdf(value)
        for m, L in zip(loc, tril, strict=True)
    ]
    return special.logsumexp(special.log_softmax(logits) + np.array(parts))


log_prob = eqx.filter_jit(lambda d, x: d.log_prob(x))


@given(parameters())
def test_log_prob_agrees_with_scipy(drawn):
    logits, loc, tril, value = drawn
    scale = diagonals(tril)
    diag = np.stack([np.diag(s) for s in scale])
    # The residual (value - loc) / scale is rounded where loc is large and scale is small.
    tolerance = 2e-4 * (1 + np.max(np.abs(loc)) / np.min(scale))
    for ours, theirs in (
        (DiagNormalMixture(logits, loc, scale), (logits, loc, diag)),
        (FullNormalMixture(logits, loc, tril), (logits, loc, tril)),
        (DiagNormal(loc[0], scale[0]), (logits[:1], loc[:1], diag[:1])),
        (FullNormal(loc[0], tril[0]), (logits[:1], loc[:1], tril[:1])),
    ):
        expected = reference_log_prob(*theirs, value)
        np.testing.assert_allclose(log_prob(ours, value), expected, rtol=1e-4, atol=tolerance)


@given(parameters())
def test_quantile_inverts_the_cdf(drawn):
    logits, loc, tril, _ = drawn
    levels = jnp.array([0.01, 0.3, 0.5, 0.77, 0.99])
    for distribution in (
        DiagNormalMixture(logits, loc, diagonals(tril)),
        FullNormalMixture(logits, loc, tril),
    ):
        values, back = _round_trip(distribution, levels)
        assert np.all(np.diff(values, axis=0) >= 0)
        # One step of float32 at 10 moves the level by that step over the smallest scale.
        step = 4e-6 / np.min(diagonals(tril))
        np.testing.assert_allclose(back, jnp.broadcast_to(levels[:, None], back.shape), atol=step)


@eqx.filter_jit
def _round_trip(distribution, levels):
    values = jax.vmap(distribution.quantile)(levels)
    return values, jax.vmap(distribution.cdf)(values)


@eqx.filter_jit
def _bounds(p, q):
    exact = p.component(0).kl_divergence(q.component(0))
    return p.entropy_bounds(), p.kl_bounds(q), p.kl_bounds(p), exact


@given(parameters(), floats(-8, 8, 4))
def test_bounds_are_in_order(drawn, others):
    logits, loc, tril, _ = drawn
    p = DiagNormalMixture(logits, loc, diagonals(tril))
    q = DiagNormalMixture(others[: len(logits)], loc[::-1] + 0.1, diagonals(tril)[::-1])
    entropy, divergence, own, exact = _bounds(p, q)
    slack = lambda upper: 1e-4 * (1 + np.abs(upper))  # noqa: E731
    assert entropy[0] <= entropy[1] + slack(entropy[1])
    assert 0 <= divergence[0] <= divergence[1] + slack(divergence[1])
    assert np.all(np.isfinite(divergence))
    assert 0 <= own[0] < 1e-3
    assert -1e-3 < own[1] < 1e-3 + special.entr(special.softmax(logits)).sum()
    if len(logits) == 1:
        np.testing.assert_allclose(entropy[0], entropy[1], atol=1e-5)
        np.testing.assert_allclose(divergence[1], exact, rtol=1e-4, atol=1e-4)


@eqx.filter_jit
def _move(distribution, shift, scale, value):
    moved = distribution.affine(shift, scale)
    back = moved.affine(-shift / scale, 1 / scale)
    return moved, back, moved.log_prob(shift + scale * value), distribution.log_prob(value)


@given(parameters(), st.floats(-10, 10, width=32), st.floats(0.125, 8, width=32))
def test_affine_changes_variables(drawn, shift, scale):
    logits, loc, tril, value = drawn
    size = loc.shape[1]
    shift, scale = np.full(size, shift, np.float32), np.full(size, scale, np.float32)
    distribution = FullNormalMixture(logits, loc, tril)
    moved, back, there, here = _move(distribution, shift, scale, value)
    np.testing.assert_allclose(moved.mean(), shift + scale * distribution.mean(), atol=2e-4)
    covariance = scale[:, None] * scale * np.asarray(distribution.covariance())
    np.testing.assert_allclose(moved.covariance(), covariance, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(back.loc, loc, atol=1e-4)
    reach = np.max(np.abs(shift) + np.abs(loc)) * np.max(scale) / np.min(diagonals(tril))
    volume = size * np.log(scale[0])
    np.testing.assert_allclose(there, here - volume, rtol=1e-3, atol=1e-3 * (1 + reach))


@given(floats(-8, 8, 5), st.sampled_from([(5,), (2, 3)]))
def test_categoricals_agree_with_scipy(logits, sizes):
    distribution = Categoricals(logits, sizes)
    ends = np.cumsum(sizes)
    probs = np.concatenate(
        [special.softmax(logits[e - s : e].astype(float)) for s, e in zip(sizes, ends, strict=True)]
    )
    np.testing.assert_allclose(distribution.mean(), probs, rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), special.entr(probs).sum(), atol=1e-5)
    mode = np.asarray(distribution.mode())
    assert mode.sum() == len(sizes)
    np.testing.assert_allclose(
        distribution.log_prob(mode), np.log(probs[mode > 0]).sum(), atol=1e-5
    )
