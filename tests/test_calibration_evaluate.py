"""The scoring path, on a world whose scores are known in closed form."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm import replay
from stochwm.calibration import (
    ByStep,
    Persistence,
    choose_starts,
    evaluate,
    evaluate_density,
    open_loop,
)
from stochwm.data import Episodes, FlatSpace
from stochwm.distributions import DiagNormal
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble
from tests.cases_models import Line

SCALE = 0.2
KEY = jax.random.key(0)
SPACE = FlatSpace(1, (-math.inf,), (math.inf,), (), ("x",))


def line(bias=0.3, scale=SCALE):
    """s' = 0.8 s - 0.5 a + bias + scale * noise."""
    values = (jnp.array([0.8, -0.5]), jnp.array(bias), jnp.log(scale) * jnp.ones(()))
    where = lambda k: (k.weight, k.bias, k.log_scale)  # noqa: E731
    return eqx.tree_at(where, Line(KEY), values)


def make_episodes(lengths, seed=0):
    """Episodes of the line with `lengths` transitions each."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in lengths:
        state, action = np.zeros((length + 1, 1)), rng.normal(size=(length + 1, 1))
        state[0] = 1 + 0.3 * rng.normal()
        for t in range(length):
            mean = 0.8 * state[t] - 0.5 * action[t] + 0.3
            state[t + 1] = mean + SCALE * rng.normal()
        at = np.arange(length + 1)
        flags = (at == 0, at == length, np.zeros(length + 1, bool))
        spaces = {"observation_space": SPACE, "action_space": SPACE}
        parts.append(Episodes(state, action, np.zeros(length + 1), *flags, **spaces))
    return Episodes.concatenate(parts)


EPISODES = make_episodes([30] * 12)
UNEVEN = make_episodes([3, 1, 8, 5])


def error(rows, bias=0.3):
    return rows.next_state - (0.8 * rows.state - 0.5 * rows.action + bias)


@pytest.fixture(scope="module")
def card():
    return evaluate(Markov(line()), EPISODES, key=KEY, horizons=(1, 4), num_particles=50)


def test_nll_is_the_analytic_one(card):
    exact = 0.5 * np.log(2 * np.pi * SCALE**2) + 0.5 * (error(EPISODES.transitions()) / SCALE) ** 2
    assert card.get("nll").value == pytest.approx(exact.mean(), rel=1e-4)
    assert card.get("nll").count == 360
    assert card.get("nll").low < card.get("nll").value < card.get("nll").high


@pytest.mark.parametrize("horizon", [1, 4])
def test_energy_of_the_truth_is_the_analytic_one(card, horizon):
    """E|X - y| - E|X - X'| / 2 of a normal with its own draws is its scale / sqrt(pi)."""
    scale = SCALE * math.sqrt(sum(0.8 ** (2 * k) for k in range(horizon)))
    assert card.get("energy", horizon).value == pytest.approx(scale / math.sqrt(math.pi), rel=0.15)
    assert card.get("crps", horizon).value == pytest.approx(card.get("energy", horizon).value, 1e-4)
    assert 0.82 < card.get("coverage90", horizon).value < 0.97


def test_rows_are_ordered_and_nothing_is_skipped(card):
    assert [(s.metric, s.horizon) for s in card.scores] == [
        ("nll", 1), ("energy", 1), ("energy", 4), ("crps", 1), ("crps", 4),
        ("coverage90", 1), ("coverage90", 4),
    ]  # fmt: skip
    assert card.skipped == ()


def test_a_wrong_model_scores_worse(card):
    wrong = evaluate(Markov(line(bias=0.6)), EPISODES, key=KEY, horizons=(1, 4), num_particles=50)
    assert wrong.get("nll").low > card.get("nll").high
    assert wrong.get("energy", 4).low > card.get("energy", 4).high
    assert wrong.get("coverage90", 4).value < 0.7


def test_scale_is_the_unit_of_the_futures_but_not_of_the_nll(card):
    options = {"key": KEY, "horizons": (1, 4), "num_particles": 50}
    other = evaluate(Markov(line()), EPISODES, scale=np.array([4.0]), **options)
    assert other.get("nll") == card.get("nll")
    assert 4 * other.get("energy", 4).value == pytest.approx(card.get("energy", 4).value, rel=1e-4)


def test_noise_is_added_to_the_targets():
    blurred = evaluate_density(
        lambda s, a: line()(s, a).smoothed(0.3 * jnp.ones(1)), EPISODES, key=KEY, noise=0.3
    )
    sharp = evaluate_density(line(), EPISODES, key=KEY, noise=[0.3])
    variance = SCALE**2 + 0.3**2
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    assert blurred.get("nll").value == pytest.approx(entropy, abs=0.12)
    expected = 0.5 * math.log(2 * math.pi * SCALE**2) + 0.5 * variance / SCALE**2
    assert sharp.get("nll").value == pytest.approx(expected, abs=0.4)
    assert sharp.get("nll").value > blurred.get("nll").value + 0.3


def test_starts_equal_a_slow_loop():
    """Every transition is a start; what follows is padded, and masked, after the episode's end."""
    starts = choose_starts(UNEVEN, 100, 4)
    row = 0
    for number in range(UNEVEN.num_episodes):
        episode = UNEVEN.episode(number)
        length = episode.num_transitions
        for t in range(length):
            there = min(4, length - t)
            assert starts.episode[row] == number
            assert starts.mask[row].tolist() == [True] * there + [False] * (4 - there)
            np.testing.assert_array_equal(starts.state[row], episode.observation[t])
            np.testing.assert_array_equal(starts.action[row, :there], episode.action[t : t + there])
            future = episode.observation[t + 1 : t + 1 + there]
            np.testing.assert_array_equal(starts.future[row, :there], future)
            assert (starts.future[row, there:] == episode.observation[-1]).all()
            row += 1
    assert row == len(starts.state) == UNEVEN.num_transitions


def test_few_starts_are_spread_over_the_episodes():
    starts = choose_starts(EPISODES, 5, 2)
    assert starts.episode.tolist() == [0, 3, 6, 8, 11]
    assert len(np.unique(starts.state)) == 5


def test_open_loop_of_a_single_kernel_is_replay():
    model, actions = Markov(line()), jnp.ones((3, 1))
    cloud = open_loop(model, jnp.zeros(1), actions, key=KEY, particles=4)
    assert cloud.shape == (4, 3, 1)
    for particle, key in zip(cloud, jax.random.split(KEY, 4), strict=True):
        alone = replay(model, jnp.zeros(1), actions, key=key)[1].state
        np.testing.assert_allclose(particle, alone, atol=1e-6)
    assert len(np.unique(cloud[:, 0])) == 4


class Walk(AbstractTransition):
    """Moves by its own step, nearly surely."""

    step: jax.Array

    def __call__(self, state, action):
        return DiagNormal(state + self.step, jnp.full(1, 1e-3))


@pytest.mark.parametrize("particles", [6, 7, 2])
def test_open_loop_keeps_each_particle_with_one_member(particles):
    """TS-infinity, whether or not the members divide the particles."""
    walks = Ensemble(lambda key: Walk(jax.random.normal(key)), 3, key=KEY)
    walks = eqx.tree_at(lambda e: e.members.step, walks, jnp.array([0.0, 10.0, 20.0]))
    cloud = open_loop(Markov(walks), jnp.zeros(1), jnp.zeros((4, 1)), key=KEY, particles=particles)
    assert cloud.shape == (particles, 4, 1)
    moves = np.diff(cloud[:, :, 0], axis=1, prepend=0.0)
    member = np.round(moves / 10).astype(int)
    assert (member == member[:, :1]).all()
    assert member[:, 0].tolist() == [i % 3 for i in range(particles)]


class Sampled(AbstractTransition):
    """A prediction without a density, or with a bad one."""

    value: float

    def __call__(self, state, action):
        return DiagNormal(state + self.value, jnp.ones(1))


def test_short_episodes_are_skipped_with_the_reason():
    card = evaluate(Markov(line()), UNEVEN, key=KEY, horizons=(1, 4), num_particles=50)
    assert card.skipped == ("horizon 4: only 7 futures are that long",)
    assert card.series("energy")["horizon"] == [1]
    assert card.get("energy").count == UNEVEN.num_transitions


def test_a_mistake_in_a_model_is_not_taken_for_a_missing_density():
    with pytest.raises(AttributeError, match="no_such_thing"):
        evaluate_density(lambda s, a: s.no_such_thing, UNEVEN, key=KEY)


def test_a_prediction_without_density_is_skipped_with_the_reason():
    card = evaluate_density(lambda s, a: s, UNEVEN, key=KEY)
    assert card.scores == ()
    assert "nll: the prediction has no density" in card.skipped[0]


def test_bad_predictions_are_skipped_with_the_reason():
    card = evaluate(Markov(Sampled(math.inf)), UNEVEN, key=KEY, horizons=(1,), num_particles=2)
    assert "nll: 100.0% of the steps have no finite log density" in card.skipped
    assert "energy at horizon 1: 100.0% are not finite" in card.skipped
    assert [score.metric for score in card.scores] == ["coverage90"]


def test_persistence_forecasts_no_change():
    card = evaluate(Markov(Persistence()), EPISODES, key=KEY, horizons=(1, 4), num_particles=2)
    starts = choose_starts(EPISODES, 300, 4)
    moved = np.abs(starts.future[:, 3] - starts.state)[starts.mask[:, 3]]
    assert card.get("energy", 4).value == pytest.approx(moved.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizons": ()}, "horizons must be at least 1"),
        ({"horizons": (0, 3)}, "horizons must be at least 1, but is 0"),
        ({"num_particles": 1}, "num_particles must be at least 2"),
        ({"num_starts": 0}, "num_starts must be at least 1"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": [1.0, 1.0]}, "scale must be one number or 1"),
        ({"noise": -0.1}, "noise must be one number or 1, finite and not negative"),
        ({"noise": math.nan}, "noise"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Markov(line()), UNEVEN, key=KEY, **options)


def test_a_model_free_of_the_noise_is_seen_through_it():
    """Under noise the error is that of both: seen through it the score is their joint entropy."""
    options = {"key": KEY, "horizons": (1,), "num_particles": 2, "num_starts": 20, "noise": 0.5}
    seen = evaluate(Markov(line()), EPISODES, smoothed=True, **options).get("nll").value
    blind = evaluate(Markov(line()), EPISODES, **options).get("nll").value
    variance = SCALE**2 + 0.5**2
    assert seen == pytest.approx(0.5 * math.log(2 * math.pi * math.e * variance), abs=0.1)
    assert blind > seen + 1


def test_a_model_with_a_clock_is_scored_on_what_it_observes(card):
    model = ByStep(Markov(line()), jnp.ones((1, 1)))
    clocked = evaluate(model, EPISODES, key=KEY, horizons=(1, 4), num_particles=50)
    assert clocked.get("nll").value == pytest.approx(card.get("nll").value, rel=1e-4)
    for horizon in (1, 4):
        want = card.get("energy", horizon).value
        assert clocked.get("energy", horizon).value == pytest.approx(want, rel=0.1)
