"""Recalibration by horizon, conformal guarantees, and streams that drift."""

import math

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from stochwm import imagine, replay
from stochwm._storage import load_tree, save_tree
from stochwm.agents.returns import lambda_returns
from stochwm.calibration import (
    Adaptive,
    AdaptiveLevel,
    ByStep,
    Spread,
    central_box,
    choose_starts,
    conformal_quantile,
    covered,
    episode_scores,
    fit_adaptive,
    fit_by_step,
    fit_conformal,
    needed_spread,
    recalibrate,
    spread,
)
from stochwm.calibration.by_step import _roll
from stochwm.calibration.starts import Starts
from stochwm.data import Episodes, FlatSpace
from stochwm.distributions import (
    Censored,
    DiagNormal,
    DiagNormalMixture,
    LatentState,
    SymlogNormal,
    UniformMixture,
)
from stochwm.envs import DreamEnv
from stochwm.models import Markov, on_observations
from stochwm.planning import cem
from stochwm.testing import check_world_model
from stochwm.transitions import AbstractTransition
from tests.cases_models import distance, stays_near

KEY = jax.random.key(0)
NOISE, DRIFT = 0.2, 0.15


class Walk(AbstractTransition):
    """s' = s + a + scale * noise."""

    scale: Float[Array, " dim"]

    def __call__(self, state, action):
        return DiagNormal(state + action, self.scale)


def episodes(number, length, drift, seed):
    """Walks with a drift of their own that no single step shows, beside noise."""
    rng = np.random.default_rng(seed)
    action = 0.3 * rng.normal(size=(number, length + 1, 1))
    moves = action[:, :-1] + NOISE * rng.normal(size=(number, length, 1))
    moves += drift * rng.normal(size=(number, 1, 1))
    state = np.concatenate([np.zeros((number, 1, 1)), np.cumsum(moves, axis=1)], axis=1)
    at = np.tile(np.arange(length + 1), number)
    flags = (at == 0, at == length, np.zeros(len(at), bool))
    flat = (state.reshape(-1, 1), action.reshape(-1, 1), np.zeros(len(at)))
    line = FlatSpace(1, (-math.inf,), (math.inf,), (), ("x",))
    return Episodes(*flat, *flags, observation_space=line, action_space=line)


HORIZONS = (1, 2, 4, 8)
HOLDOUT, TEST = (episodes(150, 10, DRIFT, seed) for seed in (0, 1))
MODEL = Markov(Walk(jnp.array([0.5 * NOISE])), distance, stays_near)


def coverage_by_horizon(model):
    """Of central 90 % intervals of imagined particles, at each of the test horizons."""
    starts = choose_starts(TEST, 400, 8)

    @eqx.filter_jit
    def clouds(model, states, actions, keys):
        def one(state, actions, key):
            run = lambda key: replay(model, model.start(state), actions, key=key)[1].state  # noqa: E731
            return jax.vmap(lambda key: model.observed(run(key)))(jax.random.split(key, 99))

        return jax.vmap(one)(states, actions, keys)

    keys = jax.random.split(KEY, len(starts.state))
    particles = clouds(model, starts.state, starts.action, keys)[:, :, np.array(HORIZONS) - 1]
    inside = jax.vmap(jax.vmap(covered, (1, 0)))(
        particles, starts.future[:, np.array(HORIZONS) - 1]
    )
    mask = starts.mask[:, np.array(HORIZONS) - 1]
    return (np.asarray(inside)[..., 0] * mask).sum(0) / mask.sum(0)


@pytest.fixture(scope="module")
def by_step():
    numbers = {"num_starts": 300, "num_particles": 25}
    return fit_by_step(MODEL, HOLDOUT, horizons=HORIZONS, **numbers, key=KEY)


def test_one_factor_leaves_far_horizons_wrong_and_one_a_step_mends_them(by_step):
    by_one = recalibrate(MODEL, HOLDOUT, key=KEY)
    one, each = map(coverage_by_horizon, (by_one, by_step))
    assert one[0] == pytest.approx(0.9, abs=0.04)
    assert one[-1] < 0.8
    np.testing.assert_allclose(each, 0.9, atol=0.05)
    factor = np.asarray(by_step.factor.values)[:, 0]
    assert factor.shape == (8,)
    assert (factor[4:] == factor[4]).all()
    # A step takes the factor before it as long as that will do.
    assert (np.diff(factor) >= 0).all()
    assert factor[4] > 1.3 * factor[0]
    right = math.hypot(NOISE, DRIFT) / (0.5 * NOISE)
    assert factor[0] == pytest.approx(right, rel=0.08)


def test_factors_of_a_model_that_is_wrong_alike_at_every_step_are_alike():
    plain = episodes(60, 10, 0.0, seed=2)
    fixed = recalibrate(MODEL, plain, per="horizon", horizons=(1, 2, 4, 8), key=KEY)
    np.testing.assert_allclose(fixed.factor.values, 2.0, rtol=0.1)
    assert (fixed.factor.values == fixed.factor.values[0]).all()


def test_the_score_of_a_step_is_of_the_futures_that_last_so_long():
    """All of them miss by 1; what stands after the end of an episode must not count."""
    mask = np.arange(4) < np.array([4, 4, 3, 2, 1, 1])[:, None]
    future = np.where(mask, 1.0, 1e6).astype(np.float32)[..., None]
    nothing = np.zeros((6, 4, 1), np.float32)
    starts = Starts(np.arange(6), nothing[:, 0], nothing, future, mask, np.arange(6))
    still, sure = Markov(Walk(jnp.array([1e-6]))), [np.ones(1)] * 4
    _, scores = _roll(still, starts, jnp.zeros((6, 3, 1)), sure, range(4), KEY)
    assert scores.mean() == pytest.approx(1.0, rel=1e-4)


def test_factors_of_steps_hold_after_the_last(by_step):
    factor = jnp.array([[1.0], [3.0]])
    model = ByStep(MODEL, factor)
    state = model.start(jnp.zeros(1))
    scales = []
    for _ in range(4):
        law = model.transition(state, jnp.zeros(1))
        scales.append(float(law.stoch.scale[0]))
        state = law.sample(seed=KEY)
    np.testing.assert_allclose(np.array(scales) / (0.5 * NOISE), [1, 3, 3, 3], rtol=1e-5)
    assert int(state.deter) == 4


def test_a_model_by_step_keeps_the_laws_and_the_heads(by_step):
    state, action = by_step.start(jnp.ones(1)), jnp.ones(1)
    assert isinstance(state, LatentState)
    check_world_model(by_step, state, action, key=KEY, length=3, num_samples=500)
    after = LatentState(state.deter + 1, jnp.zeros(1))
    inside = (state.stoch, action, after.stoch)
    assert by_step.reward(state, action, after) == MODEL.reward(*inside)
    assert by_step.discount(state, action, after) == MODEL.discount(*inside)


def test_policies_of_observations_act_on_states_with_a_clock(by_step):
    policy = on_observations(by_step, lambda x, *, key: -x)
    start = by_step.start(jnp.array([0.7]))
    _, future = imagine(by_step, policy, start, key=KEY, length=3)
    np.testing.assert_allclose(future.action[1:], -future.state.stoch[:-1])
    np.testing.assert_array_equal(future.state.deter, [1, 2, 3])


def test_planners_critics_and_environments_take_a_repaired_model_as_it_is(by_step):
    spread_out = eqx.tree_at(lambda m: m.kernel, MODEL, Spread(MODEL.kernel, 2.0))
    box = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    spaces = {"action_space": box, "observation_space": box}
    seen, promised = [], []
    for model in (MODEL, spread_out, by_step):
        options = {"num_candidates": 8, "num_elites": 2, "num_iterations": 1}
        ends = {"action_low": -np.ones(1), "action_high": np.ones(1)}
        plan = cem(model, model.start(jnp.ones(1)), key=KEY, horizon=2, **ends, **options)
        assert np.isfinite(plan.actions).all()
        still = lambda state, *, key: jnp.zeros(1)  # noqa: E731
        _, future = imagine(model, still, model.start(jnp.ones(1)), key=KEY, length=3)
        value = jax.vmap(lambda state, model=model: jnp.sum(model.observed(state)))(future.state)
        promised.append(lambda_returns(future.reward, 0.9 * future.discount, value, 0.9))
        env = DreamEnv(model, np.ones((1, 1)), max_steps=3, **spaces)
        env.reset(seed=0)
        observation, reward, *_, info = env.step(np.zeros(1, np.float32))
        assert observation.shape == (1,)
        assert np.isfinite(reward)
        seen.append(info["aleatoric"])
    assert np.isfinite(promised).all()
    assert (np.asarray(promised[0]) != np.asarray(promised[1:])).all()  # of other dreams
    by_hand = float(by_step.factor.values[0, 0])
    np.testing.assert_allclose(np.sqrt(np.divide(seen[1:], seen[0])), [2.0, by_hand], rtol=1e-4)


def test_a_model_by_step_is_saved_and_loaded(by_step, tmp_path):
    save_tree(tmp_path / "model", by_step)
    like = ByStep(Markov(Walk(jnp.ones(1)), distance, stays_near), np.ones((8, 1), np.float32))
    assert eqx.tree_equal(load_tree(tmp_path / "model", like), by_step)


@pytest.mark.parametrize(
    ("horizons", "message"), [((2, 2), "increase"), ((0, 1), "at least 1"), ((1, 30), "30 steps")]
)
def test_impossible_horizons(horizons, message):
    with pytest.raises(ValueError, match=message):
        recalibrate(MODEL, HOLDOUT, per="horizon", horizons=horizons, key=KEY)


# --- conformal --------------------------------------------------------------------------------
def test_conformal_quantile_is_the_order_statistic_and_not_the_next():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))
    assert conformal_quantile(scores, 0.9) == 18.0  # an interpolating recipe takes the 19th
    assert conformal_quantile(scores, 0.95) == 19.0
    assert conformal_quantile(scores, 0.951) == math.inf
    assert conformal_quantile([3.0, 1.0], 1 / 3) == 1.0
    assert conformal_quantile([3.0, 1.0], 1e-12) == 1.0
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="scores"):
            conformal_quantile(bad, 0.9)
    with pytest.raises(ValueError, match="level"):
        conformal_quantile(scores, 1.0)


def test_needed_spread_is_what_makes_the_box_reach():
    law = DiagNormalMixture([0.0, 1.0], [[-1.0, 0.0], [2.0, 1.0]], [[0.3, 0.4], [0.5, 0.2]])
    low, high = central_box(law, 0.81)
    np.testing.assert_allclose(law.cdf(high) - law.cdf(low), 0.9, atol=1e-3)
    for value in (jnp.array([5.0, 0.2]), jnp.array([0.0, -3.0]), jnp.array([0.3, 0.4])):
        factor = needed_spread(law, value, 0.81)
        low, high = central_box(spread(law, factor), 0.81)
        edge = jnp.minimum(value - low, high - value)
        assert jnp.min(edge) == pytest.approx(0.0, abs=1e-4)
        assert (edge > -1e-4).all()


NESTED = {
    # The mean, 30, is far outside of the central interval.
    "skewed": DiagNormalMixture(np.log([0.97, 0.03]), [[0.0], [1000.0]], [[1.0], [1.0]]),
    "symlog": SymlogNormal([2.0], [0.5]),
    "clipped": Censored(DiagNormal([-5.0], [1.0]), 0.0, 3.0),
    "clipped inside": Censored(DiagNormal([1.0], [1.0]), 0.0, 3.0),
    "clipped above": Censored(DiagNormal([8.0], [1.0]), 0.0, 3.0),
}


@pytest.mark.parametrize("name", NESTED)
def test_boxes_reach_exactly_what_needs_no_more_than_their_spread(name):
    """On which the guarantee rests: a score is at most the factor where the box holds the value."""
    law = NESTED[name]
    values = jnp.array([-20.0, -0.5, 0.0, 0.5, 1.5, 3.0, 3.5, 10.0, 60.0, 1100.0])
    needed = np.array([needed_spread(law, value[None], 0.9) for value in values])
    for factor in jnp.array([0.01, 0.3, 1.0, 2.0, 6.0, 50.0]):
        low, high = central_box(spread(law, factor), 0.9)
        np.testing.assert_array_equal((low <= values) & (values <= high), needed <= factor)


def test_an_ensemble_reaches_as_far_as_the_member_with_the_widest_bounds():
    members = Censored(
        DiagNormal(jnp.ones((2, 1)), jnp.ones((2, 1))), [[0.0], [-1.0]], [[3.0], [2.0]]
    )
    law = UniformMixture(members)
    low, high = central_box(spread(law, jnp.array(50.0)), 0.9)
    assert (low[0], high[0]) == (-1, 3)
    assert needed_spread(law, jnp.array([-0.5]), 0.9) < math.inf
    assert needed_spread(law, jnp.array([-1.5]), 0.9) == math.inf


class AtTheWall(AbstractTransition):
    """Expects to run far into a wall at 0."""

    loc: Float[Array, " dim"]

    def __call__(self, state, action):
        return Censored(DiagNormal(self.loc, jnp.ones(1)), 0.0)


def test_a_model_that_expects_to_be_at_its_bound_and_is_needs_no_spread():
    rows = HOLDOUT.transitions()
    rows = eqx.tree_at(lambda r: r.next_state, rows, np.zeros_like(rows.next_state))
    fixed = fit_conformal(AtTheWall(jnp.array([-5.0])), rows, key=KEY)
    assert fixed.factor.values == 1 / 64  # the least that is ever searched


def test_conformal_regions_cover_whatever_the_model():
    """Episodes with drifts that the model ignores, 19 of them, again and again: 18 / 20 = 90 %."""
    trials, number = 300, 20
    many = episodes(trials * number, 3, 2 * DRIFT, seed=3).transitions()
    scores = episode_scores(MODEL.kernel, many, 0.9, key=KEY).reshape(trials, number)
    reach = np.array([conformal_quantile(row[:-1], 0.9) for row in scores])
    fresh = np.roll(scores, 1, axis=0)
    # The next order statistic would cover 95 %; the standard error is 0.4 %.
    assert (fresh <= reach[:, None]).mean() == pytest.approx(0.9, abs=0.015)


def test_a_conformal_score_is_of_any_step_of_its_episode():
    """What happens is as far from the mean as the number of its step: the score tells that."""
    rows, step = HOLDOUT.transitions(), np.tile(np.arange(10.0), 150)[:, None]
    rows = eqx.tree_at(lambda r: r.next_state, rows, rows.state + rows.action + step)
    scores = episode_scores(Walk(jnp.ones(1)), rows, 0.9, key=KEY)
    drawn = np.bincount(np.round(scores * 1.6448536).astype(int), minlength=10)
    assert (drawn.shape, drawn.sum()) == ((10,), 150)
    assert drawn.min() >= 4  # of 15 expected


def test_conformal_spread_reaches_the_particles():
    fixed = recalibrate(MODEL, HOLDOUT, method="conformal", key=KEY)
    rows = HOLDOUT.transitions()
    scores = episode_scores(fixed.kernel, rows, 0.9, key=jax.random.split(KEY)[0])
    assert scores.shape == (150,)
    assert np.mean(scores <= 1) == pytest.approx(0.9, abs=0.08)
    same = episode_scores(fixed.kernel, rows, 0.9, key=KEY)  # the steps that it was fitted on
    assert np.sum(same <= 1 + 1e-5) == math.ceil(151 * 0.9)
    few = HOLDOUT.select(range(8))
    with pytest.raises(ValueError, match="at least 9 episodes"):
        recalibrate(MODEL, few, method="conformal", key=KEY)


# --- adaptive ---------------------------------------------------------------------------------
def test_adaptive_level_keeps_coverage_under_a_shift():
    rng = np.random.default_rng(0)
    steps, rate = 2000, 0.05
    stream = jnp.asarray(np.abs(rng.normal(size=steps)) * np.linspace(1, 6, steps))
    start = AdaptiveLevel(np.abs(rng.normal(size=99)), 0.9, rate)

    def step(level, score):
        return level.update(score), ~level.covers(score)

    _, missed = jax.lax.scan(step, start, stream)
    assert np.mean(np.asarray(stream > start.reach())) > 0.4  # a fixed region
    bound = (0.9 + rate) / (rate * steps)
    assert abs(float(jnp.mean(missed)) - 0.1) <= bound


def test_adaptive_level_covers_all_or_nothing_beyond_the_ends():
    level = AdaptiveLevel([1.0, 2.0, 3.0], 0.5, 1.2)
    assert level.reach() == 2.0
    all_of_it = level.update(jnp.array(9.0))
    assert all_of_it.miss == pytest.approx(-0.1)
    assert all_of_it.reach() == math.inf
    assert all_of_it.covers(jnp.array(math.inf))
    nothing = all_of_it.update(jnp.array(0.0)).update(jnp.array(0.0))
    assert nothing.miss == pytest.approx(1.1)
    assert not nothing.covers(jnp.array(0.0))


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9, 0.95])
def test_an_adaptive_level_starts_at_the_conformal_quantile(level):
    for number in (9, 19, 39, 99):
        scores = np.random.default_rng(0).permutation(np.arange(1.0, 1.0 + number))
        assert AdaptiveLevel(scores, level).reach() == conformal_quantile(scores, level)


@pytest.mark.parametrize(("miss", "factor"), [(1.1, 2.0), (-0.1, 3.0)])
def test_where_all_or_nothing_is_covered_particles_take_the_last_finite_score(miss, factor):
    level = AdaptiveLevel([2.0, 3.0, math.inf], 0.5)
    level = eqx.tree_at(lambda x: x.miss, level, jnp.array(miss))
    spread_out = Adaptive(MODEL.kernel, level)(jnp.zeros(1), jnp.zeros(1))
    assert spread_out.scale[0] == pytest.approx(factor * 0.5 * NOISE)


def test_adaptive_boxes_are_what_is_covered_however_wrong_the_kernel():
    """Which is a thousand times too narrow here."""
    rows = HOLDOUT.transitions()
    fixed = fit_adaptive(Walk(jnp.array([1e-3 * NOISE])), rows, key=KEY)
    state, action = jnp.zeros(1), jnp.zeros(1)
    low, high = central_box(fixed(state, action), 0.9)
    for value in jnp.linspace(-1.0, 1.0, 21)[:, None]:
        inside = ((low <= value) & (value <= high)).all()
        assert inside == fixed.level.covers(fixed.score(state, action, value))


def test_adaptive_kernel_widens_as_the_stream_does():
    fixed = recalibrate(MODEL, HOLDOUT, method="adaptive", key=KEY).kernel
    zero = jnp.zeros(1)
    before = fixed(zero, zero)
    update = eqx.filter_jit(lambda kernel, value: kernel.update(zero, zero, value))
    for value in (2.0, -2.0, 2.0):
        fixed = update(fixed, jnp.array([value]))
    assert (fixed(zero, zero).scale > before.scale).all()
    np.testing.assert_array_equal(fixed.kernel.scale, MODEL.kernel.scale)
