"""Latent models in the open-loop tools: the exact filter is right there, and a corrupt one is not.

The worlds are those of exact filters: a Kalman filter, whose nll is known at every horizon, and
that of a regime that nobody sees.
"""

import re
from functools import partial

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stochwm import imagine
from stochwm.calibration import (
    SpreadDecoder,
    choose_starts,
    compare,
    diagnose_model,
    evaluate,
    open_loop,
    open_loop_clouds,
    recalibrate,
    start_states,
)
from stochwm.data import check_spaces
from stochwm.distributions import LatentStateDistribution
from stochwm.distributions.mixture import take
from stochwm.drift import DriftGuard, FalseAlarm, energy_distance, rehearse
from stochwm.envs import DreamEnv, DreamVectorEnv, HiddenSwitch, SwitchFilter
from stochwm.models import AbstractFilter
from tests.cases_filters import Kalman, episodes_of
from tests.test_models_rssm import make

KEY = jax.random.key(0)
NUMBER, LENGTH = 60, 25


def walks(rng):
    """Episodes that `Kalman()` is the truth of, and the belief at each observation."""
    action = rng.uniform(-1, 1, (NUMBER, LENGTH))
    steps = rng.normal(0, 0.5, (NUMBER, LENGTH))
    steps[:, 0] *= np.sqrt(5)  # the first observation is one step away from N(0, 1)
    steps[:, 1:] += action[:, :-1]
    seen = steps.cumsum(axis=1) + rng.normal(0, 0.5, (NUMBER, LENGTH))
    mean, variance, beliefs = np.zeros(NUMBER), 1.0, []
    for t in range(LENGTH):
        prior = mean + (action[:, t - 1] if t else 0), variance + 0.25
        variance = 1 / (1 / prior[1] + 4)
        mean = variance * (prior[0] / prior[1] + 4 * seen[:, t])
        beliefs.append(np.stack([mean, np.full(NUMBER, variance)], axis=1))
    rows = (x.reshape(-1, 1) for x in (seen, action))
    return episodes_of(*rows, [LENGTH] * NUMBER), np.stack(beliefs, axis=1).reshape(-1, 2)


EPISODES, BELIEFS = walks(np.random.default_rng(0))
TOO_SURE_SEEN, TOO_SURE_MOVED = Kalman(blurs=0.0625), Kalman(moves=0.0625)  # half the spread


# --- the truth, and what is not ---------------------------------------------------------------
@pytest.fixture(scope="module")
def card():
    options = {"horizons": (1, 5), "metrics": ("nll", "energy", "coverage90")}
    return evaluate(Kalman(), EPISODES, key=KEY, gaussian=TOO_SURE_SEEN, **options)


def exact_nll(horizon):
    """At every row that is followed by so many steps, in closed form."""
    seen, action = (x.reshape(NUMBER, LENGTH) for x in (EPISODES.observation, EPISODES.action))
    mean, variance = (x.reshape(NUMBER, LENGTH)[:, :-horizon] for x in BELIEFS.T)
    for step in range(horizon):
        mean = mean + action[:, step : LENGTH - horizon + step]
    spread = np.sqrt(variance + 0.25 * horizon + 0.25)
    return -stats.norm.logpdf(seen[:, horizon:], mean, spread)


def test_the_true_filter_is_right_at_every_horizon(card):
    for horizon in (1, 5):
        right = card.get("coverage90", horizon)
        assert right.low - 0.01 < 0.9 < right.high + 0.01
        gain = compare(card.only("model"), card.only("persistence"), "energy", horizon)
        assert gain.high < 0


def test_its_nll_is_that_of_the_exact_prediction(card):
    """One step ahead at all rows. Of 100 particles it is expected to be .008 and .028 too high."""
    near = card.samples["model", "nll", 1].values - exact_nll(1).ravel()
    assert 0 < near.mean() < 0.02
    assert np.abs(near).mean() < 0.1
    starts = choose_starts(EPISODES, 300, 5)
    lasts = starts.mask[:, 4]
    episode, step = starts.episode[lasts], (starts.row % LENGTH)[lasts]
    far = card.samples["model", "nll", 5].values - exact_nll(5)[episode, step]
    assert 0 < far.mean() < 0.06


def test_a_decoder_of_half_the_spread_is_caught(card):
    assert card.get("coverage90", 1, of="gaussian").high < 0.87
    for horizon in (1, 5):
        loss = compare(card.only("gaussian"), card.only("model"), "nll", horizon)
        assert loss.low > 0


DIAGNOSED = {"key": KEY, "horizons": (1, 8), "num_particles": 30}


@pytest.fixture(scope="module")
def diagnoses():
    return [diagnose_model(model, EPISODES, **DIAGNOSED) for model in (Kalman(), TOO_SURE_MOVED)]


def test_a_diagnosis_accepts_the_truth_and_finds_steps_of_half_the_spread(diagnoses):
    p_values = [
        [found.get(h).tests["pit"].cramer_von_mises.p_value for h in (1, 8)] for found in diagnoses
    ]
    assert min(p_values[0]) > 0.01
    assert p_values[1][1] < 0.001


def test_what_came_is_anywhere_in_the_rehearsed_cloud_of_the_truth_alone():
    def levels(model):
        options = {"cumulative": False, "horizon": 6, "key": KEY, "num_particles": 32}
        return rehearse(model, EPISODES, lambda prediction: jnp.zeros(()), **options).level[:, -1]

    assert stats.kstest(levels(Kalman()), "uniform").pvalue > 0.01
    assert stats.kstest(levels(Kalman(0.0625, 0.0625)), "uniform").pvalue < 0.001


# --- what a start has seen --------------------------------------------------------------------
def test_a_start_has_seen_its_past_and_only_that():
    rows, two = np.array([0, 7, LENGTH, LENGTH + 3]), EPISODES.select([0, 1])

    def states(episodes):
        return start_states(Kalman(), episodes, rows, key=KEY, num_particles=400)

    found = states(two)
    np.testing.assert_allclose(found.deter[:, 0], BELIEFS[rows], rtol=1e-4, atol=1e-5)
    # Draws of their own: a single one would be no belief.
    np.testing.assert_allclose(found.stoch[..., 0].var(axis=1), BELIEFS[rows, 1], rtol=0.25)

    def moved(row):
        changed = np.array(two.observation)
        changed[row] += 1.0
        other = states(eqx.tree_at(lambda e: e.observation, two, changed))
        return ~np.isclose(other.deter[:, 0, 0], found.deter[:, 0, 0])

    np.testing.assert_array_equal(moved(slice(1, 7)), [0, 1, 0, 0])  # before the second
    np.testing.assert_array_equal(moved(slice(8, LENGTH)), [0, 0, 0, 0])  # after, no further
    np.testing.assert_array_equal(moved(LENGTH), [0, 0, 1, 1])  # an episode begins there
    np.testing.assert_array_equal(moved(LENGTH + 4), [0, 0, 0, 0])


class Forgetful(AbstractFilter):
    """A filter to which every observation is the first."""

    model: AbstractFilter

    def initial(self):
        return self.model.initial()

    def transition(self, state, action):
        return self.model.transition(state, action)

    def posterior(self, prior, observation):
        fresh = self.model.transition(self.model.initial(), jnp.zeros(1))
        return self.model.posterior(fresh, observation)

    def decode(self, state):
        return self.model.decode(state)

    def reward(self, state, action, next_state):
        return self.model.reward(state, action, next_state)

    def discount(self, state, action, next_state):
        return self.model.discount(state, action, next_state)


def test_the_past_matters_where_a_part_of_the_world_is_hidden():
    """The filter with its past is the law of what is seen; without, it does not know the wind."""
    world = HiddenSwitch(winds=(-0.4, 0.4), flip=0.02)
    policy = lambda state, *, key: jax.random.uniform(key, (1,), minval=-1.0)  # noqa: E731

    @eqx.filter_jit
    def lived(key):
        first, rest = jax.random.split(key)
        start = world.initial().sample(seed=first)
        _, future = imagine(world, policy, start, key=rest, length=LENGTH - 1)
        seen = jnp.concatenate([start[None], future.state])[:, :1]
        return seen, jnp.concatenate([future.action, jnp.zeros((1, 1))])

    rows = (np.asarray(x).reshape(-1, 1) for x in jax.vmap(lived)(jax.random.split(KEY, 40)))
    episodes = episodes_of(*rows, [LENGTH] * 40)
    best = SwitchFilter(world)
    options = {"horizons": (1, 5), "num_starts": 150, "num_particles": 50}
    card = evaluate(Forgetful(best), episodes, key=KEY, law=best, metrics=["energy"], **options)
    for horizon in (1, 5):
        assert card.get("energy", horizon, of="excess").low > 0


# --- an RSSM, a guard, a dream ----------------------------------------------------------------
SIZES = {"observed": 1, "bounds": (-np.ones(1), np.ones(1))}
MODEL = make(**SIZES)


def test_an_rssm_is_evaluated_and_diagnosed():
    options = {"metrics": ("nll", "energy"), "horizons": (1, 3)}
    card = evaluate(MODEL, EPISODES, key=KEY, num_starts=60, num_particles=8, **options)
    found = {(row.metric, row.horizon) for row in card.only("model").scores}
    assert found == {(metric, horizon) for metric in ("nll", "energy") for horizon in (1, 3)}
    assert card.skipped == ()
    diagnosis = diagnose_model(MODEL, EPISODES, **DIAGNOSED)
    assert [row.horizon for row in diagnosis.horizons] == [1, 8]


def test_recalibration_finds_how_much_too_wide_observations_are_spread():
    """A decoder twice as wide needs factors of a half; beside, latent states have their spread."""
    found = recalibrate(SpreadDecoder(Kalman(), 2.0), EPISODES, key=KEY)
    np.testing.assert_allclose(found.factor.values, 0.5, rtol=0.12)
    observation = found.decode(Kalman().initial())
    np.testing.assert_allclose(observation.scale, 0.5, rtol=0.12)


def test_an_rssm_is_spread_where_its_observations_are_normal():
    """After symlog: there its errors are of one size, and the median stays."""
    wide = SpreadDecoder(MODEL, jnp.array([3.0]))
    before, after = (model.decode(MODEL.initial()) for model in (MODEL, wide))
    np.testing.assert_allclose(after.scale, 3 * before.scale)
    np.testing.assert_allclose(after.quantile(0.5), before.quantile(0.5))


def test_an_ensemble_of_rssms_disagrees_by_its_clouds():
    members = eqx.filter_vmap(lambda key: make(**SIZES, key=key))(jax.random.split(KEY, 3))
    starts, options = choose_starts(EPISODES, 4, 3), {"key": KEY, "num_particles": 8}
    options["episodes"] = EPISODES
    each = [open_loop_clouds(take(members, i), starts, (3,), **options) for i in range(3)]
    distance = jax.jit(jax.vmap(partial(energy_distance, fair=False), in_axes=1))
    apart, alike = (distance(np.stack(x)[:, :, :, 0]) for x in (each, each[:1] * 3))
    np.testing.assert_allclose(alike, 0, atol=1e-5)
    assert np.all(apart > 0.05)


def unsure(prediction):
    """A measure of what is predicted of the latent state."""
    assert isinstance(prediction, LatentStateDistribution)
    return prediction.entropy()


def test_a_guard_measures_what_is_predicted_of_the_latent_state():
    promise = FalseAlarm(0.2, horizon=4)
    guard = DriftGuard.fit(
        MODEL, EPISODES, promise=promise, key=KEY, measure=unsure, num_particles=8
    )
    rehearsal = rehearse(
        MODEL, EPISODES, unsure, cumulative=False, horizon=4, key=KEY, num_particles=8
    )
    assert float(guard.threshold) == pytest.approx(promise.threshold(rehearsal))
    states = start_states(MODEL, EPISODES, np.arange(10), key=KEY, num_particles=8)
    policy = lambda state, *, key: jnp.zeros(1)  # noqa: E731

    def trusted(state, key):
        future = imagine(MODEL, policy, state, key=key, length=4, guard=guard)[1]
        return future.trusted_horizon()

    first = jax.tree.map(lambda x: x[:, 0], states)
    lasted = jax.jit(jax.vmap(trusted))(first, jax.random.split(KEY, 10))
    assert np.mean(np.asarray(lasted) == 4) > 0.5
    with pytest.raises(TypeError, match="ensemble"):  # one head has nobody to disagree with
        DriftGuard.fit(MODEL, EPISODES, promise=promise, key=KEY, num_particles=8)


def test_dreams_begin_in_what_was_seen():
    env = DreamVectorEnv(Kalman(), EPISODES, 500, max_steps=2)
    seen, _ = env.reset(seed=0)
    acted = ~EPISODES.is_last
    spread = np.sqrt(BELIEFS[acted, 1] + 0.25)
    between = np.linspace(-4, 4, 50)
    share = stats.norm.cdf(between[:, None], BELIEFS[acted, 0], spread).mean(axis=1)
    empirical = np.mean(seen[:, :1] <= between, axis=0)
    assert np.abs(empirical - share).max() < 1.63 / np.sqrt(500)  # Kolmogorov, 1 %
    one = DreamEnv(Kalman(), EPISODES, max_steps=2)
    first, _ = one.reset(seed=0)
    np.testing.assert_allclose(first, seen[0], rtol=1e-5)


def test_what_is_not_trusted_shows_what_was_seen_last():
    guard = DriftGuard(lambda prediction: jnp.ones(()), 0.5)
    env = DreamEnv(Kalman(), EPISODES, max_steps=5, guard=guard)
    seen, _ = env.reset(seed=0)
    again, _, _, truncated, _ = env.step(np.zeros(1, np.float32))
    assert truncated
    np.testing.assert_array_equal(again, seen)


# --- what is refused --------------------------------------------------------------------------
STARTS = choose_starts(EPISODES, 10, 2)
SPACES = {
    "observation_space": gym.spaces.Box(-9, 9, (1,)),
    "action_space": gym.spaces.Box(0, 1, (1,)),
}
REFUSED = {
    "recalibration": (
        lambda: recalibrate(MODEL, EPISODES, method="pit", key=KEY),
        TypeError,
        "is a filter (RSSM)",
    ),
    "horizons": (
        lambda: recalibrate(MODEL, EPISODES, per="horizon", key=KEY),
        TypeError,
        "the spread of its observations",
    ),
    "no past": (lambda: open_loop_clouds(MODEL, STARTS, (1,), key=KEY), ValueError, "episodes"),
    "one state": (
        lambda: open_loop(MODEL, MODEL.initial(), jnp.zeros((2, 1)), key=KEY, particles=3),
        ValueError,
        "for each of the 3 particles",
    ),
    "dream of rows": (
        lambda: DreamEnv(MODEL, EPISODES.observation, max_steps=2, **SPACES),
        ValueError,
        "must be Episodes",
    ),
    "other spaces": (
        lambda: check_spaces(MODEL, episodes_of(np.zeros((4, 2)), np.zeros((4, 1)), [4])),
        ValueError,
        "does not fit",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_filter_cannot_do_is_said(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
