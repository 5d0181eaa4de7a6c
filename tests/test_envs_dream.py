"""A dream steps as its model says, ends when its guard does, and keeps Gymnasium's conventions."""

import copy
import functools
import warnings
from typing import Any

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from jaxtyping import Array, Float

from stochwm.calibration import PitMapped, QuantileMap
from stochwm.data import Episodes, FlatSpace, flat_space
from stochwm.distributions import DiagNormal
from stochwm.drift import DriftGuard, epistemic_variance
from stochwm.envs import Doors, DreamEnv, DreamVectorEnv, Fork
from stochwm.envs._dream_spaces import resolve
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble
from tests.cases_models import UnindexedHead

PULLS = np.array([-0.5, 0.0, 1.1], np.float32)
BOX = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
WIDE = gym.spaces.Box(-100.0, 100.0, (1,), np.float32)
STARTS = np.array([[0.5], [-0.5], [0.25]], np.float32)
SPACES: dict[str, Any] = {"action_space": BOX, "observation_space": WIDE}
GUARD = DriftGuard(epistemic_variance, 1.0)
WATCHED: dict[str, Any] = {**SPACES, "max_steps": 6, "guard": GUARD}


class Pull(AbstractTransition):
    """x' ~ N(x + a + pull x, 0.1^2): members agree at 0, and the less the farther away."""

    pull: Float[Array, ""]

    def __call__(self, state: Float[Array, " 1"], action: Float[Array, " 1"]) -> DiagNormal:
        return DiagNormal(state + action + self.pull * state, jnp.full(1, 0.1))


class ForkLaw(AbstractTransition):
    """The exact law of a world, of which no ensemble is needed."""

    def __call__(self, state, action):
        return Fork().law(state, action)


def pays(state, action, next_state):
    return jnp.sum(next_state + action)


def lasts(state, action, next_state):
    return jnp.asarray(0.85)


@functools.cache
def model() -> Markov:
    ensemble = Ensemble(lambda key: Pull(jnp.zeros(())), 3, key=jax.random.key(0))
    return Markov(eqx.tree_at(lambda e: e.members.pull, ensemble, jnp.asarray(PULLS)), pays, lasts)


def alone() -> Markov:
    return Markov(Ensemble(lambda key: Pull(jnp.zeros(())), 1, key=jax.random.key(0)), pays, lasts)


def one_hot(size):
    names = tuple(f"x={i}" for i in range(size))
    return FlatSpace(size, (0.0,) * size, (1.0,) * size, ((0, size),), names)


def test_check_env_has_nothing_to_say():
    world = Doors()
    spaces: dict[str, Any] = {
        "action_space": world.action_space,
        "observation_space": world.observation_space,
    }
    start = np.eye(flat_space(world.observation_space).size)[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(DreamEnv(model(), STARTS, **WATCHED), skip_render_check=True)
        env = DreamEnv(world, start, max_steps=5, **spaces)
        check_env(env, skip_render_check=True)
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[-1]
    assert set(info) == {"trusted", "aleatoric"}  # one law: nobody can disagree


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_copies_are_single_environments(mode):
    """Observations, rewards, flags, infos and masks are those of Gymnasium's own vector env."""
    make = lambda: DreamEnv(model(), STARTS, **WATCHED)  # noqa: E731
    expected = SyncVectorEnv([make] * 3, autoreset_mode=mode)
    dreams = DreamVectorEnv(model(), STARTS, 3, autoreset_mode=mode, **WATCHED)
    assert dreams.action_space == expected.action_space
    assert dreams.observation_space == expected.observation_space
    assert dreams.metadata["autoreset_mode"] == mode
    ended, drifted = 0, 0
    first: dict[str, Any] = {"seed": 7}
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 3, 1)).astype(np.float32)
    for action in actions:
        if first:
            check_alike(
                dreams.reset(**first), expected.reset(**copy.deepcopy(first))
            )  # it takes options out
            first = {}
        result: Any = dreams.step(action)
        check_alike(result, expected.step(action))
        terminated, truncated, info = result[2:]
        ended += terminated.sum()
        seen = info.get("final_info", info)
        drifted += (seen.get("_trusted", False) & ~seen.get("trusted", np.True_)).sum()
        if mode == AutoresetMode.DISABLED and (terminated | truncated).any():
            first = {"options": {"reset_mask": terminated | truncated}}
    assert ended > 2
    assert drifted > 2


def check_alike(result: Any, expected: Any):
    """The same structure, types and numbers; compiled for many copies, last bits may differ."""
    assert type(result) is type(expected)
    if isinstance(result, dict):
        assert result.keys() == expected.keys()
        result, expected = ([x[name] for name in sorted(x)] for x in (result, expected))
    if isinstance(result, tuple | list):
        for one, other in zip(result, expected, strict=True):
            check_alike(one, other)
    elif isinstance(result, np.ndarray) and result.dtype.kind == "O":
        check_alike(list(result), list(expected))
    elif result is not None:
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_steps_follow_the_law_and_end_as_often_as_it_says():
    """Kolmogorov-Smirnov in each dimension, with the bound of Massart (1990)."""
    copies, world = 4000, Fork()
    start, action = jnp.array([0.1, 0.8]), jnp.array([0.3])
    dreams = DreamVectorEnv(
        Markov(ForkLaw(), discount_head=lasts),
        start[None],
        copies,
        max_steps=9,
        action_space=world.action_space,
        observation_space=world.observation_space,
    )
    dreams.reset(seed=3)
    x, _, terminated, truncated, info = dreams.step(np.tile(np.asarray(action), (copies, 1)))
    law = world.law(start, action)
    levels = np.sort(jax.jit(jax.vmap(law.cdf))(jnp.asarray(x)), axis=0)
    away = np.abs(levels - (np.arange(copies)[:, None] + 0.5) / copies).max()
    assert away < np.sqrt(np.log(2 / 1e-4) / (2 * copies))
    assert abs(terminated.mean() - 0.15) < 4 * np.sqrt(0.15 * 0.85 / copies)
    assert not truncated.any()
    assert "epistemic" not in info
    np.testing.assert_allclose(info["aleatoric"], law.variance().sum(), rtol=1e-4)


class Recoded(AbstractTransition):
    """As `recalibrate` makes it of an ensemble."""

    kernel: AbstractTransition
    level_map: QuantileMap

    def __call__(self, state, action):
        return PitMapped(self.kernel(state, action), self.level_map)


def test_members_of_a_recalibrated_ensemble_disagree_as_they_did():
    levels = QuantileMap.fit(np.random.default_rng(0).uniform(size=(64, 1)) ** 2)
    env = DreamEnv(Recoded(model().kernel, levels), STARTS, **SPACES, max_steps=2)
    before, _ = env.reset(seed=0)
    info = env.step(np.ones(1, np.float32))[4]
    np.testing.assert_allclose(info["epistemic"], np.var(PULLS) * before[0] ** 2, rtol=1e-4)
    np.testing.assert_allclose(info["aleatoric"], 0.1**2, rtol=1e-4)


def test_it_is_truncated_exactly_when_the_guard_says_so():
    env = DreamEnv(model(), STARTS, **WATCHED)
    reasons = set()
    for seed in range(25):
        before, _ = env.reset(seed=seed)
        assert before in STARTS
        for time in range(1, 7):
            after, reward, terminated, truncated, info = env.step(np.ones(1, np.float32))
            disagreement = np.var(PULLS) * before[0] ** 2
            np.testing.assert_allclose(info["epistemic"], disagreement, rtol=1e-4)
            np.testing.assert_allclose(info["aleatoric"], 0.1**2, rtol=1e-4)
            assert info["trusted"] == (disagreement <= 1.0)
            if not info["trusted"]:
                assert (truncated, terminated, reward) == (True, False, 0.0)
                assert after == before  # nobody sees what is not to be trusted
            else:
                assert truncated == (time == 6 and not terminated)
                np.testing.assert_allclose(reward, after[0] + 1.0, rtol=1e-5)
            if terminated or truncated:
                reasons.add((terminated, bool(info["trusted"])))
                break
            before = after
        with pytest.raises(gym.error.ResetNeeded, match="call reset"):
            env.step(np.zeros(1))
    assert reasons >= {(True, True), (False, False)}


def twice(prediction):
    return 2 * epistemic_variance(prediction)


def test_pessimism_pays_for_what_is_measured():
    harsh: dict[str, Any] = {"pessimism": 0.35, "measure": twice, **WATCHED}
    plain, careful = DreamEnv(model(), STARTS, **WATCHED), DreamEnv(model(), STARTS, **harsh)
    paid = []
    for seed in range(3):
        assert plain.reset(seed=seed)[0] == careful.reset(seed=seed)[0]
        one, other = plain.step(np.zeros(1)), careful.step(np.zeros(1))
        assert one[0] == other[0]
        cost = 0.7 * one[-1]["epistemic"]
        assert cost > 0.01
        np.testing.assert_allclose(other[1], one[1] - cost, rtol=1e-4)
        paid.append(other[1])
    copies = DreamVectorEnv(model(), STARTS, 3, **harsh)
    copies.reset(seed=0)
    np.testing.assert_allclose(copies.step(np.zeros((3, 1)))[1], paid, rtol=1e-4)


def test_copies_take_seeds_of_their_own():
    dreams = DreamVectorEnv(model(), STARTS, 3, **WATCHED)
    single = DreamEnv(model(), STARTS, **WATCHED)

    def check(seen, episodes):
        """`episodes` has the seed of each copy, and how many it dreamt with it before."""
        for (seed, before), *rows in zip(episodes, *seen, strict=True):
            first = single.reset(seed=seed)[0]
            for _ in range(before):
                first = single.reset()[0]
            then = single.step(np.zeros(1))[0]
            np.testing.assert_allclose(rows, [first, then], rtol=1e-4, atol=1e-5)

    still = np.zeros((3, 1))
    check((dreams.reset(seed=[11, 4, 7])[0], dreams.step(still)[0]), [(11, 0), (4, 0), (7, 0)])
    again = dreams.reset(seed=[None, 5, None])[0]
    check((again, dreams.step(still)[0]), [(11, 1), (5, 0), (7, 1)])


def test_a_seed_fixes_this_episode_and_all_that_follow():
    def run(env, seed):
        rows = [env.reset(seed=seed)[0]]
        for _ in range(3):
            rows += [env.step(np.zeros(1))[0], env.reset()[0]]
        return np.stack(rows)

    first, second = (DreamEnv(model(), STARTS, **WATCHED) for _ in range(2))
    expected = run(first, 4)
    np.testing.assert_array_equal(run(second, 4), expected)
    np.testing.assert_array_equal(run(first, 4), expected)
    assert (run(first, 5) != expected).any()
    assert len(np.unique(expected[1::2])) == 3  # episodes differ


def test_environments_of_one_kind_share_what_is_compiled():
    traces = []

    def counted(state, action, next_state):
        traces.append(1)
        return jnp.zeros(())

    for spread in (1.0, 2.0):
        env = DreamEnv(Markov(model().kernel, counted), STARTS * spread, max_steps=3, **SPACES)
        built = len(traces)  # building traces one step, to see that all fits
        for seed in (None, 3):
            env.reset(seed=seed)
            steps = [env.step(np.zeros(1)) for _ in range(3)]
            assert [step[2] or step[3] for step in steps] == [False, False, True]
            assert steps[-1][3]  # nobody watches: max_steps truncate it
            assert all(step[-1]["trusted"] for step in steps)
        assert len(traces) - built == (1 if spread == 1.0 else 0)


def test_episodes_bring_their_starts_and_spaces():
    first = np.array([1, 0, 0, 1, 0], bool)
    last = np.array([0, 0, 1, 0, 1], bool)
    numbers = FlatSpace(1, (0.0,), (1.0,), (), ("x",))
    observation = np.array([[0.1], [0.2], [9.0], [0.4], [9.0]], np.float32)
    action = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0]]
    flags = first, last, np.zeros(5, bool)
    episodes = Episodes(
        observation,
        action,
        np.zeros(5),
        *flags,
        observation_space=numbers,
        action_space=one_hot(3),
    )
    steered = Markov(Steered())
    dreams = DreamVectorEnv(steered, episodes, 50, max_steps=2)
    assert dreams.single_action_space == gym.spaces.Discrete(3)
    assert dreams.single_observation_space == gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    starts = dreams.reset(seed=0)[0]
    np.testing.assert_allclose(np.unique(starts), [0.1, 0.2, 0.4])  # where an action was chosen
    chosen = np.arange(50) % 3
    np.testing.assert_allclose(dreams.step(chosen)[0][:, 0], starts[:, 0] + chosen, atol=1e-3)


class Steered(AbstractTransition):
    """Action k adds k."""

    def __call__(self, state: Float[Array, " 1"], action: Float[Array, " 3"]) -> DiagNormal:
        return DiagNormal(state + jnp.dot(action, jnp.arange(3.0)), jnp.full(1, 1e-5))


def test_spaces_of_numbers_and_categories():
    mixed = FlatSpace(3, (-1.0, 0.0, 0.0), (1.0, 1.0, 1.0), ((1, 2),), ("x", "a", "b"))
    rows, ends = np.tile(np.float32([0.5, 1, 0]), (2, 1)), np.array([False, True])
    spaces = {"observation_space": mixed, "action_space": mixed}
    episodes = Episodes(rows, rows, np.zeros(2), ~ends, ends, np.zeros(2, bool), **spaces)
    with pytest.raises(ValueError, match="mix numbers and categories"):
        resolve(episodes, None, None)
    _, space, _ = resolve(episodes, None, gym.spaces.Box(-1, 1, (3,)))
    np.testing.assert_array_equal(space.low, [-np.inf, 0, 0])
    np.testing.assert_array_equal(space.high, [np.inf, 1, 1])


class Widens(AbstractTransition):
    """Two numbers follow on one."""

    def __call__(self, state, action):
        return DiagNormal(jnp.zeros(2), jnp.ones(2))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"starts": np.zeros((0, 1))}, ValueError, "starts must be"),
        ({"starts": np.zeros(3)}, ValueError, "starts must be"),
        ({"starts": np.full((2, 1), np.nan)}, ValueError, "starts must be finite"),
        ({"starts": np.zeros((2, 2))}, ValueError, "observation_space must have 2"),
        ({"action_space": None}, ValueError, "must be given, unless"),
        ({"max_steps": 0}, ValueError, "max_steps must be"),
        ({"pessimism": -1.0}, ValueError, "pessimism must be"),
        ({"pessimism": np.nan}, ValueError, "pessimism must be finite"),
        ({"model": Markov(Pull(jnp.zeros(()))), "pessimism": 1.0}, TypeError, "of an ensemble"),
        ({"model": alone(), "pessimism": 1.0}, ValueError, "at least 2 members"),
        ({"model": Widens()}, ValueError, r"model must show .* \(1,\).* has shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message):
    arguments = {"model": model(), "starts": STARTS, "max_steps": 3, **SPACES, **change}
    with pytest.raises(error, match=message):
        DreamEnv(**arguments)


def test_a_transition_is_dreamt_without_a_reward():
    kernel = model().kernel
    for env in (
        DreamEnv(kernel, STARTS, **WATCHED),
        DreamVectorEnv(kernel, STARTS, 1, **WATCHED),
    ):
        env.reset(seed=0)
        reward, terminated = env.step(np.zeros(env.action_space.shape))[1:3]
        assert (reward, terminated) == (0.0, False)


@pytest.mark.parametrize("head", ["reward", "discount"])
def test_a_head_that_returns_a_vector_is_refused_before_the_first_step(head):
    broken = UnindexedHead(Pull(jnp.zeros(())), head)
    for make in (DreamEnv, lambda *args, **spaces: DreamVectorEnv(*args, 2, **spaces)):
        with pytest.raises(ValueError, match=rf"model.{head} must return a scalar"):
            make(broken, STARTS, max_steps=3, **SPACES)


def test_what_is_asked_wrongly_is_refused():
    env = DreamEnv(model(), STARTS, **WATCHED)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(1))
    with pytest.raises(ValueError, match="unknown reset options"):
        env.reset(options={"state": 1})
    env.reset(seed=0)
    nan = ([np.nan], "leaves its space")
    for action, message in [([2.0], "leaves its space"), nan, ([0.0, 0.0], "shape")]:
        with pytest.raises(ValueError, match=message):
            env.step(np.array(action))
    with pytest.raises(ValueError, match="num_envs must be"):
        DreamVectorEnv(model(), STARTS, 0, **WATCHED)
    dreams = DreamVectorEnv(model(), STARTS, 3, autoreset_mode="Disabled", **WATCHED)
    dreams.reset(seed=7)
    for mask, error in [([True] * 3, TypeError), (np.zeros(3, bool), ValueError)]:
        with pytest.raises(error, match="reset_mask"):
            dreams.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="seed must hold"):
        dreams.reset(seed=[1, 2])
    while not np.any(dreams.step(np.zeros((3, 1)))[2:4]):
        pass
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        dreams.step(np.zeros((3, 1)))


def test_a_broken_model_is_named():
    broken = Markov(model().kernel, lambda state, action, next_state: jnp.log(state[0] - 9.0))
    for make in (DreamEnv, lambda *args, **spaces: DreamVectorEnv(*args, 2, **spaces)):
        env = make(broken, STARTS, max_steps=3, **SPACES)
        env.reset(seed=0)
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            env.step(np.zeros(env.action_space.shape))
