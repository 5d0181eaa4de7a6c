"""Surprise of real observations, and the tests that say when the world has changed."""

import math
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from stochwm import imagine
from stochwm.data import flat_space
from stochwm.distributions import (
    AbstractSampler,
    Deterministic,
    DiagNormal,
    DiagNormalMixture,
    LatentStateDistribution,
    UniformMixture,
)
from stochwm.drift import (
    ConformalMartingale,
    Cusum,
    bayesian_surprise,
    surprise,
    surprise_along,
)
from stochwm.drift.episode_threshold import EpisodeSurprise, pilot_and_rest
from stochwm.drift.martingale import JUMP, POWERS
from stochwm.envs import Fork, HiddenSwitch, SwitchFilter, WetChicken
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition
from tests.cases_filters import Kalman, episodes_of

KEY = jax.random.key(0)


def within(share, number, rate, z=2.6):
    """Whether a share of so many is what the rate makes of them, by the binomial interval."""
    return abs(share - rate) < z * math.sqrt(rate * (1 - rate) / number)


# --- one surprise -----------------------------------------------------------------------------
NORMAL = DiagNormal(jnp.array([1.0, -1.0]), jnp.array([0.5, 2.0]))
SEEN = jnp.array([1.5, 0.0])
IN_NATS = -stats.norm.logpdf([1.5, 0.0], [1.0, -1.0], [0.5, 2.0]).sum()


def test_surprise_is_minus_the_log_density_of_what_was_drawn():
    stack = jax.tree.map(lambda x: jnp.stack([x, x]), NORMAL)
    latent = LatentStateDistribution(jnp.zeros(3), NORMAL)
    ensemble = UniformMixture(LatentStateDistribution(jnp.zeros((2, 3)), stack))
    for prediction in (NORMAL, latent, UniformMixture(stack), ensemble):
        np.testing.assert_allclose(surprise(prediction, SEEN), IN_NATS, rtol=1e-6)


def test_a_belief_that_moved_is_surprised_by_its_divergence():
    moved = DiagNormal(jnp.array([0.5, -1.0]), jnp.array([0.25, 2.0]))
    exact = math.log(2) + (0.25**2 + 0.5**2) / (2 * 0.5**2) - 0.5
    np.testing.assert_allclose(bayesian_surprise(NORMAL, moved), exact, rtol=1e-5)
    # A filter whose drawn part is the observation: the density of its prior.
    known = LatentStateDistribution(jnp.zeros(3), Deterministic(SEEN))
    prior = LatentStateDistribution(jnp.zeros(3), NORMAL)
    np.testing.assert_allclose(bayesian_surprise(prior, known), IN_NATS, rtol=1e-6)
    # No closed form: a mixture with twice the same normal is that normal.
    loc, scale = (jnp.stack([x, x]) for x in (NORMAL.loc, NORMAL.scale))
    mixture = DiagNormalMixture(jnp.zeros(2), loc, scale)
    with pytest.raises(NotImplementedError, match="kl_estimate"):
        bayesian_surprise(mixture, moved)
    estimate = bayesian_surprise(mixture, moved, key=KEY, num_samples=4000)
    np.testing.assert_allclose(estimate, exact, atol=0.05)


# --- along episodes ---------------------------------------------------------------------------
def ragged(size):
    rng = np.random.default_rng(0)
    return episodes_of(rng.normal(0.5, 0.3, (9, size)), rng.uniform(-1, 1, (9, 1)), [4, 5])


def test_surprise_of_each_transition_is_that_of_its_law():
    episodes, world = ragged(2), Fork()
    rows, wanted = episodes.transitions(), []
    for s, a, y in zip(rows.state, rows.action, rows.next_state, strict=True):
        law = world.law(jnp.asarray(s), jnp.asarray(a))
        log_weight = np.asarray(law.logits) - logsumexp(np.asarray(law.logits))
        wanted.append(-logsumexp(log_weight + stats.norm.logpdf(y, law.loc, law.scale).sum(-1)))
    along = surprise_along(world, episodes, key=KEY)
    assert isinstance(along, np.ndarray)
    assert len(along) == 7
    np.testing.assert_allclose(along, wanted, rtol=2e-4)


def test_surprise_of_a_filter_is_the_divergence_at_each_transition():
    episodes, wanted = ragged(1), []
    for index in range(2):
        episode = episodes.episode(index)
        mean, variance, push = 0.0, 1.0, 0.0
        for seen, action in zip(episode.observation[:, 0], episode.action[:, 0], strict=True):
            prior, spread = mean + push, variance + 0.25
            variance = 1 / (1 / spread + 4)
            mean, push = variance * (prior / spread + 4 * seen), action
            moved = (variance + (mean - prior) ** 2) / spread
            wanted.append(0.5 * (moved - 1 + math.log(spread / variance)))
    at_transitions = np.delete(wanted, [0, 4])  # not at the first observations
    along = surprise_along(Kalman(), episodes, key=KEY)
    np.testing.assert_allclose(along, at_transitions, rtol=1e-4)


def test_what_the_model_holds_impossible_is_infinitely_surprising():
    """And flagged at once; `noise` gives atoms a width."""
    observation = np.array([[1.0, 1.0], [1.0, 2.0], [3.0, 2.0]])  # x cannot move by 2
    episodes = episodes_of(observation, np.zeros((3, 2)), [3])
    along = surprise_along(WetChicken(), episodes, key=KEY)
    np.testing.assert_array_equal(np.isfinite(along), [True, False])
    assert np.isfinite(surprise_along(WetChicken(), episodes, key=KEY, noise=0.3)).all()
    reference = np.random.default_rng(0).normal(size=400)
    for detector in (Cusum(0, 1, 8), ConformalMartingale(reference, 3.0, key=KEY)):
        assert detector.watch(np.full(12, np.inf)).flagged[-1]
        assert detector.watch(np.full(12, np.nan)).flagged[-1]
    assert Cusum(0, 1, 8).watch([0.0, np.inf]).flagged[1]


# --- the recursions ---------------------------------------------------------------------------
def cusum_in_numpy(values, mean, std, allowance):
    total, totals = 0.0, []
    for value in values:
        total = max(0.0, total + (value - mean) / std - allowance)
        totals.append(total)
    return np.array(totals)


def p_values_in_numpy(reference, ties, values, draws, frozen=False):
    """Ranks among the reference and, unless frozen, all values before. Leading axis: series."""
    counts = np.ones((len(values), reference.shape[1] + 1))
    gaps, p, rows = np.arange(counts.shape[1]), [], np.arange(len(values))
    for t in range(values.shape[1]):
        value, tie, u = values[:, t, None], draws[:, t, :1], 1 - draws[:, t, 1]
        gap = ((reference < value) | ((reference == value) & (ties < tie))).sum(axis=1)
        above = np.where(gaps > gap[:, None], counts, 0).sum(axis=1)
        p.append((above + u * counts[rows, gap]) / counts.sum(axis=1))
        if not frozen:
            counts[rows, gap] += 1
    return np.stack(p, axis=1)


def log_wealth_in_numpy(p):
    """Leading axis: series."""
    capital, wealth = np.full((len(p), len(POWERS)), 1 / len(POWERS)), []
    for now in p.T:
        dealt = capital.sum(axis=1, keepdims=True) / len(POWERS)
        powers = np.array(POWERS)
        bets = powers * now[:, None] ** (powers - 1)
        capital = ((1 - JUMP) * capital + JUMP * dealt) * bets
        wealth.append(capital.sum(axis=1))
    return np.log(np.stack(wealth, axis=1))


def uniforms(key, length):
    return jax.vmap(lambda t: jax.random.uniform(jax.random.fold_in(key, t), (2,)))(
        jnp.arange(length)
    )


def test_cusum_is_pages_recursion_online_and_whole():
    values = np.random.default_rng(1).gamma(2.0, size=40)
    detector = Cusum(2.0, math.sqrt(2), 1.0, allowance=0.25)
    wanted = cusum_in_numpy(values, 2.0, math.sqrt(2), 0.25)
    watched = detector.watch(values)
    np.testing.assert_allclose(watched.statistic, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(watched.flagged, wanted > 1.0)
    assert 0 < np.mean(wanted > 1.0) < 1
    step, state = eqx.filter_jit(lambda state, value: detector.step(state, value)), None
    for t, value in enumerate(values):
        state, flagged = step(detector.initial() if state is None else state, jnp.float32(value))
        assert bool(flagged) == (wanted[t] > 1.0)


@pytest.mark.parametrize("tied", [False, True])
def test_martingale_is_its_recursion(tied):
    rng = np.random.default_rng(2)
    draw = (lambda n: rng.integers(0, 3, n)) if tied else (lambda n: rng.normal(size=n))
    reference, values = draw(20).astype("float32"), draw(40).astype("float32")
    detector = ConformalMartingale(reference, 0.5, key=KEY)
    draws = np.asarray(uniforms(detector.key, 40))[None]
    ties = np.asarray(detector.ties)[None]
    p = p_values_in_numpy(reference[None], ties, values[None], draws)
    watched = detector.watch(values)
    np.testing.assert_allclose(watched.statistic, log_wealth_in_numpy(p)[0], rtol=1e-3, atol=1e-4)


# --- false alarms -----------------------------------------------------------------------------
HORIZON, HELD = 20, 23  # 4 episodes make the statistic, 19 the threshold


def dependent(number, rng):
    """Surprises of an unchanged world in which some episodes surprise more than others."""
    level = 0.5 * rng.normal(size=(number, 1))
    return level + rng.gamma(1.0, size=(number, HORIZON))


@eqx.filter_jit
def each_by_its_own(detectors, series):
    """What one detector a series says."""
    return eqx.filter_vmap(lambda detector, values: detector.watch(values))(detectors, series)


@eqx.filter_jit
def all_by_one(detector, series):
    """What one detector says of many series."""
    return jax.vmap(detector.watch)(series)


def refitted(make, trials):
    """Detectors of many hold-outs, what they say of one fresh episode each, and of a held-out."""
    rng = np.random.default_rng(4)
    held = [dependent(HELD, rng) for _ in range(trials)]
    which, keys = np.repeat(np.arange(HELD), HORIZON), jax.random.split(KEY, trials)
    made = [make(values.ravel(), which, key) for values, key in zip(held, keys, strict=True)]
    stack = jax.tree.map(lambda *x: jnp.stack(x), *made)
    fresh = each_by_its_own(stack, jnp.asarray(dependent(trials, rng), "float32"))
    again = each_by_its_own(stack, jnp.asarray([x[-1] for x in held], "float32"))
    return stack, fresh, again


def test_cusum_flags_an_unchanged_world_as_rarely_as_promised():
    """An order statistic that is off by one would double the 5 %: 19 episodes set the threshold."""

    def make(values, which, key):
        return Cusum.fit(values, which, horizon=HORIZON, false_alarm=0.05)

    _, fresh, again = refitted(make, 600)
    assert within(np.mean(fresh.flagged.any(axis=1)), 600, 0.05)
    by_step = np.quantile(again.statistic, 0.95)  # a threshold for single steps does not do
    assert np.mean((fresh.statistic > by_step).any(axis=1)) > 0.09


def test_martingale_of_episodes_keeps_the_promise_where_villes_does_not():
    """Surprises of an episode are alike: they are not exchangeable with those of others."""

    def make(values, which, key):
        return ConformalMartingale.fit_episodes(
            values, which, horizon=HORIZON, false_alarm=0.1, key=key
        )

    _, fresh, _ = refitted(make, 200)
    assert within(np.mean(fresh.flagged.any(axis=1)), 200, 0.1)
    assert np.mean((fresh.statistic > math.log(1 / 0.1)).any(axis=1)) > 0.2


@pytest.mark.parametrize(("allowance", "rate"), [(0.1, 0.3), (0.5, 0.1)])
def test_what_ties_with_the_threshold_is_no_alarm_in_any_program(allowance, rate):
    """Worlds of few outcomes: many share the order statistic, which is rounded elsewhere.

    Of the episodes that set a threshold, `rate (n + 1) - 1` exceed it at most.
    """
    atoms = np.log([4.0, 1.7, 3.1]).astype("float32")
    surprises = atoms[np.random.default_rng(0).integers(3, size=(200, 6))]
    which = np.repeat(np.arange(200), 6)
    detector = Cusum.fit(surprises.ravel(), which, horizon=6, false_alarm=rate, allowance=allowance)
    rest = surprises[40:]
    as_constant = jax.jit(jax.vmap(lambda series: detector.watch(series).statistic))(rest)
    numbers = [float(x) for x in (detector.mean, detector.std, detector.allowance)]
    doubly = np.stack([cusum_in_numpy(series.astype(float), *numbers) for series in rest])
    for statistic in (as_constant, all_by_one(detector, rest).statistic, doubly):
        above = np.max(statistic, axis=1) > float(detector.threshold)
        assert rate * 161 - 1 - 20 < above.sum() <= rate * 161 - 1


def test_a_surprise_that_is_rounded_otherwise_is_the_same_surprise():
    """Of three outcomes, watched by a program whose last bits are others than the reference's."""
    atoms = np.log([4.0, 1.7, 3.1]).astype("float32")
    rng = np.random.default_rng(0)
    detector = ConformalMartingale.fit(atoms[rng.integers(3, size=200)], key=KEY)
    series = atoms[rng.integers(3, size=60)]
    for to in (-np.inf, np.inf):
        otherwise = np.nextafter(np.nextafter(series, np.float32(to)), np.float32(to))
        for now, then in zip(detector.watch(otherwise), detector.watch(series), strict=True):
            np.testing.assert_array_equal(now, then)
    assert not detector.watch(series).flagged.any()


def test_p_values_are_independent_and_uniform_for_any_number_of_steps():
    """Ranks among a reference alone are not: given 30 numbers, each rank errs in the same way."""
    rng = np.random.default_rng(5)
    reference, ties = rng.normal(size=(2000, 30)), rng.random((2000, 30))
    values, draws = rng.normal(size=(2000, 300)), rng.random((2000, 300, 2))
    for frozen in (False, True):
        p = p_values_in_numpy(reference, ties, values, draws, frozen=frozen)
        assert stats.kstest(p[:, -1], "uniform").pvalue > 0.01
        spread = np.var(p.mean(axis=1)) * 12 * 300
        ever = np.mean(log_wealth_in_numpy(p).max(axis=1) > math.log(1 / 0.05))
        if frozen:
            assert spread > 2
            assert ever > 0.1
        else:
            assert abs(spread - 1) < 0.1
            assert ever < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 2000)


# --- changes ----------------------------------------------------------------------------------
BEFORE, AFTER = 25, 25


def at_random(state, *, key):
    return jax.random.uniform(key, (1,), minval=-1.0)


@eqx.filter_jit
def _lived(before, after, keys):
    def one(key):
        start, first, second = jax.random.split(key, 3)
        state = before.initial().sample(seed=start)
        middle, head = imagine(before, at_random, state, key=first, length=BEFORE)
        _, tail = imagine(after, at_random, middle, key=second, length=AFTER)
        states = jnp.concatenate([state[None], head.state, tail.state])
        return jax.vmap(before.emit)(states), jnp.concatenate(
            [head.action, tail.action, tail.action[:1]]
        )

    return jax.vmap(one)(keys)


def lived(before, after, number, seed):
    """Episodes of a world that becomes another one after 25 of 50 steps."""
    rows = _lived(before, after, jax.random.split(jax.random.key(seed), number))
    observation, action = (np.asarray(x).reshape(-1, x.shape[-1]) for x in rows)
    spaces = flat_space(before.observation_space, "x"), flat_space(before.action_space, "a")
    return episodes_of(observation, action, [BEFORE + AFTER + 1] * number, spaces)


WORLDS = {
    "fork": (Fork(), Fork(), Fork(noise=1.5)),
    "filter": (HiddenSwitch(), SwitchFilter(HiddenSwitch()), HiddenSwitch(winds=(-0.5, 0.5))),
}


def surprises(model, world, after, number, seed):
    """Of so many episodes, `[number, 50]`."""
    return surprise_along(model, lived(world, after, number, seed), key=KEY).reshape(number, -1)


def both(held):
    """Both detectors with a threshold from 100 held-out episodes."""
    which = np.repeat(np.arange(100), BEFORE + AFTER)
    cusum = Cusum.fit(held.ravel(), which, horizon=50)
    return cusum, ConformalMartingale.fit_episodes(held.ravel(), which, horizon=50, key=KEY)


def flags(detector, along):
    return np.asarray(all_by_one(detector, jnp.asarray(along, "float32")).flagged)


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_that_changes_is_found_soon(name):
    world, model, changed = WORLDS[name]
    held, fresh, after = (
        surprises(model, world, then, number, seed)
        for seed, (then, number) in enumerate([(world, 100), (world, 300), (changed, 300)])
    )
    for detector, least in zip(both(held), (0.8, 0.5), strict=True):
        false = flags(detector, fresh).any(axis=1).mean()
        flagged = flags(detector, after)
        early, late = flagged[:, :BEFORE].any(axis=1), flagged[:, BEFORE:]
        hit = late.any(axis=1) & ~early
        delay = (np.argmax(late, axis=1)[hit] + 1).mean()
        # As often as promised, up to the chance in 300 episodes and in the 80 of the threshold.
        assert false < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 * (1 / 300 + 1 / 80))
        assert early.mean() <= 0.1
        assert hit.sum() / (~early).sum() > least
        assert delay < 16


def test_a_calmer_world_is_found_by_bets_and_by_minus_the_surprise():
    """A CUSUM of surprise sees rises only."""
    held, after = (surprises(Fork(), Fork(), Fork(noise=n), 100, 5) for n in (1.0, 0.5))
    cusum, bets = both(held)
    assert flags(cusum, after).any(axis=1).mean() < 0.05
    assert flags(bets, after).any(axis=1).mean() > 0.35
    assert flags(both(-held)[0], -after).any(axis=1).mean() > 0.7


def test_a_slow_periodic_drift_is_not_seen():
    """What rises by less than the allowance and falls again never adds up."""
    rng = np.random.default_rng(6)
    held, quiet = rng.normal(size=(100, 50)), rng.normal(size=(300, 50))
    wave = 0.3 * np.sin(2 * np.pi * np.arange(50) / 50)
    for detector in both(held):
        assert flags(detector, quiet + wave).any(axis=1).mean() < 0.15
        assert flags(detector, quiet + 1.0).any(axis=1).mean() > 0.95


# --- what is refused --------------------------------------------------------------------------
class Draws(AbstractSampler):
    """Can only be sampled."""

    def sample(self, *, seed):
        return jax.random.normal(seed, (2,))


class Drawing(AbstractTransition):
    """Predicts what can only be sampled."""

    def __call__(self, state, action):
        return Draws()


FITS = [
    lambda *args, **options: Cusum.fit(*args, **options),
    lambda *args, **options: ConformalMartingale.fit_episodes(*args, **options, key=KEY),
]
RISES, EACH = np.arange(92.0) % 7, np.repeat(np.arange(23), 4)
SEVENTH = np.repeat(np.arange(40), 7)  # of the first, a sum of 0.7 is rounded


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("surprise", "episode", "options", "match"),
    [
        (RISES[:88], EACH[:88], {}, "at least 23 episodes .* comes from 22"),
        (RISES, EACH, {"false_alarm": 0.01}, "at least 123 episodes"),
        (RISES, EACH, {"false_alarm": 1.0}, "false_alarm"),
        (RISES, EACH, {"horizon": 5}, "horizon.* 4 of the longest"),
        (RISES, EACH, {"horizon": 0}, "horizon"),
        (RISES, EACH[:-1], {}, "episode must"),
        (np.where(RISES > 5, np.inf, RISES), EACH, {}, "finite, but 14.1 %"),
        (RISES[:, None], EACH, {}, "surprise must be"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, surprise, episode, options, match):
    with pytest.raises(ValueError, match=match):
        fit(surprise, episode, **{"horizon": 4} | options)


@pytest.mark.parametrize("false_alarm", [0.5, 0.3, 0.2, 0.1, 0.05, 0.01])
def test_as_many_episodes_are_enough_as_the_error_says(false_alarm):
    one = EpisodeSurprise(np.zeros((1, 1)), np.ones((1, 1), bool))
    with pytest.raises(ValueError, match="at least") as refused:
        pilot_and_rest(one, false_alarm)
    least = int(re.search(r"at least (\d+)", str(refused.value))[1])
    series = [EpisodeSurprise(*(np.repeat(x, least - i, axis=0) for x in one)) for i in (0, 1)]
    assert math.ceil((len(pilot_and_rest(series[0], false_alarm)[1].mask) + 1) * false_alarm) >= 1
    with pytest.raises(ValueError, match=f"at least {least}"):
        pilot_and_rest(series[1], false_alarm)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Cusum(0, 0, 1), ValueError, "std"),
        (lambda: Cusum(0, 1, [1.0]), ValueError, "threshold"),
        (lambda: Cusum(math.nan, 1, 1), ValueError, "mean"),
        (lambda: Cusum.fit(np.ones(92), EACH, horizon=4), ValueError, "vary"),
        (lambda: Cusum.fit(np.full(280, 0.7), SEVENTH, horizon=7), ValueError, "vary"),
        (lambda: Cusum.fit(RISES, EACH, horizon=0), ValueError, "horizon must be a whole"),
        (lambda: Cusum(0, 1, 1).watch(1.0), ValueError, "time"),
        (lambda: Cusum(0, 1, 1).step(jnp.zeros(()), np.ones(2)), ValueError, "one number"),
        (lambda: ConformalMartingale([], 1, key=KEY), ValueError, "surprise must be"),
        (lambda: ConformalMartingale(RISES, math.inf, key=KEY), ValueError, "threshold"),
        (
            lambda: ConformalMartingale.fit(RISES, key=KEY, false_alarm=0.0),
            ValueError,
            "false_alarm",
        ),
        (lambda: surprise(Draws(), SEEN), TypeError, "log_prob"),
        (lambda: surprise(NORMAL, jnp.zeros(3)), ValueError, "shape"),
        (lambda: bayesian_surprise(Draws(), NORMAL), TypeError, "prior"),
        (lambda: bayesian_surprise(NORMAL, Draws()), TypeError, "posterior"),
        (lambda: surprise_along(Fork(), ragged(1), key=KEY), ValueError, "does not fit"),
        (lambda: surprise_along(Kalman(), ragged(1), key=KEY, noise=1), ValueError, "noise"),
        (
            lambda: surprise_along(Markov(Drawing()), ragged(2), key=KEY),
            NotImplementedError,
            "Draws has no log_prob",
        ),
    ],
)
def test_bad_input_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()
