"""Ten thousand extreme mixtures: nothing that is asked of them is NaN, nor is its gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.distributions import DiagNormalMixture, FullNormalMixture

NUMBER, COMPONENTS, DIM = 10_000, 3, 2
KEY = jax.random.key(0)


def extremes():
    """Weights down to 1e-12, scales from 1e-6 to 1e6, targets up to 1e4 deviations off."""
    rng = np.random.default_rng(0)
    shape = (NUMBER, COMPONENTS, DIM)
    logits = np.log(10.0) * rng.uniform(-12, 0, shape[:2])
    logits[np.arange(NUMBER), rng.integers(0, COMPONENTS, NUMBER)] = 0.0
    scale = 10 ** rng.uniform(-6, 6, shape)
    loc = rng.normal(size=shape) * 10 ** rng.uniform(-2, 3, shape)
    near = rng.integers(0, COMPONENTS, NUMBER)
    rows = np.arange(NUMBER)
    deviations = rng.choice([-1, 1], (NUMBER, DIM)) * 10 ** rng.uniform(-3, 4, (NUMBER, DIM))
    target = loc[rows, near] + deviations * scale[rows, near]
    # Coarse cases by hand: all components alike, a target on a mean, one weight as good as all.
    loc[:10], scale[:10] = loc[:10, :1], scale[:10, :1]
    target[10:20] = loc[10:20, 0]
    logits[20:30, 1:] = -1e4
    return tuple(jnp.asarray(x, float) for x in (logits, loc, scale, target))


LOGITS, LOC, SCALE, TARGET = extremes()


def skewed(scale):
    """Cholesky factors of strongly correlated dimensions."""
    tril = jnp.zeros((*scale.shape, DIM)).at[..., 0, 0].set(scale[..., 0])
    return tril.at[..., 1, 1].set(scale[..., 1]).at[..., 1, 0].set(0.9 * scale[..., 0])


MIXTURES = {
    "diag": (DiagNormalMixture, SCALE),
    "full": (FullNormalMixture, skewed(SCALE)),
}
SUMS = {
    "log_prob": lambda mixture, target: mixture.log_prob(target),
    "sample": lambda mixture, target: mixture.sample(seed=KEY).sum(),
    "cdf": lambda mixture, target: mixture.cdf(target).sum(),
    "quantile": lambda mixture, target: mixture.quantile(0.3).sum(),
    "moments": lambda mixture, target: mixture.mean().sum() + jnp.log(mixture.variance()).sum(),
}


@pytest.mark.parametrize("what", SUMS)
@pytest.mark.parametrize("name", MIXTURES)
def test_ten_thousand_extreme_mixtures(name, what):
    kind, scale = MIXTURES[name]

    @eqx.filter_jit
    @eqx.filter_vmap
    def run(logits, loc, scale, target):
        one = lambda inputs: SUMS[what](kind(*inputs[:3]), inputs[3])  # noqa: E731
        return jax.value_and_grad(one)((logits, loc, scale, target))

    value, grads = run(LOGITS, LOC, scale, TARGET)
    for part, array in {"value": value, **dict(enumerate(grads))}.items():
        bad = np.isnan(array).reshape(NUMBER, -1).any(axis=1)
        assert not bad.any(), f"{part}: {bad.sum()} are NaN, first {np.argmax(bad)}"
    if what == "log_prob":
        assert np.isfinite(value).all()
    if what == "cdf":
        assert ((value >= 0) & (value <= DIM * (1 + 1e-6))).all()
