"""What disagreement cannot see, and what sees it instead, so that nobody relies on it."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from stochwm.calibration import energy_score, kernel_density, pit, pit_tests, rank_of
from stochwm.distributions import DiagNormal, UniformMixture
from stochwm.drift import (
    Accuracy,
    Calibration,
    Coverage,
    MutualInformation,
    Rehearsal,
    auroc,
    cdf_disagreement,
    energy_distance,
    epistemic_variance,
    total_variance,
)

KEY = jax.random.key(0)


def test_a_bias_that_all_members_share_looks_like_knowledge():
    """Five normals with the right mean and variance, where the world goes left or right.

    They agree, so no measure of disagreement says anything; the PIT of held-out data does.
    """
    rng = np.random.default_rng(0)
    came = rng.choice([-1.0, 1.0], 400) + 0.1 * rng.normal(size=400)
    members = DiagNormal(0.01 * rng.normal(size=(5, 1)), np.full((5, 1), np.sqrt(1.01)))
    prediction = UniformMixture(jax.tree.map(jnp.asarray, members))
    assert float(epistemic_variance(prediction)) < 1e-3
    assert float(cdf_disagreement(prediction)) < 1e-3
    assert float(MutualInformation(key=KEY)(prediction)) < 1e-3
    levels = jax.vmap(lambda y, key: pit(prediction, y[None], key=key))(
        jnp.asarray(came, "float32"), jax.random.split(KEY, 400)
    )
    tests = pit_tests(np.asarray(levels)[:, 0], np.arange(400))
    assert tests.cramer_von_mises.p_value < 0.01


def test_chance_leaks_into_the_total_variance():
    """Where a world is random, its total variance is large, and a flag on it stares at noise."""
    noisy = UniformMixture(DiagNormal(jnp.zeros((5, 1)), jnp.full((5, 1), 3.0)))
    unknown = UniformMixture(DiagNormal(jnp.linspace(-1, 1, 5)[:, None], jnp.full((5, 1), 0.1)))
    assert total_variance(noisy) > total_variance(unknown)
    assert epistemic_variance(noisy) == 0 < epistemic_variance(unknown)


def test_a_latent_attractor_hides_that_the_clouds_have_left_the_world():
    """Members that fall into one point agree there, however wrong it is."""
    far = 0.01 * jax.random.normal(KEY, (5, 40, 2)) + jnp.array([30.0, -30.0])
    assert float(energy_distance(far)) < 0.01


def test_a_step_counter_explains_a_pooled_correlation():
    """Error and disagreement both grow along a rollout, and are unrelated at every step.

    Pooled over steps they correlate; so figures are given at fixed horizons, too.
    """
    rng = np.random.default_rng(1)
    growth = np.linspace(1, 10, 30)
    error, disagreement = (growth * rng.uniform(0.75, 1.25, (200, 30)) for _ in range(2))
    assert spearmanr(error.ravel(), disagreement.ravel())[0] > 0.9
    at_fixed = [
        auroc(disagreement[:, h], error[:, h] > np.quantile(error[:, h], 0.8)) for h in (0, 14, 29)
    ]
    assert all(0.35 < float(a) < 0.65 for a in at_fixed)


def test_a_cloud_of_all_that_ever_happens_is_calibrated():
    """A clock is certain, and a model that has lost its phase keeps every promise about regions."""
    phase = 2 * jnp.pi * jax.random.uniform(KEY, (300, 1)) + jnp.arange(6.0)
    came = jnp.stack([jnp.cos(phase), jnp.sin(phase)], axis=-1)
    anywhere = 2 * jnp.pi * jax.random.uniform(jax.random.key(1), (300, 6, 32))
    clouds = jnp.stack([jnp.cos(anywhere), jnp.sin(anywhere)], axis=-1)
    rank = lambda cloud, x, key: rank_of(kernel_density, cloud, x, key=key)  # noqa: E731
    keys = jax.random.split(KEY, (300, 6))
    levels = 1 - jax.jit(jax.vmap(jax.vmap(rank)))(clouds, came, keys)
    rehearsal = Rehearsal(np.cumsum(np.ones((300, 1, 6)), -1), np.asarray(levels, float))
    for promise in (Coverage(risk=0.1, horizon=6), Calibration(0.1, horizon=6)):
        assert promise.threshold(rehearsal) == np.inf
    error = jax.vmap(jax.vmap(energy_score))(clouds, came)
    assert float(jnp.mean(error)) > 0.5  # a radius is 1, and right would be 0
    seen = rehearsal._replace(distance=2 * np.asarray(error, float))
    assert Accuracy(0.5, horizon=6).threshold(seen) < 1  # nothing is trusted
