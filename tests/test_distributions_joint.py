import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.distributions import (
    DiagNormal,
    DiagNormalMixture,
    Joint,
    LatentStateDistribution,
    OneHotCategoricals,
)

NORMAL = DiagNormal([1.0], [0.5])
MIXTURE = DiagNormalMixture([0.0, jnp.log(3.0)], [[-2.0], [2.0]], [[0.1], [0.1]])
CHOICE = OneHotCategoricals(jnp.log(jnp.array([0.2, 0.8])))
MIXED = Joint([NORMAL, CHOICE])


def test_numbers_beside_categories():
    x = jnp.array([1.5, 0.0, 1.0])
    density = np.exp(-0.5) / np.sqrt(2 * np.pi * 0.25)
    np.testing.assert_allclose(MIXED.log_prob(x), np.log(density * 0.8), rtol=1e-5)
    np.testing.assert_allclose(MIXED.mean(), [1.0, 0.2, 0.8], rtol=1e-6)
    np.testing.assert_allclose(MIXED.mode(), [1.0, 0.0, 1.0])
    covariance = [[0.25, 0, 0], [0, 0.16, -0.16], [0, -0.16, 0.16]]
    np.testing.assert_allclose(MIXED.covariance(), covariance, atol=1e-6)
    entropy = 0.5 * np.log(2 * np.pi * np.e * 0.25) - 0.2 * np.log(0.2) - 0.8 * np.log(0.8)
    np.testing.assert_allclose(MIXED.entropy(), entropy, rtol=1e-5)
    np.testing.assert_allclose(MIXED.entropy_bounds(), [entropy, entropy], rtol=1e-5)
    draws = jax.vmap(lambda key: MIXED.sample(seed=key))(jax.random.split(jax.random.key(0), 500))
    np.testing.assert_array_equal(draws[:, 1:].sum(-1), 1.0)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.2
    again = MIXED.push(MIXED.abduct(draws[0], key=jax.random.key(1)))
    np.testing.assert_allclose(again, draws[0], rtol=1e-5)


def test_modes_are_all_combinations():
    modes = Joint([MIXTURE, CHOICE]).modes()
    rows = {
        tuple(np.round(row).tolist()): w for row, w in zip(modes.loc, modes.weight, strict=True)
    }
    expected = {(-2, 1, 0): 0.05, (-2, 0, 1): 0.2, (2, 1, 0): 0.15, (2, 0, 1): 0.6}
    assert rows.keys() == expected.keys()
    for row, weight in expected.items():
        np.testing.assert_allclose(rows[row], weight, rtol=1e-4)
    density = jax.vmap(Joint([MIXTURE, CHOICE]).log_prob)(modes.loc)
    np.testing.assert_allclose(modes.log_density, density, rtol=1e-4)


def test_divergences_add():
    other = Joint([DiagNormal([0.0], [1.0]), OneHotCategoricals(jnp.zeros(2))])
    expected = NORMAL.kl_divergence(other.parts[0]) + CHOICE.kl_divergence(other.parts[1])
    np.testing.assert_allclose(MIXED.kl_divergence(other), expected, rtol=1e-6)
    np.testing.assert_allclose(MIXED.kl_bounds(other), [expected, expected], rtol=1e-6)
    for method in (MIXED.kl_divergence, MIXED.kl_bounds):
        with pytest.raises(NotImplementedError, match="against DiagNormal"):
            method(DiagNormal(jnp.zeros(3), jnp.ones(3)))


def test_the_twin_agrees():
    x = jnp.array([0.3, 1.9])
    joint = Joint([NORMAL, MIXTURE])
    np.testing.assert_allclose(
        joint.to_distrax().log_prob(tuple(joint.split(x))), joint.log_prob(x), rtol=1e-5
    )


def test_what_is_not_a_part_is_named():
    with pytest.raises(ValueError, match="at least one"):
        Joint([])
    with pytest.raises(TypeError, match=r"parts\[1\].*LatentStateDistribution"):
        Joint([NORMAL, LatentStateDistribution(jnp.zeros(1), CHOICE)])
