"""The cross-entropy method against plans that are known to be best."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from stochwm import AbstractGuard, Trajectory
from stochwm.distributions import DiagNormal
from stochwm.models import Markov
from stochwm.planning import cem, discounted_return
from stochwm.transitions import AbstractTransition
from tests.cases_models import UnindexedHead
from tests.precision import x64

KEY = jax.random.key(0)
HORIZON, EFFORT, GAMMA, BOX = 3, 0.5, 0.9, 0.7
SEARCH = {"num_candidates": 128, "num_elites": 16, "num_iterations": 6, "num_particles": 64}


class Push(AbstractTransition):
    """x' ~ N(x + a, noise^2)."""

    noise: Float[Array, ""]

    def __call__(self, state: Float[Array, " 1"], action: Float[Array, " 1"]) -> DiagNormal:
        return DiagNormal(state + action, jnp.full(1, self.noise))


def quadratic(state, action, next_state):
    return -(next_state[0] ** 2) - EFFORT * action[0] ** 2


@jax.jit
def plan_lq(start, noise, key):
    model = Markov(Push(noise), quadratic)
    box = {"action_low": [-BOX], "action_high": [BOX]}
    return cem(model, start[None], key=key, horizon=HORIZON, discount=GAMMA, **box, **SEARCH)


def best_plan(start: float) -> tuple[np.ndarray, float]:
    """Least squares in float64: states are `start + L a`, and noise adds the same to every plan."""
    sums, weight = np.tril(np.ones((HORIZON, HORIZON))), np.diag(GAMMA ** np.arange(HORIZON))
    hessian = sums.T @ weight @ sums + EFFORT * weight
    actions = -np.linalg.solve(hessian, sums.T @ weight @ np.full(HORIZON, start))
    states = start + sums @ actions
    return actions, -float(weight.diagonal() @ (states**2 + EFFORT * actions**2))


def test_bounds_of_a_space_plan_in_double_precision_too():
    """Those of a Gymnasium space are of single precision, and so are its actions then."""
    small = {"num_candidates": 4, "num_elites": 2, "num_iterations": 2}
    box = {"action_low": np.float32([-BOX]), "action_high": np.float32([BOX])}
    with x64():
        model = Markov(Push(jnp.array(0.1)), quadratic)
        plan = cem(model, jnp.ones(1), key=jax.random.key(0), horizon=2, **box, **small)
    assert plan.actions.dtype == jnp.float32
    assert np.isfinite(plan.value)


@pytest.mark.parametrize("noise", [1e-3, 0.2])
def test_the_plan_is_that_of_linear_quadratic_control(noise):
    actions, value = best_plan(0.8)
    assert np.all(np.abs(actions) < BOX)
    plan = plan_lq(jnp.asarray(0.8), jnp.asarray(noise), KEY)
    # A mean of 64 futures: its optimum is off by some noise / sqrt(64).
    np.testing.assert_allclose(plan.actions[:, 0], actions, atol=0.02 + noise / 2)
    variances = noise**2 * np.arange(1, HORIZON + 1)  # which every plan pays for
    expected = value - GAMMA ** np.arange(HORIZON) @ variances
    assert float(plan.value) == pytest.approx(expected, abs=0.005 + 0.5 * noise)
    assert float(plan.value) < value + 0.005


def test_a_plan_that_wants_more_than_the_box_gets_its_edge():
    plan = plan_lq(jnp.asarray(5.0), jnp.asarray(1e-3), KEY)
    np.testing.assert_allclose(plan.actions[:2, 0], -BOX, atol=0.01)
    np.testing.assert_allclose(plan.actions[2:, 0], -BOX, atol=0.1)  # it matters a fifth as much
    assert np.all(np.abs(plan.actions) <= np.float32(BOX))


def test_rows_of_a_batch_are_single_plans_and_keys_matter():
    starts, keys = jnp.array([0.8, 0.8, -0.3]), jax.random.split(KEY, 3)
    plans = jax.vmap(plan_lq, (0, None, 0))(starts, jnp.asarray(0.2), keys)
    for i, (start, key) in enumerate(zip(starts, keys, strict=True)):
        alone = plan_lq(start, jnp.asarray(0.2), key)
        np.testing.assert_allclose(plans.actions[i], alone.actions, atol=1e-5)
        np.testing.assert_allclose(plans.value[i], alone.value, atol=1e-4)
    assert not np.allclose(plans.actions[0], plans.actions[1], atol=1e-5)


def test_a_prediction_of_nan_gives_a_plan_of_nan():
    plan = plan_lq(jnp.asarray(0.8), jnp.asarray(jnp.nan), KEY)
    assert np.isnan(plan.value)
    assert np.isnan(plan.actions).all()


def test_candidates_whose_return_is_nan_are_not_the_best():
    """The best candidates are those at the upper edge, but above 0.2 the model is broken."""
    model = Markov(
        Push(jnp.asarray(1e-3)), lambda s, a, n: jnp.where(a[0] > 0.2, jnp.nan, a[0]) + 0 * n[0]
    )
    options = {"horizon": 1, "action_low": [-1.0], "action_high": [1.0], "num_candidates": 64}
    plan = jax.jit(lambda key: cem(model, jnp.zeros(1), key=key, **options))(KEY)
    assert 0.1 < float(plan.actions[0, 0]) < 0.2
    assert np.isfinite(plan.value)


@pytest.mark.parametrize("head", ["reward", "discount"])
def test_a_head_that_returns_a_vector_is_refused(head):
    model = UnindexedHead(Push(jnp.asarray(0.1)), head)
    with pytest.raises(ValueError, match=f"model.{head} must return a scalar"):
        cem(model, jnp.zeros(1), key=KEY, horizon=2, action_low=[-1.0], action_high=[1.0])


def test_the_return_of_many_futures_is_refused():
    futures = Trajectory(*[jnp.ones((3, 1))] * 4, aux=None)
    with pytest.raises(ValueError, match=r"one future.*\(3, 1\)"):
        discounted_return(futures)


# --- luck -------------------------------------------------------------------------------------
class Lottery(AbstractTransition):
    """x' ~ N(0, 1)."""

    def __call__(self, state: Float[Array, " 1"], action: Float[Array, " 1"]) -> DiagNormal:
        return DiagNormal(jnp.zeros(1), jnp.ones(1))


def lucky(reward, keys, **options):
    """Plans of one step where what comes does not depend on it, one future a candidate."""
    model = Markov(Lottery(), reward)
    box = {"action_low": [-1.0], "action_high": [1.0], "horizon": 1}
    one = lambda key: cem(model, jnp.zeros(1), key=key, **box, **options)  # noqa: E731
    return jax.jit(jax.vmap(one))(jax.random.split(KEY, keys))


def test_luck_does_not_pick_the_elites():
    """A hundredth of the spread of returns: only candidates that meet the same noise show it."""
    plans = lucky(lambda state, action, next_state: next_state[0] + 0.01 * action[0], 20)
    assert np.all(plans.actions > 0.9)


def test_a_plan_is_valued_by_futures_that_its_search_did_not_see():
    """A bet on the sign of what comes: seen beforehand it wins .8, else nothing on average."""
    plans = lucky(lambda state, action, next_state: next_state[0] * action[0], 400)
    assert np.mean(np.abs(plans.actions)) > 0.5
    assert abs(np.mean(plans.value)) < 4 / np.sqrt(400)


def test_the_first_candidates_have_half_of_the_box_as_their_deviation():
    """All are elites, and so the plan is their mean: of two normals, clipped at one deviation."""
    all_of_two = {"num_candidates": 2, "num_elites": 2, "num_iterations": 1}
    plans = lucky(lambda state, action, next_state: action[0], 2000, **all_of_two)
    clipped = np.random.default_rng(0).normal(size=(100_000, 2)).clip(-1, 1).mean(axis=1)
    assert np.std(plans.actions) == pytest.approx(np.std(clipped), rel=0.07)


# --- where a future ends ----------------------------------------------------------------------
class Below(AbstractGuard):
    """Trusts predictions below an edge."""

    edge: Float[Array, ""]

    def initial(self) -> Float[Array, ""]:
        return jnp.zeros(())

    def step(self, memory, prediction):
        return memory, prediction.mean()[0] < self.edge


@pytest.mark.parametrize("edge", [1.0, jnp.inf])
def test_a_plan_stays_where_the_guard_trusts_it(edge):
    # Steps of at most 0.4 from 0, and x' a step: sum of min(0.4 t, edge) at best.
    model = Markov(Push(jnp.asarray(1e-4)), lambda state, action, next_state: next_state[0])
    box = {"action_low": [-0.4], "action_high": [0.4], "guard": Below(jnp.asarray(edge))}
    # So many candidates that the search succeeds whatever its key.
    search = SEARCH | {"num_candidates": 512, "num_particles": 1}
    plan = cem(model, jnp.zeros(1), key=KEY, horizon=5, **box, **search)
    best = np.minimum(0.4 * np.arange(1, 6), edge)
    assert float(plan.value) == pytest.approx(best.sum(), rel=0.05)
    np.testing.assert_allclose(np.cumsum(plan.actions[:, 0]), best, atol=0.15)


def test_the_return_ends_with_the_episode():
    rng = np.random.default_rng(0)
    reward, goes_on = rng.normal(size=6), rng.uniform(size=6) * np.array([1, 1, 1, 0, 1, 1])
    expected, weight = 0.0, 1.0
    for t in range(6):
        expected += weight * reward[t]
        weight *= 0.9 * goes_on[t]
    future = Trajectory(
        jnp.zeros((6, 1)), jnp.zeros((6, 1)), jnp.asarray(reward), jnp.asarray(goes_on), None
    )
    assert float(discounted_return(future, 0.9)) == pytest.approx(expected, rel=1e-5)
    cut = eqx.tree_at(lambda f: f.reward, future, future.reward.at[4:].set(1e6))
    assert float(discounted_return(cut, 0.9)) == pytest.approx(expected, rel=1e-5)


# --- what is refused --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"horizon": 0}, "horizon"),
        ({"num_iterations": 0}, "num_iterations"),
        ({"num_particles": 0}, "num_particles"),
        ({"num_elites": 1}, "num_elites"),
        ({"num_elites": 65}, "num_elites"),
        ({"action_low": [-1.0, -1.0]}, "action_low"),
        ({"action_low": -1.0, "action_high": 1.0}, "action_low"),
        ({"action_low": [-jnp.inf]}, "action_low"),
        ({"action_low": [1.0]}, "action_high - action_low"),
        ({"discount": 1.5}, "discount"),
        ({"discount": -0.1}, "discount"),
        ({"discount": jnp.nan}, "discount"),
        ({"discount": jnp.full(2, 0.9)}, "discount"),
    ],
)
def test_impossible_arguments_are_named(wrong, named):
    options = {"horizon": 2, "action_low": [-1.0], "action_high": [1.0]} | wrong
    with pytest.raises(ValueError, match=named):
        cem(Markov(Push(jnp.asarray(0.1))), jnp.zeros(1), key=KEY, **options)
