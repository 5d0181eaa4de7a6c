"""What the main job trains: noise, units, and statistics of the training part alone."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm._learn import LearnConfig
from stochwm._learn.kernels import recipes
from stochwm._learn.run import Run, create_run
from stochwm._learn.worlds import noise_convention, world_of
from stochwm.calibration import evaluate_density
from stochwm.data import Episodes, FlatSpace
from stochwm.distributions import DiagNormalMixture, OneHotCategoricals

CONFIG = LearnConfig("stochwm/Fork-v0", members=2, components=2, width=4)
BOX = FlatSpace(1, (-math.inf,), (math.inf,), (), ("x",))
COIN = FlatSpace(2, (0.0, 0.0), (1.0, 1.0), ((0, 2),), ("heads", "tails"))
MIXED = FlatSpace(3, (-math.inf, 0.0, 0.0), (math.inf, 1.0, 1.0), ((1, 2),), ("x", "a", "b"))
HEADS = 0.8


def one_episode(observation, space):
    at = np.arange(len(observation))
    rest = (np.zeros((len(at), 1)), np.zeros(len(at)), at == 0, at == len(at) - 1, at < 0)
    return Episodes(observation, *rest, observation_space=space, action_space=BOX)


def coins(number=20, length=100):
    """Each state is heads or tails with probabilities 0.8 and 0.2, whatever came before."""
    rng = np.random.default_rng(0)
    sides = (rng.random((number, length + 1)) > HEADS).astype(int)
    return Episodes.concatenate([one_episode(np.eye(2)[side], COIN) for side in sides])


def numbers(number=20):
    rng = np.random.default_rng(0)
    parts = [one_episode(rng.normal(3, 2, size=(8, 1)), BOX) for _ in range(number)]
    return Episodes.concatenate(parts)


def test_no_noise_without_convention_or_one_hot():
    made = recipes(CONFIG, numbers(), None)
    assert set(made) == {"model", "baseline"}
    for recipe in made.values():
        assert recipe.noise.tolist() == [0.0]
        assert recipe.nll_shift == 0.0


def test_noise_is_the_convention_of_the_world_or_the_users():
    assert recipes(CONFIG, numbers(), np.array([0.3]))["model"].noise == pytest.approx(0.3)
    own = dataclasses.replace(CONFIG, noise=0.7)
    assert recipes(own, numbers(), np.array([0.3]))["baseline"].noise == pytest.approx(0.7)
    convention = noise_convention(world_of(LearnConfig("stochwm/WetChicken-v0")))
    np.testing.assert_allclose(convention, [0.1, 0.1])
    assert noise_convention(world_of(LearnConfig("CartPole-v1"))) is None


def test_only_one_hot_dimensions_shift_the_density():
    observation = np.tile([[0.5, 1.0, 0.0]], (5, 1))
    made = recipes(CONFIG, one_episode(observation, MIXED), np.array([0.2, 0.0, 0.0]))
    np.testing.assert_allclose(made["model"].noise, [0.2, 0.1, 0.1])
    entropy = 2 * 0.5 * math.log(2 * math.pi * math.e * 0.1**2)
    assert made["model"].nll_shift == pytest.approx(-entropy, rel=1e-5)


def test_discrete_states_are_learned_by_categories():
    made = recipes(CONFIG, coins(), None)
    assert made["model"].label == "categorical"
    assert made["model"].noise.tolist() == [0.0, 0.0]
    assert made["model"].nll_shift == 0.0
    np.testing.assert_allclose(made["baseline"].noise, [0.1, 0.1])
    with pytest.raises(ValueError, match="'categorical' needs observations that are all discrete"):
        recipes(dataclasses.replace(CONFIG, family="categorical"), numbers(), None)


def test_shifted_density_is_comparable_with_a_probability():
    """The best density of noised one-hot states scores, once shifted, what the best mass does."""
    episodes, key = coins(), jax.random.key(0)
    baseline = recipes(CONFIG, episodes, None)["baseline"]
    logits = jnp.log(jnp.array([HEADS, 1 - HEADS]))
    noise = jnp.asarray(baseline.noise)
    mass = evaluate_density(lambda s, a: OneHotCategoricals(logits, (2,)), episodes, key=key)
    density = evaluate_density(
        lambda s, a: DiagNormalMixture(logits, jnp.eye(2), jnp.stack([noise, noise])),
        episodes,
        key=key,
        noise=noise,
    )
    entropy = -(HEADS * math.log(HEADS) + (1 - HEADS) * math.log(1 - HEADS))
    assert mass.get("nll").value == pytest.approx(entropy, abs=0.05)
    shifted = density.shifted("nll", baseline.nll_shift).get("nll").value
    assert shifted == pytest.approx(mass.get("nll").value, abs=0.06)
    assert abs(density.get("nll").value - mass.get("nll").value) > 1  # what the shift is for


@pytest.mark.parametrize("family", ["mixture", "full-mixture", "discrete-latent", "autoregressive"])
def test_each_family_predicts_and_starts_at_the_training_statistics(family):
    train = numbers()
    made = recipes(dataclasses.replace(CONFIG, family=family), train, None)
    kernel = made["model"].make(jax.random.key(0))
    rows = train.transitions()
    np.testing.assert_allclose(kernel.state.mean, rows.state.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(kernel.delta.scale, (rows.next_state - rows.state).std(), rtol=1e-5)
    assert kernel(jnp.zeros(1), jnp.zeros(1)).sample(seed=jax.random.key(1)).shape == (1,)


def test_boxes_are_pinned_to_atoms_and_always_have_noise():
    train = numbers()
    rows = train.transitions()
    boxes = dataclasses.replace(CONFIG, family="boxes", components=3)
    made = recipes(boxes, train, np.array([0.0]))
    spread = 0.05 * (rows.next_state - rows.state).std()
    for recipe in made.values():
        np.testing.assert_allclose(recipe.noise, [spread], rtol=1e-5)
    assert (made["model"].smoothed, made["baseline"].smoothed) == (True, False)
    kernel = made["model"].make(jax.random.key(0))
    assert kernel.pins.values.shape == (3, 1)
    assert kernel(jnp.zeros(1), jnp.zeros(1)).sample(seed=jax.random.key(1)).shape == (1,)
    np.testing.assert_allclose(recipes(boxes, train, np.array([0.3]))["model"].noise, [0.3])


def test_statistics_see_the_training_part_only(tmp_path):
    """Held-out episodes that are a million times larger leave the standardisers as they are."""
    config = dataclasses.replace(CONFIG, env_id="CartPole-v1")  # a world would add its noise
    run = create_run(tmp_path / "run", config, resume=False)
    episodes = numbers()
    held_out = np.isin(
        np.cumsum(episodes.is_first) - 1,
        [i for i in range(20) if not in_train(run, episodes, i)],
    )
    assert 0 < held_out.sum() < len(held_out) / 2
    changed = episodes._replace(
        {
            name: getattr(episodes, name)
            for name in ("action", "reward", "is_first", "is_last", "is_terminal")
        }
        | {"observation": np.where(held_out[:, None], 1e6, episodes.observation)}
    )
    one, other = (
        run.recipes(run.split(e)["train"])["model"].make(jax.random.key(0))
        for e in (episodes, changed)
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    everything = run.recipes(changed)["model"].make(jax.random.key(0))
    assert abs(everything.state.mean[0]) > 1000  # what a leak would do


def in_train(run: Run, episodes, index):
    train = run.split(episodes)["train"].observation
    return (episodes.episode(index).observation[0] == train).any()
