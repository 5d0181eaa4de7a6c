"""Measures at work: on a world model's step, inside a jitted scan, along TS-infinity futures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from stochwm import imagine
from stochwm.calibration import open_loop
from stochwm.distributions import DiagNormal
from stochwm.drift import (
    MutualInformation,
    by_member,
    cdf_disagreement,
    disagreement,
    disagreement_along,
    draw_clouds,
    energy_distance,
    epistemic_variance,
)
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble, Standardised, Standardiser

MEMBERS, STEPS, KEY = 3, 4, jax.random.key(0)


class Step(AbstractTransition):
    """Moves by a speed of its own, but only where the state is positive."""

    speed: Float[Array, ""]

    def __call__(self, state: Float[Array, " 2"], action: Float[Array, " 1"]) -> DiagNormal:
        return DiagNormal(state + self.speed * (state > 0), jnp.full(2, 0.1))


def ensemble_of(speeds=(-1.0, 0.0, 1.0)) -> Ensemble:
    made = Ensemble(lambda key: Step(jnp.zeros(())), MEMBERS, key=KEY)
    return eqx.tree_at(lambda e: e.members.speed, made, jnp.asarray(speeds))


def world(*speeds):
    return Markov(ensemble_of(*speeds))


def standardised(inside):
    """The same ensemble in other units: members wrapped one by one, or all of it."""
    units = [Standardiser(jnp.zeros(n), jnp.full(n, 2.0)) for n in (2, 1, 2)]
    if not inside:
        return Markov(Standardised(ensemble_of(), *units))
    members = eqx.filter_vmap(lambda kernel: Standardised(kernel, *units))(ensemble_of().members)
    return Markov(eqx.tree_at(lambda e: e.members, ensemble_of(), members))


@eqx.filter_jit
def disagreements(model, states, measure):
    return jax.vmap(lambda state: disagreement(model, state, jnp.zeros(1), measure))(states)


def test_members_disagree_where_they_do():
    states = jnp.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    variance = disagreements(world(), states, epistemic_variance)
    np.testing.assert_allclose(variance, [0, 2 / 3, 4 / 3], atol=1e-6)
    information = disagreements(world(), states, MutualInformation(key=KEY))
    np.testing.assert_allclose(information, [0, np.log(3), np.log(3)], atol=1e-4)


@pytest.mark.parametrize("inside", [False, True])
def test_units_of_the_network_do_not_matter(inside):
    states = jnp.array([[-1.0, 1.0]])
    found = disagreements(standardised(inside), states, epistemic_variance)
    np.testing.assert_allclose(found, [4 * 2 / 3], rtol=1e-6)  # it predicts changes, times two


def test_measures_run_inside_a_rollout():
    """As a guard does: in the scan, on the prediction that the rollout makes anyway."""
    measure = MutualInformation(key=KEY, num_samples=8)

    @eqx.filter_jit
    def dream(model, state, measure):
        record = lambda state, action, prediction, next_state: measure(prediction)  # noqa: E731
        policy = lambda state, *, key: jnp.zeros(1)  # noqa: E731
        return imagine(model, policy, state, key=KEY, length=STEPS, record=record)[1]

    dreamt = dream(world(), jnp.array([1.0, -9.0]), measure)
    alone = disagreements(world(), dreamt.state, measure)
    np.testing.assert_allclose(dreamt.aux, alone, rtol=1e-5, atol=1e-6)
    assert dreamt.aux[0] > 1.0


def test_clouds_drift_apart_along_a_rollout():
    def along(speeds):
        actions, start = jnp.zeros((STEPS, 1)), jnp.array([9.0, -9.0])
        futures = open_loop(world(speeds), start, actions, key=KEY, particles=10 * MEMBERS)
        measures = {"energy": energy_distance, "cdf": cdf_disagreement}
        measured = {n: disagreement_along(futures, MEMBERS, m) for n, m in measures.items()}
        return by_member(futures, MEMBERS), measured

    speeds = np.array([[-1.0, 0.0, 1.0], [0.5, 0.5, 0.5]])
    clouds, measured = jax.jit(jax.vmap(along))(speeds)
    assert clouds.shape == (2, STEPS, MEMBERS, 10, 2)
    moved = np.arange(1, STEPS + 1)[:, None] * speeds[:, None]
    np.testing.assert_allclose(clouds[..., 0].mean(3) - 9, moved, atol=0.3)
    np.testing.assert_allclose(clouds[..., 1].mean(3), -9, atol=0.3)
    for apart, together in measured.values():
        assert np.all(np.diff(apart) > 0.3)
        assert np.all(np.abs(together) < 0.1)


def test_draws_are_those_of_the_members():
    prediction = eqx.filter_jit(world().transition)(jnp.array([5.0, -5.0]), jnp.zeros(1))
    clouds = draw_clouds(prediction, key=KEY, particles=100)
    np.testing.assert_allclose(clouds.mean(1), [[4, -5], [5, -5], [6, -5]], atol=0.05)
    assert len(np.unique(np.asarray(clouds[..., 0]) - np.array([[4.0], [5.0], [6.0]]))) > 200


def test_refused():
    kernel = ensemble_of().member(0)
    with pytest.raises(TypeError, match="only the members of an Ensemble, or the prior heads"):
        disagreement(Markov(kernel), jnp.ones(2), jnp.zeros(1), epistemic_variance)
    with pytest.raises(ValueError, match=r"futures must be \[particles, horizon, state\]"):
        by_member(np.zeros((4, 2)), 2)
    with pytest.raises(ValueError, match="must divide the number of particles"):
        by_member(np.zeros((4, 2, 1)), 3)
    with pytest.raises(ValueError, match="particles must be at least 1"):
        draw_clouds(world().transition(jnp.ones(2), jnp.zeros(1)), key=KEY, particles=0)
