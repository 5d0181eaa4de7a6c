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
from stochwm.calibration.evaluate import _check_types
from stochwm.calibration.starts import too_short
from stochwm.data import Episodes, FlatSpace, collect
from stochwm.distributions import AbstractSampler, DiagNormal
from stochwm.envs import HiddenSwitch, WetChicken
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
    assert [(s.metric, s.horizon) for s in card.scores if s.of == "model"] == [
        ("nll", 1), ("nll", 4), ("energy", 1), ("energy", 4), ("crps", 1), ("crps", 4),
        ("coverage90", 1), ("coverage90", 4),
    ]  # fmt: skip
    assert [(s.metric, s.horizon, s.of) for s in card.scores[8:]] == [
        (metric, horizon, "persistence") for metric in ("energy", "crps") for horizon in (1, 4)
    ]
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
    assert too_short({1: 12, 2: 7, 4: 0, 9: 0}) == [
        "horizon 2: only 7 futures are that long",
        "horizons 4, 9: only 0 futures are that long",
    ]
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
    assert "nll: 100.0 % of the steps have no finite log density" in card.skipped
    assert "energy at horizon 1: 100.0 % are not finite" in card.skipped
    assert [score.metric for score in card.only("model").scores] == ["coverage90"]


def test_persistence_forecasts_no_change(card):
    starts = choose_starts(EPISODES, 300, 4)
    moved = np.abs(starts.future[:, 3] - starts.state)[starts.mask[:, 3]]
    assert card.get("energy", 4, of="persistence").value == pytest.approx(moved.mean(), rel=1e-5)
    itself = evaluate(Persistence(), EPISODES, key=KEY, horizons=(1, 4), num_particles=2)
    assert itself.get("energy", 4)[2:6] == card.get("energy", 4, of="persistence")[2:6]


def test_nll_ahead_is_that_of_the_exact_law(card):
    """Many particles: the marginal of the line is normal, and its variance known."""
    sure = evaluate(
        line(), EPISODES, key=KEY, horizons=(4,), num_particles=2000, metrics="nll", num_starts=100
    )
    starts = choose_starts(EPISODES, 100, 4)
    mean = starts.state
    for t in range(4):
        mean = 0.8 * mean - 0.5 * starts.action[:, t] + 0.3
    scale = SCALE * math.sqrt(sum(0.8 ** (2 * k) for k in range(4)))
    error = ((starts.future[:, 3] - mean) / scale)[starts.mask[:, 3]]
    exact = 0.5 * math.log(2 * math.pi * scale**2) + 0.5 * np.mean(error**2)
    assert sure.get("nll", 4).value == pytest.approx(exact, abs=0.01)
    assert card.get("nll", 4).value == pytest.approx(exact, abs=0.15)
    assert {score.metric for score in sure.scores} == {"nll"}


def test_nll_ahead_of_few_particles_is_too_high():
    options = {"key": KEY, "horizons": (4,), "metrics": "nll", "num_starts": 100}
    few = evaluate(line(), EPISODES, num_particles=2, **options).get("nll", 4).value
    many = evaluate(line(), EPISODES, num_particles=200, **options).get("nll", 4).value
    assert few > many + 0.1


def test_each_particle_of_an_ensemble_is_judged_by_its_own_member():
    """Two members that never meet: half the particles explain what happened, at h = 1 as at 3."""
    apart = Ensemble(lambda key: line(), 2, key=KEY)
    apart = eqx.tree_at(lambda e: e.members.bias, apart, jnp.array([0.3, 50.0]))
    options = {"key": KEY, "horizons": (3,), "metrics": "nll", "num_starts": 100}
    both = evaluate(Markov(apart), EPISODES, num_particles=400, **options)
    one = evaluate(Markov(line()), EPISODES, num_particles=400, **options)
    for horizon in (1, 3):
        gap = both.get("nll", horizon).value - one.get("nll", horizon).value
        assert gap == pytest.approx(math.log(2), abs=0.03)


@pytest.fixture(scope="module")
def beside():
    """A biased line beside the truth, a Gaussian and climatology, with all metrics."""
    names = ["pit", "variogram", "coverage90", "crps", "energy", "nll"]
    options = {"key": KEY, "horizons": (1, 4), "num_particles": 50, "metrics": names}
    others = {"law": Markov(line()), "gaussian": line(bias=0.4), "train": UNEVEN}
    return evaluate(Markov(line(bias=0.5)), EPISODES, **options, **others)


def test_excess_is_the_paired_difference_to_the_law(beside, card):
    for metric in ("nll", "energy", "crps"):
        for horizon in (1, 4):
            model, law, excess = (
                beside.get(metric, horizon, of=of) for of in ("model", "law", "excess")
            )
            assert law[2:5] == pytest.approx(card.get(metric, horizon)[2:5], rel=1e-5)
            assert excess.value == pytest.approx(model.value - law.value, abs=1e-5)
            assert excess.low > 0
            assert excess.high - excess.low < 0.7 * (model.high - model.low + law.high - law.low)
    with pytest.raises(KeyError):
        beside.get("coverage90", of="excess")


def test_climatology_draws_training_states(beside):
    starts = choose_starts(EPISODES, 300, 4)
    pairs = np.abs(UNEVEN.observation - UNEVEN.observation.T)
    value = starts.future[:, 3][starts.mask[:, 3]]
    exact = np.abs(value - UNEVEN.observation.T).mean() - pairs.mean() / 2
    found = beside.get("energy", 4, of="climatology").value
    assert found == pytest.approx(exact, rel=0.03)
    assert "climatology" not in {s.of for s in beside.scores if s.metric == "nll"}


def test_the_pit_tells_the_truth_from_a_biased_model(beside):
    for horizon in (1, 4):
        assert beside.get("pit", horizon).value < 0.01
        assert beside.get("pit", horizon, of="law").value > 0.05
        assert math.isnan(beside.get("pit", horizon).low)


def test_the_gaussian_is_scored_like_the_model(beside):
    rows = {of: [s[:2] for s in beside.scores if s.of == of] for of in ("model", "gaussian")}
    assert rows["model"] == rows["gaussian"]
    assert beside.get("nll", of="gaussian").value < beside.get("nll").value
    assert beside.skipped == ("variogram: one dimension has no pairs",)


class Hit(AbstractTransition):
    """Zero with probability 2 / 3, in both dimensions alike, else uniform."""

    def __call__(self, state, action):
        return Drawn(state)


class Drawn(AbstractSampler):
    """Can only be sampled."""

    state: jax.Array

    def sample(self, *, seed):
        key_hit, key_far = jax.random.split(seed)
        far = jax.random.uniform(key_far, self.state.shape)
        return jnp.where(jax.random.uniform(key_hit, ()) < 2 / 3, 0.0, far)


def test_coverage_at_an_atom_is_right_and_without_density_the_rest_is_scored():
    rng = np.random.default_rng(0)
    state = np.where(rng.uniform(size=(1500, 1)) < 2 / 3, 0.0, rng.uniform(size=(1500, 2)))
    at = np.arange(1500) % 50
    pair = FlatSpace(2, (-math.inf,) * 2, (math.inf,) * 2, (), ("x", "y"))
    spaces = {"observation_space": pair, "action_space": SPACE}
    flags = (at == 0, at == 49, np.zeros(1500, bool))
    episodes = Episodes(state, np.zeros((1500, 1)), np.zeros(1500), *flags, **spaces)
    names = ("nll", "coverage90", "variogram")
    card = evaluate(Hit(), episodes, key=KEY, horizons=(1,), metrics=names, num_starts=1500)
    assert card.get("coverage90").value == pytest.approx(0.9, abs=0.02)
    assert card.get("variogram").value > 0
    assert card.skipped == ("nll: the prediction has no density (Drawn has no log_prob)",)


def test_without_a_density_there_is_nothing_to_see_through_noise():
    options = {"noise": 0.1, "smoothed": True, "metrics": "nll"}
    card = evaluate(Hit(), UNEVEN, key=KEY, horizons=(1,), **options)
    assert card.skipped == ("nll: the prediction has no density (Drawn has no log_prob)",)


def test_a_world_that_hides_its_state_has_no_law_to_compare():
    options = {"key": KEY, "horizons": (1,), "metrics": "nll"}
    card = evaluate(line(), UNEVEN, law=HiddenSwitch(), **options)
    assert card.skipped[0].startswith("law: it hides a part of its state")


def test_the_law_of_a_world_with_atoms_is_scored_under_its_noise():
    """Wet-Chicken's law has atoms: what could not be scored without noise is not complained of."""
    world = WetChicken()
    episodes = collect("stochwm/WetChicken-v0", steps=60, seed=0, progress=False)
    noise = np.array(world.noise_convention)
    options = {"key": KEY, "horizons": (1, 2), "noise": noise, "num_particles": 8}
    card = evaluate(Persistence(), episodes, law=world, metrics="nll", **options)
    law = card.only("law")
    assert [score.horizon for score in law.scores] == [1, 2]
    assert math.isfinite(law.get("nll", 2).value)
    assert law.skipped == ()


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
        ({"metrics": ("nll", "mse")}, r"metrics must be names out of \['nll', .*but are .*'mse'"),
        ({"metrics": ()}, "metrics must be names"),
        ({"gaussian": Walk(jnp.zeros(2))}, "model does not fit the environment"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Markov(line()), UNEVEN, key=KEY, **options)


def test_what_is_no_model_no_episodes_and_no_horizons_is_told_apart():
    """By the check itself, since in tests the types of what is passed are checked before."""
    models = {"model": line()}
    for arguments, message in (
        (({"model": lambda s, a: None}, UNEVEN, (1,)), "model must be .* but is a function"),
        ((models, UNEVEN.transitions(), (1,)), "episodes must be Episodes, but is Transitions"),
        ((models, UNEVEN, 3), r"horizons must be whole numbers .*\(1, 5\), but are 3"),
        ((models, UNEVEN, (1.5,)), "horizons must be whole numbers"),
    ):
        with pytest.raises(TypeError, match=message):
            _check_types(*arguments)
    assert _check_types(models | {"law": None}, UNEVEN, np.array([2, 1])) == (2, 1)


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
