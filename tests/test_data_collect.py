"""Collection never crosses a reset, in any mode, and loses nothing when something fails.

`Echo` says in every observation who and when it is and which action came last, its rewards repeat
the action, and actions are i.i.d.: an error of one step anywhere shows.
"""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces as gs
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from stochwm.data import CollectionError, Episodes, RandomPolicy, collect

STEPS, SEED = 50, 7


def echo(who=0, fail_at=None, poison=None):
    """A maker of the environment. All is local to it, so that workers do not import this file."""

    def make():
        import gymnasium as gym
        import numpy as np
        from gymnasium import spaces as gs

        class Echo(gym.Env):
            observation_space = gs.Dict(
                {
                    "seed": gs.Box(0, 99, ()),
                    "when": gs.Box(0, np.inf, (2,)),
                    "zaction": gs.Discrete(5),
                }
            )
            action_space = gs.Discrete(4, start=1)
            episode, total = -1, 0

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                if seed is not None:
                    self.seeded = seed
                self.episode, self.step_, self.action = self.episode + 1, 0, 0
                return self.observe(), {}

            def step(self, action):
                assert action in self.action_space
                self.total += 1
                if fail_at == self.total:
                    raise RuntimeError("the motor is on fire")
                self.step_, self.action = self.step_ + 1, int(action)
                over = self.step_ == 1 + (self.episode + who) % 4
                terminal = over and self.episode % 2 == 0
                reward = 10.0 * action
                if poison is not None and poison[0] == self.total and poison[1] == "reward":
                    reward = float("inf")
                return self.observe(), reward, terminal, over and not terminal, {"x": np.ones(2)}

            def observe(self):
                when = np.array([self.episode, self.step_], np.float32)
                if poison is not None and poison[0] == self.total and poison[1] == "observation":
                    when[1] = np.nan
                seed = np.asarray(self.seeded, np.float32)
                return {"seed": seed, "when": when, "zaction": np.int64(self.action)}

        return Echo()

    return make


def echo_vector(mode, count=3, **options):
    return SyncVectorEnv([echo(i, **options) for i in range(count)], autoreset_mode=mode)


def expected_rows(who, steps):
    """What environment `who` must have recorded, from the definition of `Echo`."""
    rows, episode, total = [], 0, 0
    while total < steps:
        length = 1 + (episode + who) % 4
        n = min(length, steps - total)
        over = [(t == n, t == length and episode % 2 == 0) for t in range(n + 1)]
        rows += [(SEED + who, episode, t, t == 0, *over[t]) for t in range(n + 1)]
        total, episode = total + n, episode + 1
    return np.array(rows)


def check_echo(episodes, num_envs, steps=STEPS):
    shares = [steps // num_envs + (i < steps % num_envs) for i in range(num_envs)]
    rows = np.concatenate([expected_rows(i, n) for i, n in enumerate(shares)])
    np.testing.assert_array_equal(episodes.observation[:, :3], rows[:, :3])
    np.testing.assert_array_equal(episodes.is_first, rows[:, 3])
    np.testing.assert_array_equal(episodes.is_last, rows[:, 4])
    np.testing.assert_array_equal(episodes.is_terminal, rows[:, 5])
    data = episodes.transitions()
    assert len(data) == episodes.num_transitions == steps
    np.testing.assert_array_equal(data.next_state[:, :2], data.state[:, :2])
    np.testing.assert_array_equal(data.next_state[:, 2], data.state[:, 2] + 1)
    np.testing.assert_array_equal(data.next_state[:, 4:], data.action)  # entry 3 is "none yet"
    np.testing.assert_array_equal(data.reward, 10 * (1 + data.action.argmax(1)))
    np.testing.assert_array_equal(episodes.observation[episodes.is_first, 3], 1)
    # With i.i.d. actions all four occur, in no order: neighbours agree about once in four.
    agree = (data.action[1:].argmax(1) == data.action[:-1].argmax(1)).mean()
    assert 0.05 < agree < 0.5


@pytest.fixture(scope="module")
def reference():
    return collect(echo_vector(AutoresetMode.DISABLED), steps=STEPS, seed=SEED, progress=False)


@pytest.mark.parametrize("steps", [1, 10, 11, 49, STEPS])
def test_single(steps):
    episodes = collect(echo()(), steps=steps, seed=SEED, progress=False)
    if steps >= 10:
        check_echo(episodes, 1, steps)
    assert episodes.num_transitions == steps
    assert episodes.is_last[-1]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_every_autoreset_mode_gives_the_same(mode, reference):
    episodes = collect(echo_vector(mode), steps=STEPS, seed=SEED, progress=False)
    check_echo(episodes, 3)
    chosen = episodes.transitions().action.argmax(1)
    assert (chosen[:16] != chosen[17:33]).any()  # environments 0 and 1 draw apart
    for one, two in zip(jax.tree.leaves(episodes), jax.tree.leaves(reference), strict=True):
        np.testing.assert_array_equal(one, two)


def test_worker_processes_give_the_same():
    env = AsyncVectorEnv([echo(0), echo(1)], context="spawn")
    try:
        episodes = collect(env, steps=STEPS, seed=SEED, progress=False)
    finally:
        env.close()
    check_echo(episodes, 2)


def test_environment_zero_of_many_is_the_single_one(reference):
    n = -(-STEPS // 3)
    alone = collect(echo()(), steps=n, seed=SEED, progress=False)
    for name in ("observation", "action", "reward", "is_first", "is_last", "is_terminal"):
        rows = len(getattr(alone, name))
        np.testing.assert_array_equal(getattr(alone, name), getattr(reference, name)[:rows])


def test_more_environments_than_steps():
    episodes = collect(echo_vector("NextStep"), steps=2, seed=SEED, progress=False)
    np.testing.assert_array_equal(episodes.observation[:, 0], [SEED, SEED, SEED + 1, SEED + 1])


def test_seeds():
    def actions(seed):
        return collect("CartPole-v1", steps=20, seed=seed, progress=False).action.argmax(1).tolist()

    assert actions(1) == actions(1)
    assert actions(1) != actions(2)
    for seed in (-1, 2**32, True):
        with pytest.raises(ValueError, match=r"seed must be an integer in \[0, 2\*\*32\)"):
            collect("CartPole-v1", steps=1, seed=seed)


def test_policy_sees_the_state_and_actions_are_recorded_as_executed():
    """Integer actions are rounded; the environment echoes what it was given."""

    class Line(gym.Env):
        observation_space = gs.Box(-99, 99, (1,), np.float64)
        action_space = gs.Box(-3, 3, (1,), np.int32)

        def reset(self, *, seed=None, options=None):
            self.x = np.zeros(1)
            return self.x, {}

        def step(self, action):
            assert action.dtype == np.int32
            self.x += action  # in place: the recorder must have copied
            return self.x, 0.0, False, False, {}

    def policy(state, *, key):
        return jnp.where(state > 4, -2.4, 1.6)

    data = collect(Line(), policy, steps=12, seed=0, progress=False).transitions()
    np.testing.assert_array_equal(data.action, np.where(data.state > 4, -2, 2))
    np.testing.assert_array_equal(data.next_state, data.state + data.action)
    assert len(np.unique(data.state)) > 2


@pytest.mark.parametrize("name", ["FrozenLake-v1", "Blackjack-v1", "Pendulum-v1"])
def test_registered_environments(name, capsys):
    episodes = collect(name, steps=60, seed=0)
    assert episodes.num_transitions == 60
    assert "60/60" in capsys.readouterr().err
    collect(name, steps=5, seed=0, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_an_environment_that_raises_loses_nothing(mode):
    """Environment 0 fails in its 8th step: 7 transitions are whole, one episode is cut."""
    both = [echo(fail_at=8), echo(1)]
    env = both[0]() if mode is None else SyncVectorEnv(both, autoreset_mode=mode)
    with pytest.raises(CollectionError, match="the motor is on fire") as info:
        collect(env, steps=STEPS, seed=SEED, progress=False)
    assert isinstance(info.value.__cause__, RuntimeError)
    assert "seed 7" in str(info.value)
    assert "environment 0, episode 3, step 1" in str(info.value)
    kept = info.value.episodes.select(np.arange(4))
    assert kept.num_transitions == 7
    np.testing.assert_array_equal(kept.observation[:, :3], expected_rows(0, 7)[:, :3])
    np.testing.assert_array_equal(kept.is_last, expected_rows(0, 7)[:, 4])
    np.testing.assert_array_equal(kept.is_terminal, expected_rows(0, 7)[:, 5])
    if mode is not None:
        assert info.value.episodes.num_transitions >= 11


def test_an_environment_that_raises_at_once():
    with pytest.raises(CollectionError, match="after 0 of 5 transitions") as info:
        collect(echo(fail_at=1)(), steps=5, seed=0, progress=False)
    assert info.value.episodes is None


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("mode", [None, "NextStep"])
def test_nan_from_an_environment_is_located(what, mode):
    options = {"poison": (5, what)}
    env = echo(**options)() if mode is None else echo_vector(mode, 1, **options)
    where = f"{what} is .*(nan|inf).* in environment 0, episode 2, step 2"
    with pytest.raises(CollectionError, match=where) as info:
        collect(env, steps=STEPS, seed=SEED, progress=False)
    assert info.value.episodes.num_transitions == 4


def test_nan_from_one_environment_keeps_the_step_of_the_others():
    both = SyncVectorEnv([echo(poison=(5, "reward")), echo(1)], autoreset_mode="Disabled")
    with pytest.raises(CollectionError, match="environment 0, episode 2, step 2") as info:
        collect(both, steps=STEPS, seed=SEED, progress=False)
    assert info.value.episodes.num_transitions == 4 + 5


@pytest.mark.parametrize("value", [2.5, np.nan])
def test_action_outside_the_space(value):
    def policy(state, *, key):
        return jnp.where(state[:1] > -9, value, 0.0)

    message = rf"action\[0\] = {value}, expected a value in \[-2, 2\], in environment 0, episode 0"
    with pytest.raises(ValueError, match=message):
        collect("Pendulum-v1", policy, steps=5, seed=0, progress=False)


class NoMode(SyncVectorEnv):
    """A vector environment that does not say how it resets."""

    def __init__(self):
        super().__init__([echo()])
        self.metadata = {}


def test_a_module_of_the_current_folder_registers_its_environments(tmp_path, monkeypatch):
    lines = [
        "import gymnasium",
        "from gymnasium.envs.classic_control import PendulumEnv",
        "gymnasium.register('OfMine-v0', PendulumEnv, max_episode_steps=2)",
    ]
    (tmp_path / "worlds_of_mine.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    episodes = collect("worlds_of_mine:OfMine-v0", steps=4, seed=0, progress=False)
    assert episodes.is_last.sum() == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"env": 3}, TypeError, r"gymnasium\.(core\.)?Env"),
        ({"env": "NoSuchEnv-v0"}, ValueError, "'NoSuchEnv-v0' cannot be made"),
        ({"env": "no_such_module:A-v0"}, ValueError, "No module named 'no_such_module'"),
        ({"env": NoMode()}, ValueError, r"autoreset_mode'\] is None, expected one of"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"policy": lambda state, *, key: state[:2]}, ValueError, r"action of shape \(1,\)"),
        ({"policy": lambda state, *, key: np.asarray(state)}, TypeError, "JAX operations"),
    ],
)
def test_bad_arguments(call, error, message):
    arguments = {"env": "Pendulum-v1", "policy": None, "steps": 1, "seed": 0, "progress": False}
    arguments.update(call)
    with pytest.raises(error, match=message):
        collect(arguments.pop("env"), arguments.pop("policy"), **arguments)


def test_unsupported_space_is_named():
    env = echo()()
    env.observation_space = gs.Text(3)
    with pytest.raises(TypeError, match="Text.* is not supported; expected Box"):
        collect(env, steps=1, seed=0)


def test_policies_with_arrays_share_one_compilation():
    traces = []

    class Gain(RandomPolicy):
        gain: jax.Array

        def __call__(self, state, *, key):
            traces.append(1)
            return jnp.clip(self.gain * state[:1], -2, 2)

    from stochwm.data import flat_space

    space = flat_space(gym.make("Pendulum-v1").action_space, "action")
    results = []
    for gain in (0.5, -0.5):
        policy = Gain(space, jnp.float32(gain))
        results.append(collect("Pendulum-v1", policy, steps=3, seed=0, progress=False).action[0])
    np.testing.assert_allclose(results[0], -results[1])
    assert results[0] != 0
    assert len(traces) == 3  # two shape checks and one compilation
    assert isinstance(collect("Pendulum-v1", policy, steps=1, seed=0, progress=False), Episodes)
