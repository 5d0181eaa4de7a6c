"""The three loops: laws, a linear-Gaussian oracle, a Kalman filter, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from stochwm import imagine, observe, replay
from stochwm._rollout import step_times
from stochwm.distributions import (
    AbstractDistribution,
    DiagNormal,
    DiagNormalMixture,
    FullNormal,
    LatentState,
    LatentStateDistribution,
)
from stochwm.models import AbstractFilter, Markov
from stochwm.transitions import AbstractTransition, Gaussian
from tests.cases_models import UnindexedHead, distance, stays_near
from tests.precision import x64

KEY = jax.random.key(0)
A = np.array([[0.9, 0.3], [-0.2, 0.8]], "float32")
B = np.array([[0.5], [1.0]], "float32")
TRIL = np.array([[0.3, 0.0], [-0.2, 0.4]], "float32")
START = jnp.array([1.0, -2.0])


class Linear(AbstractTransition):
    """s' = A s + B a + L w, w ~ N(0, 1)."""

    a: Array = eqx.field(converter=jnp.asarray, default_factory=lambda: A)
    b: Array = eqx.field(converter=jnp.asarray, default_factory=lambda: B)
    tril: Array = eqx.field(converter=jnp.asarray, default_factory=lambda: TRIL)

    def __call__(self, state, action):
        return FullNormal(self.a @ state + self.b @ action, self.tril)


MODEL = Markov(Linear(), distance, stays_near)
GAIN, JITTER = np.array([[-0.3, 0.2]], "float32"), 0.5


def policy(state, *, key):
    """Linear in the state, with noise of its own."""
    return GAIN @ state + JITTER * jax.random.normal(key, (1,))


@eqx.filter_jit
def run(key, length):
    return imagine(MODEL, policy, START, key=key, length=length)


@pytest.fixture(scope="module")
def future():
    return run(KEY, 5)


def assert_close(came, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), came, want)


# --- laws -------------------------------------------------------------------------------------
def test_imagine_is_the_python_loop(future):
    last, trajectory = future
    state = START
    for t in range(5):
        key_act, key_draw = jax.random.split(jax.random.fold_in(KEY, t))
        action = policy(state, key=key_act)
        next_state = MODEL.transition(state, action).sample(seed=key_draw)
        row = jax.tree.map(lambda x, t=t: x[t], trajectory)
        assert_close((row.state, row.action), (next_state, action))
        assert_close(row.reward, distance(state, action, next_state))
        assert_close(row.discount, stays_near(state, action, next_state))
        state = next_state
    assert_close(last, state)


def test_a_longer_future_extends_a_shorter_one(future):
    shorter = run(KEY, 2)[1]
    assert_close(shorter, jax.tree.map(lambda x: x[:2], future[1]))


def test_rows_of_a_batch_are_single_runs(future):
    keys = jnp.stack([jax.random.key(7), KEY])
    rows = jax.vmap(lambda key: run(key, 5))(keys)
    assert_close(jax.tree.map(lambda x: x[1], rows), future)
    assert np.abs(rows[0][0] - rows[0][1]).min() > 1e-3


def test_replay_repeats_imagine(future):
    again = eqx.filter_jit(replay)(MODEL, START, future[1].action, key=KEY)
    assert_close(again, future)


def test_a_replay_under_other_actions_is_another_future(future):
    other = eqx.filter_jit(replay)(MODEL, START, future[1].action + 1.0, key=KEY)
    # The same noise under another action: the difference is known without any sampling.
    want = np.linalg.multi_dot([A, B])[:, 0] + B[:, 0]
    assert_close(other[1].state[1] - future[1].state[1], want)


def test_unrolling_changes_nothing(future):
    unrolled = eqx.filter_jit(imagine)(MODEL, policy, START, key=KEY, length=5, unroll=5)
    assert_close(unrolled, future)


def test_save_and_record_decide_what_is_kept(future):
    def record(state, action, prediction, next_state):
        return {"prediction": prediction, "moved": next_state - state}

    last, trajectory = eqx.filter_jit(imagine)(
        MODEL, policy, START, key=KEY, length=5, save=lambda s: {"second": s[1]}, record=record
    )
    assert_close(last, future[0])
    assert_close(trajectory.state["second"], future[1].state[:, 1])
    before = jnp.concatenate([START[None], future[1].state[:-1]])
    assert_close(trajectory.aux["moved"], future[1].state - before)
    predictions = trajectory.aux["prediction"]
    assert isinstance(predictions, FullNormal)
    log_prob = eqx.filter_vmap(lambda p, x: p.log_prob(x))(predictions, future[1].state)
    assert log_prob.shape == (5,)
    want = MODEL.transition(before[3], future[1].action[3]).log_prob(future[1].state[3])
    assert_close(log_prob[3], want)


def test_states_may_be_pytrees():
    class Walk(AbstractTransition):
        def __call__(self, state, action):
            count = {"steps": state.deter["steps"] + 1}
            return LatentStateDistribution(count, DiagNormal(state.stoch + action, jnp.ones(1)))

    start = LatentState({"steps": jnp.array(0)}, jnp.zeros(1))
    stay = lambda state, *, key: jnp.zeros(1)  # noqa: E731
    last, trajectory = imagine(Markov(Walk()), stay, start, key=KEY, length=3)
    assert last.deter["steps"] == 3
    np.testing.assert_array_equal(trajectory.state.deter["steps"], [1, 2, 3])
    assert trajectory.state.stoch.shape == (3, 1)


# --- the linear-Gaussian oracle ---------------------------------------------------------------
def test_moments_follow_the_matrix_recursion():
    """s' = (A + B K) s + B sigma e + L w: moments in closed form, lag-1 covariance included."""
    length, particles = 20, 50_000
    keys = jax.random.split(jax.random.key(4), particles)
    states = np.asarray(jax.vmap(lambda key: run(key, length)[1].state)(keys), "float64")
    closed = (A + B @ GAIN).astype("float64")
    noise = JITTER**2 * B @ B.T + TRIL @ TRIL.T
    mean, cov = np.asarray(START, "float64"), np.zeros((2, 2))
    for t in range(length):
        lagged = cov @ closed.T
        mean, cov = closed @ mean, closed @ cov @ closed.T + noise
        spread = np.sqrt(np.diag(cov))
        error = (states[:, t].mean(axis=0) - mean) / (spread / np.sqrt(particles))
        assert np.abs(error).max() < 5, f"mean at step {t}"
        sampled = np.cov(states[:, t - 1], states[:, t], rowvar=False)
        # Standard errors of sample covariances of normals: sqrt((c_ii c_jj + c_ij^2) / N).
        allowed = np.sqrt((np.outer(spread**2, spread**2) + cov**2) / particles)
        assert (np.abs(sampled[2:, 2:] - cov) < 5 * allowed).all(), f"covariance at step {t}"
        if t > 0:
            assert (np.abs(sampled[:2, 2:] - lagged) < 5 * allowed.max()).all(), f"lag at {t}"


# --- what is refused, and NaN -----------------------------------------------------------------
@pytest.mark.parametrize("length", [0, -1])
def test_no_step_is_refused(length):
    with pytest.raises(ValueError, match=f"length must be at least 1 step, but is {length}"):
        imagine(MODEL, policy, START, key=KEY, length=length)


def test_half_a_step_is_refused():
    with pytest.raises(TypeError, match=r"whole number of steps, but is 3\.5"):
        step_times(3.5)  # by itself, since tests check the types that `imagine` is given before
    assert step_times(np.int64(2)).shape == (2,)


@pytest.mark.parametrize("actions", [jnp.zeros((0, 1)), jnp.zeros(())])
def test_a_plan_without_actions_is_refused(actions):
    with pytest.raises(ValueError, match="length must be at least 1 step, but is 0"):
        replay(MODEL, START, actions, key=KEY)


def test_a_start_that_is_nan_is_named():
    with pytest.raises(FloatingPointError, match="NaN or infinite at step 0"):
        imagine(MODEL, policy, jnp.array([jnp.nan, 0.0]), key=KEY, length=3)


def test_the_first_bad_step_is_named():
    plan = jnp.zeros((5, 1)).at[3].set(jnp.inf)
    with pytest.raises(FloatingPointError, match="NaN or infinite at step 3"):
        replay(MODEL, START, plan, key=KEY)


@pytest.mark.parametrize("head", ["reward_head", "discount_head"])
def test_a_bad_head_is_named_before_a_state_that_goes_bad_later(head):
    model = Markov(Linear(), **{head: lambda s, a, n: jnp.where(a[0] > 1, jnp.nan, 0.0)})
    plan = jnp.zeros((5, 1)).at[2].set(2.0).at[3].set(jnp.inf)
    with pytest.raises(FloatingPointError, match="NaN or infinite at step 2"):
        replay(model, START, plan, key=KEY)


def test_a_bad_action_is_named_where_the_model_does_not_look_at_it():
    plan = jnp.zeros((4, 1)).at[2].set(jnp.nan)
    with pytest.raises(FloatingPointError, match="NaN or infinite at step 2"):
        replay(Markov(BrokenMixture()), START, plan, key=KEY)


def test_what_save_dropped_is_checked_too():
    plan = jnp.zeros((3, 1))
    with pytest.raises(FloatingPointError, match="a part that save= dropped"):
        replay(Markov(Linear()), START * jnp.nan, plan, key=KEY, save=jnp.zeros_like)


def test_a_start_of_whole_numbers_and_a_list_of_actions_are_refused():
    with pytest.raises(TypeError, match=r"state must have the dtype .* float\d+, but has int\d+"):
        imagine(MODEL, policy, jnp.array([1, -2]), key=KEY, length=2)
    with pytest.raises(TypeError, match="policy must return an array .* a list"):
        imagine(MODEL, lambda state, *, key: [state[0]], START, key=KEY, length=2)


@pytest.mark.parametrize("head", ["reward", "discount"])
def test_a_head_that_returns_a_vector_is_refused(head):
    """Against time, `[1]` would be broadcast to `[time, time]`, and sum up to a wrong return."""
    with pytest.raises(ValueError, match=rf"model.{head} .* scalar.* shape \(1,\).*\[0\]"):
        replay(UnindexedHead(Linear(), head), START, jnp.zeros((3, 1)), key=KEY)


class BrokenMixture(AbstractTransition):
    """Its logits become NaN when the action says so; its components stay finite."""

    def __call__(self, state, action):
        logits = jnp.where(action > 0, jnp.nan, jnp.zeros(2))
        return DiagNormalMixture(logits, jnp.zeros((2, 2)), jnp.ones((2, 2)))


def test_inside_jit_nan_logits_give_nan_not_the_first_component():
    plan = jnp.zeros((4, 1)).at[2].set(1.0)
    _, trajectory = eqx.filter_jit(replay)(Markov(BrokenMixture()), START, plan, key=KEY)
    bad = np.isnan(trajectory.state).all(axis=1)
    np.testing.assert_array_equal(bad, [False, False, True, False])


def test_inside_jit_nan_stays_nan_to_the_end():
    plan = jnp.zeros((5, 1)).at[2].set(jnp.nan)
    _, trajectory = eqx.filter_jit(replay)(MODEL, START, plan, key=KEY)
    bad = np.isnan(trajectory.state).any(axis=1)
    np.testing.assert_array_equal(bad, [False, False, True, True, True])


# --- observe: a Kalman filter -----------------------------------------------------------------
C, R = np.array([[1.0, 0.5]], "float32"), 0.2
BELIEF = (np.array([0.5, -0.5], "float32"), 2.0 * np.eye(2, dtype="float32"))


class Kalman(AbstractFilter):
    """o = C s + sqrt(R) v: the belief (mean, covariance) is `deter`, a draw from it is `stoch`."""

    def initial(self):
        return self.belief(*BELIEF).sample(seed=KEY)

    def belief(self, mean, cov):
        tril = jnp.linalg.cholesky(jnp.asarray(cov))
        return LatentStateDistribution(
            (jnp.asarray(mean), jnp.asarray(cov)), FullNormal(mean, tril)
        )

    def transition(self, state, action):
        mean, cov = state.deter
        return self.belief(A @ mean + B @ action, A @ cov @ A.T + TRIL @ TRIL.T)

    def posterior(self, prior, observation):
        mean, cov = prior.deter
        gain = cov @ C.T / (C @ cov @ C.T + R)
        return self.belief(mean + gain @ (observation - C @ mean), cov - gain @ C @ cov)

    def decode(self, state) -> AbstractDistribution:
        return DiagNormal(C @ state.stoch, jnp.sqrt(R) * jnp.ones(1))

    def reward(self, state, action, next_state):
        return jnp.zeros(())

    def discount(self, state, action, next_state):
        return jnp.ones(())


def kalman_in_numpy(observations, actions, is_first):
    """The textbook recursion, with information-form updates, episode after episode."""
    means, covs = [], []
    for t, (observation, first) in enumerate(zip(observations, is_first, strict=True)):
        mean, cov = (x.astype("float64") for x in BELIEF) if first else (means[-1], covs[-1])
        action = np.zeros(1) if first else actions[t - 1]
        mean, cov = A @ mean + B @ action, A @ cov @ A.T + TRIL @ TRIL.T
        precision = np.linalg.inv(cov) + C.T @ C / R
        mean = np.linalg.solve(precision, np.linalg.solve(cov, mean) + C.T @ observation / R)
        means.append(mean)
        covs.append(np.linalg.inv(precision))
    return np.array(means), np.array(covs)


TIME = 16


@pytest.fixture(scope="module")
def sequence():
    """Two episodes, of 7 and 9 steps, with independent actions and observations."""
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(TIME, 1)).astype("float32")
    actions = rng.normal(size=(TIME, 1)).astype("float32")
    is_first = np.isin(np.arange(TIME), [0, 7])
    return observations, actions, is_first


watch = eqx.filter_jit(observe)


@pytest.fixture(scope="module")
def filtered(sequence):
    record = lambda prior, posterior, state: (prior.deter[0], posterior)  # noqa: E731
    return watch(Kalman(), *sequence, key=KEY, record=record)


def test_observe_is_the_kalman_filter_over_two_episodes(sequence, filtered):
    means, covs = kalman_in_numpy(*sequence)
    _, result = filtered
    np.testing.assert_allclose(result.state.deter[0], means, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.state.deter[1], covs, rtol=1e-4, atol=1e-4)


def test_the_prior_uses_the_action_before(sequence, filtered):
    observations, actions, is_first = sequence
    later = kalman_in_numpy(observations, np.roll(actions, -1, axis=0), is_first)[0]
    wrong = np.abs(filtered[1].state.deter[0] - later).max(axis=1)
    # At a first step no action came before; everywhere else an off-by-one would show.
    assert (wrong[is_first] < 1e-4).all()
    assert (wrong[~is_first] > 1e-3).all()


def test_the_state_is_drawn_from_the_posterior(filtered):
    _, posterior = filtered[1].aux
    noise = eqx.filter_vmap(lambda p, x: p.stoch.abduct(x.stoch))(posterior, filtered[1].state)
    assert noise.shape == (TIME, 2)
    assert np.unique(np.asarray(noise)).size == noise.size
    assert 0.5 < np.std(noise) < 1.5


def test_observing_goes_on_where_it_stopped(sequence, filtered):
    first, second = ([x[part] for x in sequence] for part in (slice(0, 4), slice(4, None)))
    carry, start = watch(Kalman(), *first, key=KEY)
    carry, rest = watch(Kalman(), *second, key=KEY, carry=carry)
    means = jnp.concatenate([start.state.deter[0], rest.state.deter[0]])
    assert_close(means, filtered[1].state.deter[0])
    assert_close((carry[0].deter, carry[1]), (filtered[0][0].deter, filtered[0][1]))


def test_an_action_that_has_led_nowhere_yet_may_be_anything(sequence, filtered):
    observations, actions, is_first = map(jnp.asarray, sequence)
    broken = actions.at[-1].set(jnp.nan)
    seen = lambda actions: observe(Kalman(), observations, actions, is_first, key=KEY)  # noqa: E731
    assert_close(seen(broken)[1].state, filtered[1].state)
    with pytest.raises(FloatingPointError, match="at step 3"):
        seen(broken.at[2].set(jnp.nan))


def test_without_a_carry_a_sequence_may_begin_inside_an_episode(sequence):
    observations, actions, _ = (x[:3] for x in sequence)
    never = np.zeros(3, bool)
    begun = never.copy()
    begun[0] = True
    results = [watch(Kalman(), observations, actions, f, key=KEY)[1] for f in (never, begun)]
    assert_close(results[0].state, results[1].state)


@pytest.mark.parametrize("sizes", [(3, 4, 3), (3, 3, 2), (0, 0, 0)])
def test_sequences_of_other_lengths_are_refused(sizes):
    o, a, f = sizes
    with pytest.raises(ValueError, match="observations, actions and is_first .* leading axes"):
        observe(Kalman(), jnp.zeros((o, 1)), jnp.zeros((a, 1)), jnp.zeros(f, bool), key=KEY)


def test_an_observation_that_is_nan_is_named(sequence):
    observations, actions, is_first = sequence
    observations = jnp.asarray(observations).at[5].set(jnp.nan)
    with pytest.raises(FloatingPointError, match="NaN or infinite at step 5.*observation"):
        observe(Kalman(), observations, jnp.asarray(actions), jnp.asarray(is_first), key=KEY)


def test_a_model_in_double_precision_starts_from_single():
    """As recorded episodes are: the state keeps its precision, and the scan its type."""
    with x64():
        kernel = Gaussian(2, 1, width=4, depth=1, key=jax.random.key(0))
        act = lambda state, *, key: jnp.zeros(1)  # noqa: E731
        start = jnp.zeros(2, "float32")
        last, future = imagine(Markov(kernel), act, start, key=jax.random.key(1), length=2)
    assert kernel.network.layers[0].weight.dtype == jnp.float64
    assert last.dtype == future.state.dtype == jnp.float32
