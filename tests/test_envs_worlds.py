"""What every world must keep, whatever its law is."""

import warnings

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import stochwm.envs
from stochwm.data import flat_space, flatten_value
from stochwm.envs import WORLDS, AbstractWorld, WorldEnv, render_video

# Two states of each world, as elements of its state space, and an action.
CASES = {
    "stochwm/Fork-v0": ([0.1, 0.8], [-0.6, 0.4], [0.3]),
    "stochwm/WetChicken-v0": ([2.0, 3.0], [0.5, 1.0], [0.2, -0.4]),
    "stochwm/Doors-v0": (0, 7, 1),
    "stochwm/MixtureWalk-v0": ([0.3], [-2.6], [0.4]),
    "stochwm/Galton-v0": (0, 8, [0.5]),
    "stochwm/NoisyTV-v0": ([1.0, 3.4, 0.0], [2.9, 1.2, -0.4], 4),
    "stochwm/Cricket-v0": (
        [7.3, 0.05, 0.3, 0.01, -0.37, 0.1],  # about to pitch
        [15.0, 0.1, 1.7, -0.01, -0.3, 0.0],
        [0.5],
    ),
    "stochwm/HiddenSwitch-v0": (
        {"position": [0.4], "regime": 1},
        {"position": [-1.1], "regime": 0},
        [0.3],
    ),
    "stochwm/Curtain-v0": ([3, 4, 1, 2], [6, 2, 0, 5], 2),
}
worlds = pytest.mark.parametrize("name", sorted(WORLDS))


@pytest.fixture(scope="module")
def env_of():
    """One environment of each world, shared: the compiled step is the costly part."""
    return {name: WorldEnv(world(), "rgb_array") for name, world in WORLDS.items()}


def as_element(space, value):
    if isinstance(space, gym.spaces.Dict):
        return {name: as_element(part, value[name]) for name, part in space.spaces.items()}
    return np.asarray(value, np.float32) if isinstance(space, gym.spaces.Box) else np.int64(value)


def flat(space, value):
    return jnp.asarray(flatten_value(space, value))


def case(env, name, which=0):
    state = as_element(env.world.state_space, CASES[name][which])
    return state, as_element(env.action_space, CASES[name][2])


@eqx.filter_jit
def draw_law(world: AbstractWorld, state, action):
    """4,000 draws of the law, their log densities, and what the law says of itself."""
    law = world.law(state, action)
    x = jax.vmap(lambda key: law.sample(seed=key))(jax.random.split(jax.random.key(0), 4000))
    log_prob = jax.vmap(law.log_prob)(x)
    return x, log_prob, law.mean(), law.variance(), world.entropy(state, action)


@eqx.filter_jit
def pay(world: AbstractWorld, state, action, after):
    return world.reward(state, action, after), world.discount(state, action, after)


@worlds
def test_every_world_has_a_case_and_its_id(name):
    assert name in CASES
    assert name in gym.registry
    stochwm.envs.register_worlds()  # again: no warning, no override
    env = gym.make(name)
    assert isinstance(env.unwrapped.world, WORLDS[name])
    assert env.spec.max_episode_steps == WORLDS[name].max_episode_steps


@worlds
def test_check_env_has_nothing_to_say(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(name, render_mode="rgb_array").unwrapped)


@worlds
def test_law_describes_its_own_draws(name, env_of):
    env = env_of[name]
    for which in (0, 1):
        element, action = case(env, name, which)
        state, act = flat(env.world.state_space, element), flat(env.action_space, action)
        x, log_prob, mean, variance, entropy = draw_law(env.world, state, act)
        error = np.sqrt(np.asarray(variance) / len(x))
        np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * error + 1e-6)
        np.testing.assert_allclose(x.var(0), variance, rtol=0.1, atol=1e-3)
        # The entropy is what the law's own log density costs on average.
        assert np.isfinite(log_prob).all()
        standard_error = np.std(log_prob) / np.sqrt(len(x))
        assert abs(entropy + log_prob.mean()) < 4 * standard_error + 1e-4


@worlds
def test_real_steps_follow_the_law(name, env_of):
    env = env_of[name]
    element, action = case(env, name)
    state, act = flat(env.world.state_space, element), flat(env.action_space, action)
    x, _, mean, variance, _ = draw_law(env.world, state, act)
    env.reset(seed=5)
    steps, seen = [], []
    for _ in range(1200):
        env.reset(options={"state": element})
        seen.append(flatten_value(env.observation_space, env.step(action)[0]))
        steps.append(env.state)
    steps = np.stack(steps)
    np.testing.assert_array_equal(seen, jax.vmap(env.world.emit)(steps))
    error = np.sqrt(np.asarray(variance) / len(steps))
    np.testing.assert_array_less(np.abs(steps.mean(0) - mean), 4.5 * error + 1e-6)
    for level in (0.1, 0.3, 0.5, 0.7, 0.9):  # the shape: two-sample comparison of marginal cdfs
        at = np.quantile(np.asarray(x), level, axis=0) + 1e-6
        np.testing.assert_allclose((steps <= at).mean(0), (x <= at).mean(0), atol=0.065)


@worlds
def test_seeds_decide_everything(name, env_of):
    env = env_of[name]

    def episode(seed):
        env.action_space.seed(3)
        first = env.reset(seed=seed)[0]
        rows = [env.step(env.action_space.sample()) for _ in range(8)]
        return np.array([np.append(first, 0.0), *(np.append(r[0], r[1]) for r in rows)])

    np.testing.assert_array_equal(episode(7), episode(7))
    assert np.any(episode(7) != episode(8))
    env.reset(seed=7)
    fresh = [tuple(np.ravel(env.step(case(env, name)[1])[0])) for _ in range(30) if env.reset()]
    assert len(set(fresh)) > 1  # later episodes are not copies of the first


@worlds
def test_reward_and_discount_are_those_of_the_world(name, env_of):
    env = env_of[name]
    env.action_space.seed(0)
    env.reset(seed=1)
    for _ in range(10):
        action, state = env.action_space.sample(), env.state
        _, reward, terminated, truncated, _ = env.step(action)
        expected, discount = pay(env.world, state, flat(env.action_space, action), env.state)
        np.testing.assert_allclose(expected, reward, rtol=1e-5, atol=1e-6)
        assert (discount == 0.0) == terminated
        assert not truncated
        if terminated:
            break


@worlds
def test_spaces_names_and_noise_agree(name, env_of):
    world = env_of[name].world
    size = flat_space(world.state_space).size
    assert len(world.state_names) == len(world.noise_convention) == size
    assert world.initial().sample(seed=jax.random.key(0)).shape == (size,)
    state = world.initial().sample(seed=jax.random.key(0))
    assert world.emit(state).shape == (flat_space(world.observation_space).size,)
    assert (world.state_space == world.observation_space) == world.fully_observed
    action = jnp.zeros(flat_space(world.action_space).size).at[0].set(1.0)
    noisy = any(world.noise_convention)
    same = eqx.tree_equal(world.target_law(state, action), world.law(state, action))
    assert bool(same) != noisy


@worlds
def test_pictures(name, env_of):
    env = env_of[name]
    frames = []
    for which in (0, 1):
        env.reset(seed=0, options={"state": case(env, name, which)[0]})
        frames.append(env.render())
    assert frames[0].dtype == np.uint8
    assert frames[0].shape == frames[1].shape
    assert frames[0].ndim == 3
    assert frames[0].shape[-1] == 3
    assert np.mean(np.any(frames[0] != frames[1], axis=-1)) > 0.005
    assert len(np.unique(frames[0].reshape(-1, 3), axis=0)) > 50  # drawn, not a blank


@worlds
def test_bad_input_is_named(name, env_of):
    env = env_of[name]
    env.reset(seed=0)
    bad = [np.full(7, 0.1, np.float32)]
    bad += [[9.0] * 2, [np.nan] * 2, [9.0], [np.nan]] if env.action_space.shape else [99, -1, 0.5]
    for action in bad:
        with pytest.raises(ValueError, match="action is"):
            env.step(action)
    with pytest.raises(ValueError, match="expected an element of"):
        env.reset(options={"state": np.int64(77)})
    with pytest.raises(ValueError, match="unknown reset options"):
        env.reset(options={"stat": 0})


def test_every_step_has_noise_of_its_own(env_of):
    env = env_of["stochwm/MixtureWalk-v0"]
    env.reset(seed=0)
    x = [env.step(np.zeros(1, np.float32))[0][0] for _ in range(20)]
    assert len(np.unique(np.abs(np.diff(x)).round(4))) > 15


def test_an_episode_ends_as_often_as_the_discount_says(env_of):
    env = WorldEnv(env_of["stochwm/Fork-v0"].world)
    env.reset(seed=0)
    ends = np.mean([env._ends(0.8) for _ in range(2000)])
    assert abs(ends - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 2000)
    assert [env._ends(0.0), env._ends(1.0)] == [True, False]


def test_a_video_has_one_picture_a_state():
    world = WORLDS["stochwm/Galton-v0"]()
    states = np.eye(45, dtype=np.float32)[[0, 2, 4]]
    frames = render_video(world, states)
    assert frames.shape == (3, *world.render(states[0]).shape)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[1], world.render(states[1]))
    for wrong in (states[0], states[:, :44], states[:0]):
        with pytest.raises(ValueError, match=r"expected \[time, 45\]"):
            render_video(world, wrong)


def test_an_environment_wants_a_reset_and_a_known_render_mode():
    env = WorldEnv(WORLDS["stochwm/Fork-v0"]())
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())
    with pytest.raises(gym.error.ResetNeeded):
        env.state  # noqa: B018
    env.reset(seed=0)
    assert env.render() is None
    with pytest.raises(ValueError, match="human"):
        WorldEnv(env.world, "human")


def test_float64_actions_are_rounded_not_refused(env_of):
    env = env_of["stochwm/Fork-v0"]
    env.reset(seed=0)
    env.step(np.array([1.0 + 1e-9]))


def test_observations_may_be_written_to(env_of):
    env = env_of["stochwm/Fork-v0"]
    runs = []
    for spoil in (False, True):
        observation, _ = env.reset(seed=0)
        if spoil:
            observation[:] = 99.0
        runs.append(env.step(np.zeros(1, np.float32))[0])
    np.testing.assert_array_equal(*runs)


def test_parameters_reach_the_world_through_make():
    env = gym.make("stochwm/Fork-v0", spacing=2.0)
    assert float(env.unwrapped.world.spacing) == 2.0
    for arguments, match in (
        ({"spacing": 0.0}, "spacing is 0.0"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"noise": [1.0, 2.0]}, "noise is"),
    ):
        with pytest.raises(ValueError, match=match):
            gym.make("stochwm/Fork-v0", **arguments)
    for name, arguments, match in (
        ("Doors", {"doors": 1}, "doors is 1"),
        ("MixtureWalk", {"weights": (0.5, 0.0)}, "weights is"),
        ("MixtureWalk", {"means": (0.0, 1.0, 2.0)}, r"have \[2, 3, 2\] entries"),
        ("Galton", {"rows": 0}, "rows is 0"),
        ("Galton", {"rows": 3, "target": 4}, "target is 4"),
        ("NoisyTV", {"noise": -1.0}, "noise is -1.0"),
        ("Cricket", {"seam": 0.0}, "seam is 0.0"),
        ("HiddenSwitch", {"winds": (0.1,)}, "at least two"),
        ("HiddenSwitch", {"winds": 0.1}, "winds is 0.1"),
        ("Curtain", {"columns": 4}, "columns is 4"),
        ("Curtain", {"gust": 1.5}, "gust is 1.5"),
        ("Curtain", {"gust": -0.5}, "gust is -0.5"),
        ("Curtain", {"cell": True}, "cell is True"),
    ):
        with pytest.raises(ValueError, match=match):
            gym.make(f"stochwm/{name}-v0", **arguments)
    with pytest.raises(ValueError, match="forced is 1.5"):
        gym.make("stochwm/Doors-v0", forced=1.5)
