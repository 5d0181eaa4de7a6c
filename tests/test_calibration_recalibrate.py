"""Recalibration of one step: planted faults are found, and the repair reaches the particles."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy import stats

from stochwm import imagine_ts1
from stochwm._storage import load_tree, save_tree
from stochwm.calibration import (
    BetaMap,
    PitMap,
    PitMapped,
    QuantileMap,
    Spread,
    Tempered,
    pit,
    recalibrate,
    refuse_training_episodes,
)
from stochwm.calibration.factors import best_factors
from stochwm.data import Episodes, FlatSpace
from stochwm.distributions import (
    BoxMixture,
    DiagNormalMixture,
    FullNormal,
    OneHotCategoricals,
)
from stochwm.envs import MixtureWalk
from stochwm.models import Markov
from stochwm.testing import check_transition
from stochwm.transitions import AbstractTransition, AutoregressiveCategorical, Categorical, Ensemble
from tests.cases_models import distance, stays_near

KEY = jax.random.key(0)
PLANTED = np.array([0.5, 0.25])  # the model's spread, in units of the right one
LOC, SCALE, WEIGHTS = (
    np.array([[-1.5, 1.0], [0.5, -1 / 3]]),  # mean zero under the weights
    np.array([[0.2, 0.5], [0.4, 0.3]]),
    np.array([0.25, 0.75]),
)


def space(size):
    return FlatSpace(size, (-math.inf,) * size, (math.inf,) * size, (), tuple("xyz"[:size]))


def make_episodes(draw, number, length, dim=2, seed=0):
    """Episodes of s' = 0.5 s + a + draw(rng), with an action of one entry."""
    rng = np.random.default_rng(seed)
    state = np.zeros((number, length + 1, dim))
    action = rng.normal(size=(number, length + 1, 1))
    for t in range(length):
        noise = np.stack([draw(rng) for _ in range(number)])
        state[:, t + 1] = 0.5 * state[:, t] + action[:, t] + noise
    first = np.tile(np.arange(length + 1) == 0, number)
    last = np.tile(np.arange(length + 1) == length, number)
    spaces = {"observation_space": space(dim), "action_space": space(1)}
    flat = (state.reshape(-1, dim), action.reshape(-1, 1), np.zeros(first.shape))
    return Episodes(*flat, first, last, np.zeros_like(first), **spaces)


def fork(rng):
    k = int(rng.random() > WEIGHTS[0])
    return LOC[k] + SCALE[k] * rng.normal(size=2)


FORK = make_episodes(fork, 60, 20)


class Planted(AbstractTransition):
    """The law of `make_episodes(fork, ...)` with its logits and its spread changed."""

    loc: Float[Array, "2 dim"]
    scale: Float[Array, "2 dim"]
    logits: Float[Array, "2"]

    def __init__(self, factor=1.0, temperature=1.0, loc=LOC, scale=SCALE):
        self.loc, self.scale = jnp.asarray(factor * loc), jnp.asarray(factor * scale)
        self.logits = jnp.log(jnp.asarray(WEIGHTS)) / temperature

    def __call__(self, state, action):
        return DiagNormalMixture(self.logits, 0.5 * state + action + self.loc, self.scale)


class Normal(AbstractTransition):
    """N(0.5 s + a + bias, tril tril^T)."""

    tril: Float[Array, "dim dim"]
    bias: Float[Array, ""]

    def __init__(self, tril, bias=0.0):
        self.tril, self.bias = jnp.asarray(tril, float), jnp.asarray(bias)

    def __call__(self, state, action):
        return FullNormal(0.5 * state + action + self.bias, self.tril)


def sample(law, number, seed=1):
    keys = jax.random.split(jax.random.key(seed), number)
    return jax.jit(jax.vmap(lambda key: law.sample(seed=key)))(keys)


def test_a_factor_that_makes_no_difference_is_one():
    found = best_factors(lambda f: jnp.array([0.0, jnp.log(f[1] / 3) ** 2]), 2)
    np.testing.assert_allclose(found, [1.0, 3.0], rtol=0.01)
    assert found[0] == 1


@pytest.mark.parametrize(("sign", "end"), [(1, 1 / 64), (-1, 64)])
def test_factors_are_searched_between_fixed_ends(sign, end):
    assert best_factors(lambda f: sign * f, 1) == pytest.approx(end, rel=1e-5)


# --- scale ------------------------------------------------------------------------------------
def test_scale_finds_the_planted_spread_of_a_mixture():
    fixed = recalibrate(Planted(PLANTED), FORK, key=KEY)
    assert isinstance(fixed, Spread)
    np.testing.assert_allclose(fixed.factor.values, 1 / PLANTED, rtol=0.06)
    repaired, truth = (k(jnp.zeros(2), jnp.zeros(1)) for k in (fixed, Planted()))
    np.testing.assert_allclose(repaired.loc, truth.loc, atol=0.1)
    right = recalibrate(Planted(), FORK, key=KEY)
    np.testing.assert_allclose(right.factor.values, 1.0, atol=0.06)


def test_a_factor_of_other_dimensions_is_refused():
    line = Spread(Normal([[1.0]]), np.ones(3))
    with pytest.raises(ValueError, match=r"factor must be one number or \[1\] like the prediction"):
        line(jnp.zeros(1), jnp.zeros(1))


def test_scale_keeps_the_dependence_of_a_normal():
    tril = np.array([[0.3, 0.0], [0.3, 0.1]])
    episodes = make_episodes(lambda rng: tril @ rng.normal(size=2), 60, 20)
    fixed = recalibrate(Normal(PLANTED[:, None] * tril), episodes, key=KEY)
    np.testing.assert_allclose(fixed.factor.values, 1 / PLANTED, rtol=0.08)
    repaired = fixed(jnp.ones(2), jnp.ones(1))
    np.testing.assert_allclose(repaired.mean(), [1.5, 1.5], rtol=1e-5)
    corr = repaired.covariance()[0, 1] / jnp.sqrt(jnp.prod(repaired.variance()))
    assert corr == pytest.approx(0.3 / math.hypot(0.3, 0.1), rel=1e-4)


def test_an_ensemble_is_spread_about_the_mean_of_its_mixture():
    """Members that disagree at half of the right distance: no spread of each alone can mend it."""

    def draw(rng):
        return rng.choice([-1.0, 1.0]) + 0.2 * rng.normal(size=1)

    ensemble = Ensemble(lambda key: Normal([[0.1]]), 2, key=KEY)
    members = eqx.tree_at(lambda k: k.bias, ensemble.members, jnp.array([-0.5, 0.5]))
    model = Markov(eqx.tree_at(lambda k: k.members, ensemble, members), distance, stays_near)
    fixed = recalibrate(model, make_episodes(draw, 40, 20, dim=1), key=KEY)
    assert fixed.kernel.factor.values == pytest.approx(2.0, rel=0.05)
    assert (fixed.reward_head, fixed.discount_head) == (distance, stays_near)
    state = jnp.zeros(1)
    law = fixed.transition(state, state)
    np.testing.assert_allclose(law.members.loc[:, 0], [-1, 1], rtol=0.05)
    with pytest.raises(TypeError, match="Ensemble"):
        imagine_ts1(fixed, lambda s, *, key: s, state[None], key=KEY, length=2)


# --- shape ------------------------------------------------------------------------------------
def skewed(rng):
    """Exponential noise and a copy of it in reverse: skewed margins, dependent."""
    z = rng.exponential(size=2)
    return np.array([z[0], -0.8 * z[0] - 0.6 * z[1]]) - np.array([1.0, -1.4])


SKEWED, FRESH = make_episodes(skewed, 80, 20), make_episodes(skewed, 80, 20, seed=1)
BASE = Normal([[1.0, 0.0], [-0.8, 0.6]])


@eqx.filter_jit
def pit_rows(kernel, rows):
    one = lambda s, a, y: pit(kernel(s, a), y, key=KEY)  # noqa: E731
    return jax.vmap(one)(*map(jnp.asarray, (rows.state, rows.action, rows.next_state)))


def distance_from_uniform(values):
    ordered = np.sort(np.asarray(values), axis=0)
    expected = (np.arange(len(ordered)) + 0.5) / len(ordered)
    return np.abs(ordered - expected[:, None]).max(axis=0)


@pytest.mark.parametrize(("method", "kind"), [("pit", QuantileMap), ("beta", BetaMap)])
def test_pit_mends_the_shape_of_marginals_and_keeps_the_copula(method, kind):
    fixed = recalibrate(BASE, SKEWED, method=method, key=KEY)
    assert isinstance(fixed, PitMap)
    assert isinstance(fixed.level_map, kind)
    before, after = (pit_rows(k, FRESH.transitions()) for k in (BASE, fixed))
    assert (distance_from_uniform(before) > 0.1).all()
    # 1.6 / sqrt(1600) = .04 is the 1 % point of the law itself.
    assert (distance_from_uniform(after) < (0.05 if kind is QuantileMap else 0.1)).all()
    law = fixed(jnp.zeros(2), jnp.zeros(1))
    noise = jax.jit(jax.vmap(lambda key: law.noise(seed=key)))(jax.random.split(KEY, 500))
    push = eqx.filter_jit(lambda law, noise: jax.vmap(law.push)(noise))
    mapped, plain = push(law, noise), push(law.base, noise.base)
    in_order = np.take_along_axis(np.asarray(mapped), np.argsort(plain, axis=0), axis=0)
    assert (np.diff(in_order, axis=0) >= 0).all()
    assert np.abs(mapped - plain).max() > 0.2


NARROW = Planted(loc=LOC[:, :1], scale=SCALE[:, :1])
LEVELS = np.random.default_rng(0).beta(0.5, 0.8, (2000, 1))
REPAIRED = {
    "scale": lambda: Spread(NARROW, 1.7),
    "weights": lambda: Tempered(NARROW, 3.0),
    "pit": lambda: PitMap(NARROW, QuantileMap.fit(LEVELS)),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_density_integrates_to_one_and_is_that_of_the_samples(name):
    law = REPAIRED[name]()(jnp.zeros(1), jnp.zeros(1))
    grid = jnp.linspace(-12, 12, 4801)[:, None]
    density = np.asarray(jnp.exp(jax.jit(jax.vmap(law.log_prob))(grid)))
    area = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * 0.005)])
    assert area[-1] == pytest.approx(1.0, abs=2e-3)
    cdf = np.asarray(jax.jit(jax.vmap(law.cdf))(grid))[:, 0]
    np.testing.assert_allclose(cdf, area, atol=3e-3)
    draws = np.asarray(sample(law, 4000))[:, 0]
    levels = np.interp(draws, grid[:, 0], cdf)
    assert distance_from_uniform(levels[:, None]) < 1.63 / math.sqrt(4000)


def test_joint_density_of_a_recoded_normal_integrates_to_one():
    values = np.random.default_rng(0).beta([0.7, 2.0], [1.2, 1.0], (2000, 2))
    law = PitMapped(BASE(jnp.zeros(2), jnp.zeros(1)), QuantileMap.fit(values))
    axis = jnp.linspace(-6, 6, 121)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    density = np.exp(np.asarray(jax.jit(jax.vmap(law.log_prob))(grid), float))
    assert density.sum() * 0.1**2 == pytest.approx(1.0, abs=0.01)


def test_an_atom_gets_the_mass_that_the_map_gives_it():
    """Half of the mass at 0, half on [0, 1]: P(X <= 0) becomes G(1/2)."""
    level_map = QuantileMap.fit(np.random.default_rng(0).beta(0.5, 1.5, (2000, 1)))
    law = PitMapped(BoxMixture([0.0, 0.0], [[0.0], [0.0]], [[0.0], [1.0]]), level_map)
    mass = float(level_map(jnp.array([0.5]))[0])
    assert mass > 0.7
    grid = (jnp.arange(-1, 400)[:, None] + 0.5) / 400
    density = np.exp(np.asarray(jax.jit(jax.vmap(law.log_prob))(grid.at[0].set(0.0))))
    assert density[0] == pytest.approx(mass, rel=1e-4)
    assert density[1:].mean() + mass == pytest.approx(1.0, abs=3e-3)
    assert np.mean(np.asarray(sample(law, 4000)) < 1e-6) == pytest.approx(mass, abs=0.03)


def test_a_recoded_kernel_keeps_the_laws_of_transitions():
    kernel = PitMap(Normal([[1.0]]), QuantileMap.fit(LEVELS))
    check_transition(kernel, jnp.zeros(1), jnp.zeros(1), key=KEY, num_samples=500)


@pytest.mark.parametrize("kind", [QuantileMap, BetaMap])
def test_level_maps_rise_and_invert(kind):
    values = np.random.default_rng(0).beta(0.5, 0.8, (500, 1))
    values[:50] = 0.0  # crowded levels must not make a jump
    level_map = kind.fit(values)
    levels = jnp.linspace(1e-4, 1 - 1e-4, 400)[:, None]

    @jax.jit
    def facts(level):
        mapped, slope = jax.jvp(level_map, (level,), (jnp.ones(1),))
        return mapped, slope, level_map.inverse(mapped), level_map.log_density(level)

    mapped, slope, back, log_density = map(np.asarray, jax.vmap(facts)(levels))
    assert (np.diff(mapped, axis=0) > 0).all()
    np.testing.assert_allclose(back, levels, atol=2e-5)
    np.testing.assert_allclose(np.exp(log_density), slope, rtol=0.05)


def test_a_quantile_map_goes_on_beyond_its_knots_as_a_wrong_spread_does():
    """Of a normal that is twice too narrow, Phi(z) means Phi(z / 2), in the far tails too."""
    z = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    level_map = QuantileMap.fit(stats.norm.cdf(2 * z)[:, None])
    for score in (-8.0, -6.0, -1.0):
        level = jnp.array([stats.norm.cdf(score)], jnp.float32)
        assert level_map(level)[0] == pytest.approx(stats.norm.cdf(score / 2), rel=0.03)


@pytest.mark.parametrize("kind", [QuantileMap, BetaMap])
def test_marginals_of_a_recoded_law_keep_their_own_map(kind):
    values = np.random.default_rng(0).beta([0.7, 2.0], [1.2, 1.0], (500, 2))
    law, value = (
        PitMapped(BASE(jnp.zeros(2), jnp.zeros(1)), kind.fit(values)),
        jnp.array([0.3, 0.8]),
    )
    for d in (0, 1):
        part = law.marginal((d,))
        np.testing.assert_allclose(part.cdf(value[d : d + 1]), law.cdf(value)[d : d + 1], rtol=1e-5)


def test_noise_of_a_recoded_atom_makes_the_value_again():
    """Half of the mass at 0 becomes little of it: the rest of the atom makes values above 0."""
    level_map = QuantileMap.fit(np.random.default_rng(0).beta(1.5, 0.5, (2000, 1)))
    law = PitMapped(BoxMixture([0.0, 0.0], [[0.0], [0.0]], [[0.0], [1.0]]), level_map)
    again = jax.jit(lambda value, key: law.push(law.abduct(value, key=key)))
    for i, value in enumerate((0.0, 0.05, 0.1, 0.3, 0.9)):
        found = again(jnp.array([value]), jax.random.key(i))
        np.testing.assert_allclose(found, [value], atol=1e-4)


# --- weights ----------------------------------------------------------------------------------
def test_temperature_of_mixture_weights_is_found():
    fixed = recalibrate(Planted(temperature=0.25), FORK, method="weights", key=KEY)
    assert fixed.temperature.values == pytest.approx(4.0, rel=0.35)
    weights = fixed(jnp.zeros(2), jnp.zeros(1)).weights()
    np.testing.assert_allclose(weights, WEIGHTS, atol=0.04)


class Classes(AbstractTransition):
    """One of three classes with fixed logits."""

    logits: Float[Array, "3"]

    def __call__(self, state, action):
        return OneHotCategoricals(self.logits)


def classes(rng_seed=0, number=40, length=20):
    """Episodes of draws from probabilities (.5, .3, .2)."""
    rng = np.random.default_rng(rng_seed)
    rows = number * (length + 1)
    state = np.eye(3)[rng.choice(3, rows, p=[0.5, 0.3, 0.2])]
    at = np.arange(rows) % (length + 1)
    one_hot = FlatSpace(3, (0.0,) * 3, (1.0,) * 3, ((0, 3),), tuple("abc"))
    flags = (at == 0, at == length, np.zeros(rows, bool))
    spaces = {"observation_space": one_hot, "action_space": space(1)}
    return Episodes(state, np.zeros((rows, 1)), np.zeros(rows), *flags, **spaces)


def test_temperature_of_classes_is_found_through_an_ensemble():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    kernel = Ensemble(lambda key: Classes(3 * logits), 2, key=KEY)
    fixed = recalibrate(kernel, classes(), method="weights", key=KEY)
    law = fixed(jnp.zeros(3), jnp.zeros(1))
    np.testing.assert_allclose(law.mean(), [0.5, 0.3, 0.2], atol=0.04)


# --- the hold-out, storage and misuse ---------------------------------------------------------
def test_training_episodes_are_refused():
    train, holdout = FORK.split([0.5, 0.5], seed=0)
    refuse_training_episodes(holdout, train)
    mixed = Episodes.concatenate([holdout, train.episode(3)])
    with pytest.raises(ValueError, match="1 of its 31 episodes are in train.*episode 30"):
        recalibrate(Planted(), mixed, train=train, key=KEY)
    rows = np.flatnonzero(train.is_first)[3] + np.arange(5, 9)  # a piece of that episode
    spaces = {"observation_space": space(2), "action_space": space(1)}
    at = np.arange(4)
    flags = (at == 0, at == 3, np.zeros(4, bool))
    values = (train.observation[rows], train.action[rows], np.zeros(4))
    with pytest.raises(ValueError, match="1 of its 1 episodes"):
        refuse_training_episodes(Episodes(*values, *flags, **spaces), train)


def test_discrete_worlds_repeat_transitions_by_chance():
    refuse_training_episodes(classes(1), classes(0))
    with pytest.raises(ValueError, match="40 of its 40"):
        refuse_training_episodes(classes(0), classes(0))


def test_saved_and_loaded_equal(tmp_path):
    values = np.random.default_rng(0).beta(0.5, 0.8, (2, 200, 2))
    make = lambda factor, v: Markov(PitMap(Spread(Planted(), factor), QuantileMap.fit(v)))  # noqa: E731
    model = make(np.array([2.0, 3.0]), values[0])
    save_tree(tmp_path / "model", model)
    loaded = load_tree(tmp_path / "model", make(np.ones(2), values[1]))
    assert eqx.tree_equal(model, loaded)


AUTOREGRESSIVE = AutoregressiveCategorical(2, 1, num_bins=4, features=4, width=4, depth=0, key=KEY)
MISUSES = {
    "unknown method": (Planted(), {"method": "magic"}, ValueError, "scale, pit, beta, weights"),
    "unknown per": (Planted(), {"per": "day"}, ValueError, "step, horizon"),
    "pit by horizon": (Planted(), {"method": "pit", "per": "horizon"}, ValueError, "'pit'"),
    "clock in a transition": (Planted(), {"per": "horizon"}, TypeError, "Markov"),
    "no moments": (AUTOREGRESSIVE, {}, TypeError, "spread about its mean"),
    "no cdf": (AUTOREGRESSIVE, {"method": "pit"}, TypeError, "recoded"),
    "no weights": (BASE, {"method": "weights"}, TypeError, "no logits"),
    "other space": (Normal([[1.0]]), {}, ValueError, "does not fit"),
}


@pytest.mark.parametrize("case", MISUSES)
def test_misuse_is_explained(case):
    model, options, error, message = MISUSES[case]
    with pytest.raises(error, match=message):
        recalibrate(model, FORK, key=KEY, **options)


@pytest.mark.parametrize("method", ["scale", "pit", "beta", "weights"])
def test_a_broken_member_is_not_repaired(method):
    healthy = Ensemble(lambda key: Planted(), 2, key=KEY)
    broken = eqx.tree_at(lambda e: e.members.loc, healthy, healthy.members.loc.at[1].set(jnp.nan))
    with pytest.raises(ValueError, match="cannot be scored on the hold-out"):
        recalibrate(broken, FORK, method=method, key=KEY)


@pytest.mark.parametrize("method", ["scale", "pit", "conformal", "adaptive"])
def test_classes_have_neither_spread_nor_levels(method):
    kernel = Categorical(3, 1, width=4, depth=0, key=KEY)
    with pytest.raises(TypeError, match="'weights' needs"):
        recalibrate(kernel, classes(), method=method, key=KEY)


def test_a_world_model_without_a_kernel_is_refused():
    short = make_episodes(lambda rng: rng.normal(size=1), 2, 2, dim=1)
    with pytest.raises(TypeError, match="kernel"):
        recalibrate(MixtureWalk(), short, key=KEY)
