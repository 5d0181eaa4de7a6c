"""The parts that agents share: returns, replay, actors, sources of steps."""

import dataclasses
from itertools import product
from typing import ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm._storage import StorageError, save_step
from stochwm.agents import (
    GymSource,
    Running,
    SlowCritic,
    Steps,
    WorldSource,
    add,
    cut,
    empty_replay,
    episode_returns,
    lambda_returns,
    make_actor_head,
    make_source,
    record_episode,
    sample,
)
from stochwm.agents.checkpoints import Checkpoints
from stochwm.agents.choices import choices_of, differences
from stochwm.agents.source import picture_shape
from stochwm.data import flat_space
from stochwm.distributions import Deterministic, DiagNormal
from stochwm.drift import MutualInformation
from stochwm.envs import AbstractWorld, Curtain, Doors, WorldEnv

KEY = jax.random.key(0)


# --- returns ----------------------------------------------------------------------------------
def slow_returns(reward, discount, value, lambda_):
    """The recursion, written out from the end."""
    returns, following = [], value[-1]
    for t in reversed(range(len(reward))):
        following = reward[t] + discount[t] * ((1 - lambda_[t]) * value[t] + lambda_[t] * following)
        returns.insert(0, following)
    return np.array(returns)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_lambda_returns(lambda_):
    random = np.random.default_rng(0)
    reward, value, discount = random.normal(size=6), random.normal(size=6), random.uniform(size=6)
    expected = slow_returns(reward, discount, value, np.full(6, lambda_))
    found = lambda_returns(*(jnp.asarray(x, float) for x in (reward, discount, value)), lambda_)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if lambda_ == 0:
        np.testing.assert_allclose(found, reward + discount * value, rtol=1e-5)
    if lambda_ == 1:
        weight = np.cumprod(np.concatenate([[1.0], discount]))
        whole = np.sum(weight[:-1] * reward) + weight[-1] * value[-1]
        np.testing.assert_allclose(found[0], whole, rtol=1e-5)


def test_rewards_may_be_whole_numbers():
    """Of whose kind lambda would be 0."""
    reward, discount, value = jnp.array([1, 0, 2]), jnp.full(3, 0.9), jnp.array([0.5, -1.0, 3.0])
    expected = slow_returns(*map(np.asarray, (reward, discount, value)), np.full(3, 0.7))
    np.testing.assert_allclose(lambda_returns(reward, discount, value, 0.7), expected, rtol=1e-5)


def test_a_cut_bootstraps_and_a_terminal_state_does_not():
    """State 2 is the last of its episode: truncated, then terminal. What follows is of another."""
    reward, value = jnp.array([1.0, 1.0, 100.0]), jnp.array([0.0, 7.0, 50.0])
    going, cut = jnp.array([1.0, 1.0, 1.0]), jnp.array([1.0, 0.0, 1.0])
    truncated = lambda_returns(reward, going, value, cut)
    np.testing.assert_allclose(truncated[:2], [9.0, 8.0])
    terminal = lambda_returns(reward, going.at[1].set(0.0), value, cut)
    np.testing.assert_allclose(terminal[:2], [2.0, 1.0])


# --- replay -----------------------------------------------------------------------------------
def rows(numbers, envs=2):
    """Rows whose reward says when and where they were made."""
    numbers = jnp.asarray(numbers, float)
    reward = numbers[:, None] + jnp.linspace(0, 0.5, envs)
    no = jnp.zeros(reward.shape, bool)
    return Steps(reward[..., None], reward[..., None], reward, no, no, no)


def filled(number, capacity=7):
    replay = empty_replay(jax.tree.map(lambda x: x[0], rows([0.0])), capacity)
    for start in range(0, number, 2):
        replay = add(replay, rows(range(start, start + 2)))
    return replay


@pytest.mark.parametrize("number", [4, 6, 10, 12])
def test_windows_are_runs_of_what_is_held(number):
    """Every admissible start of every copy is drawn, none other, before and after a round."""
    length, draw = 3, jax.jit(lambda replay, key: sample(replay, key=key, batch=64, length=3))
    batches = [draw(filled(number), key) for key in jax.random.split(KEY, 4)]
    reward = np.concatenate([np.asarray(batch.reward) for batch in batches])
    np.testing.assert_allclose(np.diff(reward, axis=1), 1.0)
    oldest = max(0, number - 7)
    starts = set(product(range(oldest, number - length + 1), (0.0, 0.5)))
    assert set(zip(np.floor(reward[:, 0]), reward[:, 0] % 1, strict=True)) == starts


def test_the_newest_rows_are_in_every_batch():
    for number in (4, 10):
        for key in jax.random.split(KEY, 5):
            newest = sample(filled(number), key=key, batch=2, length=3).reward[0]
            assert np.floor(newest[-1]) == number - 1


def test_of_more_rows_than_the_ring_holds_the_newest_stay():
    one = add(filled(4), rows(range(4, 20)))
    for held, same in zip(one.rows.reward, filled(20).rows.reward, strict=True):
        np.testing.assert_array_equal(held, same)
    assert one.written == 20


def test_a_cut_ends_the_newest_rows_only():
    for number in (4, 10):
        last = cut(filled(number)).rows.is_last
        assert last[(number - 1) % 7].all()
        assert np.sum(last) == 2


# --- choices ----------------------------------------------------------------------------------
def test_random_keys_are_choices():
    """Of a guard, say: runs with other draws are not the same run."""
    asked = lambda seed: choices_of(MutualInformation(key=jax.random.key(seed)))  # noqa: E731
    assert asked(0) == asked(0)
    assert differences(asked(0), asked(9)).startswith("key ")


@dataclasses.dataclass
class Maker:
    """Makes environments of so many stages."""

    stages: int

    def make(self):
        return WorldEnv(Doors(self.stages, 2))


def test_methods_hold_on_to_what_they_are_of():
    asked = lambda stages: choices_of({"env": Maker(stages).make})  # noqa: E731
    assert asked(1) == asked(1)
    assert differences(asked(1), asked(2)) == "env.self.stages 1, not 2"


def test_a_function_that_calls_itself_is_a_choice():
    def make(left: int = 3):
        return make(left - 1) if left else None

    found = choices_of({"env": make})
    assert found["env.left"] == 3
    assert found["env.function"] == found["env.make"]


def test_defaults_of_a_function_are_choices():
    """`lambda stages=stages: ...` holds on to a value as a closure does."""
    asked = lambda stages: choices_of({"env": lambda n=stages, *, m=1: Doors(n, m)})  # noqa: E731
    assert asked(1) == asked(1)
    assert differences(asked(1), asked(2)) == "env.n 1, not 2"


# --- actors and critics -----------------------------------------------------------------------
def test_actors_have_the_units_of_their_space():
    box = flat_space(gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 10])), "action")
    head = make_actor_head(box)
    assert head.outputs == 4
    np.testing.assert_allclose(head(jnp.zeros(4)).mean(), [0.0, 5.0])
    middle = 0.1 + 0.9 / (1 + np.exp(-2))
    np.testing.assert_allclose(head(jnp.zeros(4)).scale, [2 * middle, 5 * middle], rtol=1e-5)
    far = head(jnp.array([99.0, -99.0, -99.0, 99.0]))
    np.testing.assert_allclose(far.mean(), [2.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(far.scale, [0.2, 5.0], rtol=1e-5)
    many = make_actor_head(flat_space(gym.spaces.Discrete(4)), unimix=0.2)
    probs = many(jnp.array([99.0, 0.0, 0.0, 0.0])).mean()
    np.testing.assert_allclose(probs, [0.85, 0.05, 0.05, 0.05], rtol=1e-4)
    with pytest.raises(ValueError, match="finite bounds"):
        make_actor_head(flat_space(gym.spaces.Box(-np.inf, np.inf, (1,))))
    fixed = gym.spaces.Box(np.float32([-2, 3]), np.float32([2, 3]))
    with pytest.raises(ValueError, match=r"\['action\[1\]'\] have one value"):
        make_actor_head(flat_space(fixed, "action"))


def test_slow_critics_follow():
    slow, fast = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}
    np.testing.assert_allclose(SlowCritic(0.02).follow(slow, fast, jnp.asarray(0))["w"], 0.02)
    every = SlowCritic(every=3)
    moved = [float(every.follow(slow, fast, jnp.asarray(i))["w"][0]) for i in range(6)]
    assert moved == [0, 0, 1, 0, 0, 1]
    for impossible in ({"rate": 1.5}, {"every": 0}, {"pull": -1.0}):
        with pytest.raises(ValueError, match=next(iter(impossible))):
            SlowCritic(**impossible)


# --- sources ----------------------------------------------------------------------------------
class Clock(AbstractWorld):
    """Counts the steps of an episode; the action is paid, and ends it if it is above 0.9."""

    max_episode_steps: ClassVar[int | None] = 4

    @property
    def observation_space(self):
        return gym.spaces.Box(-1, 100, (1,))

    @property
    def action_space(self):
        return gym.spaces.Box(-1, 1, (1,))

    @property
    def state_names(self):
        return ("time",)

    def initial(self):
        return Deterministic(jnp.zeros(1))

    def law(self, state, action):
        return Deterministic(state + 1)

    def entropy(self, state, action):
        return jnp.zeros(())

    def reward(self, state, action, next_state):
        return 10 * next_state[0] + action[0]

    def discount(self, state, action, next_state):
        return jnp.where(action[0] > 0.9, 0.0, 1.0)

    def render(self, state):
        return np.zeros((1, 1, 3), np.uint8)


def act_by_number(agent, memory, observation, is_first, *, key):
    """A number of its own for each row of a copy, whatever the source: 3 sin(row)."""
    return memory + 1, 3 * jnp.sin(jnp.asarray([memory], float)), observation[0]


def through(source, chunks=3, length=7):
    place, memory, found = source.start(5), jnp.arange(source.num_envs), []
    for chunk in range(chunks):
        memory, place, steps, aux = source.collect(
            act_by_number, None, memory, place, key=jax.random.key(chunk), length=length
        )
        np.testing.assert_array_equal(aux, steps.observation[..., 0])
        found.append(steps)
    return jax.tree.map(lambda *x: np.concatenate(x), *found)


def make_clock():
    return gym.wrappers.TimeLimit(WorldEnv(Clock()), 4)


def test_both_sources_give_the_same_rows():
    of_world, of_gym = through(WorldSource(Clock(), 3)), through(GymSource(make_clock, 3))
    for name in ("observation", "action", "reward", "is_first", "is_last", "is_terminal"):
        np.testing.assert_allclose(
            getattr(of_world, name), getattr(of_gym, name), rtol=1e-6, err_msg=name
        )


def test_rows_keep_the_time_convention():
    rows = through(WorldSource(Clock(), 3))
    first, last, terminal = rows.is_first, rows.is_last, rows.is_terminal
    assert first[0].all()
    np.testing.assert_array_equal(first[1:], last[:-1])
    np.testing.assert_array_equal(rows.reward[first], 0.0)
    # A reward is that of the action before, on arrival at the time that is seen.
    inside = ~first[1:]
    arrived = 10 * rows.observation[1:, :, 0] + rows.action[:-1, :, 0]
    np.testing.assert_allclose(rows.reward[1:][inside], arrived[inside], rtol=1e-6)
    # Both ends occur, and are told apart; actions are clipped to [-1, 1].
    np.testing.assert_array_equal(terminal[1:][inside], rows.action[:-1, :, 0][inside] > 0.9)
    assert terminal.any()
    assert (last & ~terminal).any()
    assert np.all(rows.observation[last & ~terminal] == 4)
    assert np.abs(rows.action).max() == 1.0


def remember_and_draw(agent, memory, observation, is_first, *, key):
    """Tenths say how often it was asked, what is less is drawn."""
    return memory + 1, 0.1 * memory[None] + 0.09 * jax.random.uniform(key, (1,)), None


@pytest.mark.parametrize("source", [WorldSource(Clock(), 3), GymSource(make_clock, 3)])
def test_every_row_of_every_copy_draws_for_itself(source):
    place, memory = source.start(0), jnp.zeros(3)
    steps = source.collect(remember_and_draw, None, memory, place, key=KEY, length=4)[2]
    assert np.unique(steps.action).size == 12


def stand_still(agent, memory, observation, is_first, *, key):
    return memory, jnp.zeros(1), None


@pytest.mark.parametrize("source", [WorldSource(Clock(), 3), GymSource(make_clock, 3)])
def test_a_source_starts_again_where_an_episode_is_over(source):
    """Four rows lead to the last one, after which the next step would only reset."""
    options = {"key": KEY, "length": 4}
    _, place, _, _ = source.collect(stand_still, None, None, source.start(0), **options)
    assert np.all(place.row.is_last if isinstance(source, WorldSource) else place.is_last)
    steps = source.collect(stand_still, None, None, source.start(1), **options)[2]
    np.testing.assert_array_equal(steps.observation[:, 0, 0], range(4))
    np.testing.assert_array_equal(steps.is_first[:, 0], [True, False, False, False])
    np.testing.assert_allclose(steps.reward[:, 0], [0, 10, 20, 30])


class Coin(Clock):
    """Each step draws a number, and is the last of two, whatever the number."""

    max_episode_steps: ClassVar[int | None] = None

    def law(self, state, action):
        return DiagNormal(jnp.zeros(1), jnp.ones(1))

    def discount(self, state, action, next_state):
        return jnp.asarray(0.5)


def test_a_world_draws_each_copy_and_its_end_apart():
    source = WorldSource(Coin(), 2_000)
    steps = source.collect(stand_still, None, None, source.start(0), key=KEY, length=2)[2]
    drawn, ended = steps.observation[1, :, 0], steps.is_terminal[1]
    assert np.unique(drawn).size == 2_000
    assert abs(np.mean(ended) - 0.5) < 4 * 0.5 / np.sqrt(2_000)
    for half in (drawn[ended], drawn[~ended]):
        assert abs(np.mean(half)) < 4 / np.sqrt(900)


def test_an_episode_row_by_row_is_as_in_a_piece():
    """What the agent remembers goes on from row to row, and every row draws anew."""
    looks = []
    rows, seen = record_episode(
        WorldSource(Clock(), 1),
        remember_and_draw,
        None,
        key=KEY,
        memory=jnp.zeros(1),
        look=lambda: looks.append(1) or len(looks),
    )
    np.testing.assert_array_equal(rows.observation[:, 0], range(5))
    np.testing.assert_array_equal(rows.is_last, [False] * 4 + [True])
    tenths, drawn = np.divmod(np.asarray(rows.action[:, 0], float), 0.1)
    np.testing.assert_array_equal(tenths, range(5))
    assert np.ptp(drawn) > 1e-3
    assert np.unique(drawn.round(6)).size == 5
    assert seen == [1, 2, 3, 4, 5]
    shorter, _ = record_episode(
        WorldSource(Clock(), 1),
        remember_and_draw,
        None,
        key=KEY,
        memory=jnp.zeros(1),
        longest=2,
    )
    np.testing.assert_array_equal(shorter.action, rows.action[:2])


def test_returns_of_episodes_cross_chunks():
    rows = through(WorldSource(Clock(), 3))
    gamma = 0.9
    whole, _ = episode_returns(rows, Running.begin(3), gamma)
    running, parts = Running.begin(3), []
    for start in range(0, 21, 5):
        part = jax.tree.map(lambda x, start=start: x[start : start + 5], rows)
        ended, running = episode_returns(part, running, gamma)
        parts += ended
    assert [e.length for e in parts] == [e.length for e in whole]
    np.testing.assert_allclose([e.total for e in parts], [e.total for e in whole], 1e-5)
    np.testing.assert_allclose([e.discounted for e in parts], [e.discounted for e in whole], 1e-5)
    for env in range(3):
        ends = np.flatnonzero(rows.is_last[:, env])
        starts = np.concatenate([[0], ends[:-1] + 1])
        totals = [rows.reward[a : b + 1, env].sum() for a, b in zip(starts, ends, strict=True)]
        mine = [e for e in whole if e.env == env]
        np.testing.assert_allclose([e.total for e in mine], totals, rtol=1e-6)
        assert [e.length for e in mine] == list(ends - starts)
        for one, a, b in zip(mine, starts, ends, strict=True):
            following = [rows.reward[s + 1 : b + 1, env] for s in range(a, b)]
            each = [np.sum(r * gamma ** np.arange(len(r))) for r in following]
            np.testing.assert_allclose(one.discounted, np.mean(each), rtol=1e-5)
    assert len(whole) > 6


def test_both_sources_tell_pictures_from_other_boxes():
    of_world, of_gym = WorldSource(Curtain(), 1), make_source("stochwm/Curtain-v0", 1)
    assert of_world.image == of_gym.image == (16, 16, 1)
    assert WorldSource(Clock(), 1).image is GymSource(make_clock, 1).image is None
    assert picture_shape(gym.spaces.Box(0, 255, (16, 16, 1))) is None  # of float32


def test_a_folder_of_an_older_version_is_refused(tmp_path):
    save_step(tmp_path, 1, {"place": jnp.zeros(1)}, {"history": []})
    with pytest.raises(StorageError, match="older version"):
        Checkpoints(tmp_path, WorldSource(Curtain(), 1), {"seed": 0})


def test_what_is_no_environment_is_refused():
    with pytest.raises(TypeError, match="a registered id"):
        make_source(3, 1)
    with pytest.raises(ValueError, match="cannot be made"):
        make_source("Nowhere-v0", 1)


def test_an_environment_that_returns_nan_is_named():
    class Broken(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (1,))
        action_space = gym.spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            return np.zeros(1, np.float32), float("nan"), False, False, {}

    with pytest.raises(ValueError, match="environment 0 returned"):
        through(GymSource(Broken, 2))
