"""Disagreement as a reward changes the reward and nothing else."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from stochwm import imagine
from stochwm.distributions import DiagNormal
from stochwm.drift import DisagreementReward, epistemic_variance
from stochwm.models import AbstractWorldModel, Markov
from stochwm.transitions import AbstractTransition, Ensemble
from tests.cases_models import distance, stays_near

KEY = jax.random.key(0)
PULLS = jnp.array([-0.5, 0.0, 1.1])


class Pull(AbstractTransition):
    """x' ~ N(x + a + pull x, 0.1^2): members agree at 0, and the less the farther away."""

    pull: Float[Array, ""]

    def __call__(self, state: Float[Array, " 1"], action: Float[Array, " 1"]) -> DiagNormal:
        return DiagNormal(state + action + self.pull * state, jnp.full(1, 0.1))


def base() -> Markov:
    ensemble = Ensemble(lambda key: Pull(jnp.zeros(())), 3, key=KEY)
    kernel = eqx.tree_at(lambda e: e.members.pull, ensemble, PULLS)
    return Markov(kernel, distance, stays_near)


@pytest.mark.parametrize("weight", [2.0, -2.0])
def test_the_reward_is_that_of_the_model_and_the_variance_of_means(weight):
    model = DisagreementReward(base(), epistemic_variance, weight)
    policy = lambda state, *, key: jnp.full(1, 0.1)  # noqa: E731
    run = eqx.filter_jit(lambda model: imagine(model, policy, jnp.ones(1), key=KEY, length=4)[1])
    future, bare = run(model), run(base())
    np.testing.assert_allclose(future.state, bare.state, rtol=1e-6)
    np.testing.assert_allclose(future.discount, bare.discount, rtol=1e-6)
    before = np.concatenate([[1.0], np.asarray(bare.state)[:-1, 0]])
    bonus = weight * np.var(np.asarray(PULLS)) * before**2  # the means are x + a + pull x
    np.testing.assert_allclose(future.reward, bare.reward + bonus, rtol=1e-4)
    assert np.abs(bonus).min() > 0.01


class Clocked(AbstractWorldModel):
    """Its state holds a clock, which is not observed."""

    def transition(self, state, action):
        raise NotImplementedError

    def reward(self, state, action, next_state):
        raise NotImplementedError

    def discount(self, state, action, next_state):
        raise NotImplementedError

    def start(self, observation):
        return observation, jnp.zeros(())

    def observed(self, state):
        return state[0]

    def emission(self, state, *, key):
        return state[0] + jax.random.normal(key, (2,))


def test_it_starts_and_shows_what_its_model_does():
    model, seen = DisagreementReward(Clocked(), epistemic_variance, 1.0), jnp.ones(2)
    assert len(model.start(seen)) == 2
    assert model.observed(model.start(seen)) is seen
    emitted = seen + jax.random.normal(KEY, (2,))
    np.testing.assert_array_equal(model.emission(model.start(seen), key=KEY), emitted)


def test_a_schedule_of_weights_does_not_compile_again():
    traces = []

    @eqx.filter_jit
    def reward(model):
        traces.append(model)
        return model.reward(jnp.ones(1), jnp.ones(1), jnp.ones(1))

    first, second = (reward(DisagreementReward(base(), epistemic_variance, w)) for w in (1, 3.0))
    assert len(traces) == 1
    assert float(second - first) == pytest.approx(2 * np.var(np.asarray(PULLS)), rel=1e-4)


@pytest.mark.parametrize("weight", [[1.0, 2.0], float("nan"), float("inf")])
def test_a_weight_is_one_finite_number(weight):
    with pytest.raises(ValueError, match="weight"):
        DisagreementReward(base(), epistemic_variance, weight)


def test_a_model_without_members_cannot_disagree():
    model = DisagreementReward(Markov(Pull(jnp.zeros(()))), epistemic_variance, 1.0)
    with pytest.raises(TypeError, match="ensemble"):
        model.reward(jnp.ones(1), jnp.ones(1), jnp.ones(1))
