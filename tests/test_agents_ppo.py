"""PPO: ends of two kinds, the clipped objective, and a world whose best return is known."""

import dataclasses
from functools import partial

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stochwm.agents import AgentDiverged, PPOConfig, Steps, ppo_customary, train_ppo
from stochwm.agents.actors import drawn, most_probable
from stochwm.agents.ppo import (
    Batch,
    act,
    advantages,
    loss_of,
    make_actor_critic,
    make_update,
    to_batch,
)
from stochwm.data import flat_space
from stochwm.envs import Doors, WorldEnv

CONFIG = PPOConfig(width=16, gamma=0.9, lambda_=0.8)
DISCRETE, BOX = gym.spaces.Discrete(2), gym.spaces.Box(-2, 2, (1,))


def rows(reward, first=(), last=(), terminal=()):
    number = len(reward)
    flag = lambda where: jnp.asarray(np.isin(np.arange(number), where))  # noqa: E731
    wide = jnp.zeros((number, 1))
    return Steps(wide, wide, jnp.asarray(reward, float), flag(first), flag(last), flag(terminal))


def test_a_truncated_episode_is_worth_what_a_longer_one_is():
    """Where the value is right everywhere, nothing is gained by any step, cut off or not."""
    always = 1 / (1 - CONFIG.gamma)  # one unit of reward a step, for ever
    value = jnp.full(6, always)
    cut = rows([0, 1, 1, 0, 1, 1], first=[0, 3], last=[2])
    advantage, returns = advantages(cut, value, CONFIG)
    np.testing.assert_allclose(np.asarray(advantage)[[0, 1, 3, 4]], 0.0, atol=1e-5)
    np.testing.assert_allclose(np.asarray(returns)[[0, 1, 3, 4]], always, rtol=1e-6)


def test_a_terminal_state_is_worth_nothing():
    value = jnp.full(4, 10.0)
    ended = rows([0, 1, 1, 0], first=[0, 3], last=[2], terminal=[2])
    _, returns = advantages(ended, value, CONFIG)
    # R_1 = 1; R_0 = 1 + gamma ((1 - lambda) 10 + lambda 1)
    np.testing.assert_allclose(returns[:2], [1 + 0.9 * (0.2 * 10 + 0.8), 1.0], rtol=1e-6)


def test_ignored_actions_have_no_weight():
    """The action at the end of an episode did nothing; two environments, side by side.

    The values are those recorded, row by row.
    """
    ended = rows([0, 1, 0, 1], first=[0, 2], last=[1])
    both = jax.tree.map(lambda x: jnp.stack([x, jnp.roll(x, 1, axis=0)], axis=1), ended)
    aux = jnp.zeros((4, 2, 1)), jnp.zeros((4, 2)), jnp.arange(8.0).reshape(4, 2)
    batch = to_batch(both, aux, CONFIG)
    np.testing.assert_array_equal(batch.weight.reshape(3, 2), [[1, 1], [0, 1], [1, 0]])
    np.testing.assert_array_equal(batch.value.reshape(3, 2), aux[2][:-1])
    alone = advantages(ended, aux[2][:, 0], CONFIG)[0]
    np.testing.assert_allclose(batch.advantage.reshape(3, 2)[:, 0], alone)


@pytest.mark.parametrize("value_clip", [0.2, np.inf])
@pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "continuous"])
def test_the_objective_by_hand(space, value_clip):
    """The clipped objective, rows of weight 0 left out, in plain NumPy."""
    config = dataclasses.replace(CONFIG, value_clip=value_clip)
    agent = make_actor_critic(
        flat_space(gym.spaces.Box(-1, 1, (3,))), flat_space(space), CONFIG, key=jax.random.key(0)
    )
    # A policy that is not all but uniform: its entropy differs from row to row.
    agent = eqx.tree_at(lambda a: a.actor.layers[-1].weight, agent, replace_fn=lambda x: 100 * x)
    random = np.random.default_rng(0)
    observation = jnp.asarray(random.normal(size=(5, 3)), float)
    policy = jax.vmap(agent.policy)(observation)
    action = jax.vmap(lambda p, k: p.sample(seed=k))(policy, jax.random.split(jax.random.key(1), 5))
    log_prob = np.asarray(jax.vmap(lambda p, a: p.log_prob(a))(policy, action))
    ratio = np.array([1.0, 1.5, 0.5, 1.1, 0.9])
    advantage, returns = random.normal(size=5), random.normal(size=5)
    weight = np.array([1.0, 1.0, 1.0, 0.0, 1.0])
    value = np.asarray(jax.vmap(agent.value)(observation))
    before = value + np.array([1.0, -1.0, 0.1, 2.0, -0.1])  # what the critic that collected said
    batch = Batch(
        observation,
        action,
        *(jnp.asarray(x, float) for x in (log_prob - np.log(ratio), before, advantage, returns)),
        jnp.asarray(weight, float),
    )
    total, parts = loss_of(agent, batch, config)

    used = weight > 0
    a = advantage[used]
    a = (a - a.mean()) / a.std()
    r = ratio[used]
    expected_policy = -np.mean(np.minimum(r * a, np.clip(r, 0.8, 1.2) * a))
    held = before + np.clip(value - before, -value_clip, value_clip)
    errors = np.maximum((value - returns) ** 2, (held - returns) ** 2)[used]
    np.testing.assert_allclose(parts["policy_loss"], expected_policy, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts["value_loss"], 0.5 * errors.mean(), rtol=1e-4)
    entropy = np.asarray(jax.vmap(lambda p: p.entropy())(policy))[used].mean()
    np.testing.assert_allclose(parts["entropy"], entropy, rtol=1e-5)
    expected = expected_policy + 0.25 * errors.mean() - 0.01 * entropy
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def test_acting_tells_how_probable_an_action_is_and_what_is_expected():
    """A normal in units of half the range, around its middle."""
    box = gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 10]))
    spaces = flat_space(gym.spaces.Box(-1, 1, (3,))), flat_space(box, "action")
    agent = make_actor_critic(*spaces, CONFIG, key=jax.random.key(0))
    agent = eqx.tree_at(lambda a: a.log_scale, agent, jnp.log(jnp.array([0.5, 2.0])))
    seen, key = jnp.array([0.3, -0.7, 0.2]), jax.random.key(1)
    policy, raw = agent.policy(seen), np.asarray(agent.actor(seen))
    np.testing.assert_allclose(policy.mean(), [2 * raw[0], 5 + 5 * raw[1]], rtol=1e-5)
    np.testing.assert_allclose(policy.scale, [1.0, 10.0], rtol=1e-5)
    for choose, expected in ((drawn, policy.sample(seed=key)), (most_probable, policy.mean())):
        _, action, told = act(agent, None, seen, jnp.asarray(False), key=key, choose=choose)
        np.testing.assert_array_equal(action, expected)
        np.testing.assert_array_equal(told[0], action)
        np.testing.assert_array_equal(told[1], policy.log_prob(action))
        np.testing.assert_array_equal(told[2], agent.critic(seen)[0])


def test_every_pass_takes_every_row_once_in_an_order_of_its_own(monkeypatch):
    """Minibatch n adds 10^n to the entry of each row that it holds: 2 epochs of 2."""
    entry = lambda batch: batch.observation[:, 0].astype(int)  # noqa: E731
    loss = lambda agent, batch, config: (-jnp.sum(agent.log_scale[entry(batch)]), {})  # noqa: E731
    monkeypatch.setattr("stochwm.agents.ppo.loss_of", loss)
    config = PPOConfig(width=2, depth=0, num_envs=2, rollout=5, epochs=2, minibatches=2)
    agent = make_actor_critic(flat_space(BOX), flat_space(BOX), config, key=jax.random.key(0))
    agent = eqx.tree_at(lambda a: a.log_scale, agent, jnp.zeros(8))
    optimizer = optax.scale_by_schedule(lambda number: -(10.0**number))
    state = optimizer.init(eqx.filter(agent, eqx.is_inexact_array))
    number, no = jnp.arange(10.0).reshape(5, 2), jnp.zeros((5, 2), bool)
    steps = Steps(number[..., None], number[..., None] * 0, number * 0, no, no, no)
    aux = jnp.zeros((5, 2, 1)), jnp.zeros((5, 2)), jnp.ones((5, 2))
    update = make_update(config, optimizer)
    seen = update(agent, state, steps, aux, key=jax.random.key(0))[0].log_scale
    digits = np.array([[int(digit) for digit in f"{int(x):04d}"] for x in seen])
    np.testing.assert_array_equal(digits[:, :2].sum(axis=1), np.ones(8))
    np.testing.assert_array_equal(digits[:, 2:].sum(axis=1), np.ones(8))
    np.testing.assert_array_equal(digits.sum(axis=0), np.full(4, 4))
    assert not np.array_equal(digits[:, 0], digits[:, 2])


def test_networks_begin_orthogonal():
    """Gains: sqrt(2) inside, 1 of the value, and 0.01 of the policy, so that it is uniform."""
    spaces = flat_space(gym.spaces.Box(-1, 1, (3,))), flat_space(DISCRETE)
    agent = make_actor_critic(*spaces, CONFIG, key=jax.random.key(0))
    for network, last in ((agent.actor, 0.01), (agent.critic, 1.0)):
        for layer, gain in zip(network.layers, (2**0.5, 2**0.5, last), strict=True):
            sizes = np.linalg.svd(layer.weight, compute_uv=False)
            np.testing.assert_allclose(sizes, gain, rtol=1e-4)
            assert not layer.bias.any()


def test_steps_shrink_to_nothing_along_a_run(monkeypatch):
    """Adam on gradients that are held to a norm of 1e-5: 4 rollouts x 3 epochs x 2 minibatches."""

    class Told(Exception):
        pass

    def tell(config, optimizer):
        raise Told(optimizer)

    monkeypatch.setattr("stochwm.agents.ppo.make_update", tell)
    sizes = {"num_envs": 2, "rollout": 8, "epochs": 3, "minibatches": 2}
    config = PPOConfig(width=8, depth=1, max_norm=1e-5, learning_rate=0.5, **sizes)
    with pytest.raises(Told) as told:
        train_ppo(Doors(1, 2), config, steps=64, progress=False)
    optimizer, gradient = told.value.args[0], {"weight": jnp.array([3.0, -4.0])}
    state, steps = optimizer.init(gradient), []
    for _ in range(25):
        step, state = optimizer.update(gradient, state)
        steps.append(step["weight"])
    first = -0.5 * np.array([0.6, -0.8]) / (np.array([0.6, 0.8]) + 1)
    expected = first * (1 - np.arange(25)[:, None] / 24)
    np.testing.assert_allclose(steps, expected, rtol=1e-3, atol=1e-6)


def test_every_rollout_draws_anew(monkeypatch):
    """A policy that is all but uniform acts alike where its draws are those of before."""
    told = []

    def update(agent, opt_state, steps, aux, *, key):
        told.append((steps.action, jax.random.key_data(key)))
        return agent, opt_state, {}

    monkeypatch.setattr("stochwm.agents.ppo.make_update", lambda *parts: update)
    config = PPOConfig(width=2, depth=0, num_envs=2, rollout=32)
    train_ppo(Doors(1, 2), config, steps=128, progress=False)
    (one, key), (two, other) = told
    assert np.mean(one == two) < 0.8
    assert not np.array_equal(key, other)


def test_it_finds_the_best_policy_of_a_small_world():
    """Doors of one stage: always safe gives 0.72, looking at the door 1."""
    small = {"width": 16, "rollout": 64, "epochs": 4, "minibatches": 4}
    config = PPOConfig(learning_rate=1e-2, entropy=0.003, **small)
    world = Doors(stages=1, doors=2, safe=0.6, forced=0.3)
    trained = train_ppo(world, config, steps=12_000, seed=0, progress=False)
    returns = [row["mean_return"] for row in trained.history]
    assert np.mean(returns[:2]) < 0.7
    assert np.mean(returns[-3:]) > 0.93
    again = train_ppo(world, config, steps=12_000, seed=0, progress=False)
    assert [row["mean_return"] for row in again.history] == returns


def test_an_interrupted_run_ends_as_if_nothing_had_happened(tmp_path):
    config = PPOConfig(width=8, depth=1, num_envs=2, rollout=8, epochs=1, minibatches=2)
    train = partial(
        train_ppo, partial(WorldEnv, Doors(1, 2)), config, steps=64, checkpoint_every=32
    )

    def stop(row):
        if row["env_steps"] == 64:
            raise KeyboardInterrupt

    whole = train(progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(progress=False, folder=tmp_path, log=stop)
    rows = []
    resumed = train(progress=False, folder=tmp_path, log=rows.append)
    assert [row["env_steps"] for row in rows] == [48, 64]
    assert [row["policy_loss"] for row in resumed.history] == [
        row["policy_loss"] for row in whole.history
    ]
    arrays = [eqx.filter(trained.agent, eqx.is_array) for trained in (whole, resumed)]
    jax.tree.map(np.testing.assert_array_equal, *arrays)
    with pytest.raises(ValueError, match="has steps 64, not 128"):
        train(steps=128, folder=tmp_path)


@pytest.mark.parametrize("name", ["value_clip", "value_weight", "entropy"])
@pytest.mark.parametrize("number", [-0.1, np.nan])
def test_weights_below_nothing_are_refused(name, number):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, but is {number}"):
        PPOConfig(**{name: number})


def test_the_customary_constants_are_those_of_public_code():
    """purejaxrl on CartPole; what is said goes before them."""
    config = ppo_customary(gamma=0.9)
    told = (config.num_envs, config.rollout, config.epochs, config.minibatches, config.gamma)
    assert told == (4, 128, 4, 4, 0.9)
    assert (config.learning_rate, config.clip, config.value_clip) == (2.5e-4, 0.2, 0.2)


def test_divergence_is_named():
    poisoned = eqx.tree_at(lambda world: world.safe, Doors(1, 2), jnp.asarray(jnp.inf))
    config = PPOConfig(width=16, rollout=64)
    with pytest.raises(AgentDiverged, match="before environment step 512"):
        train_ppo(poisoned, config, steps=600, progress=False)


def test_actions_without_bounds_are_refused():
    with pytest.raises(ValueError, match="finite bounds"):
        make_actor_critic(
            flat_space(BOX),
            flat_space(gym.spaces.Box(-np.inf, np.inf, (1,))),
            CONFIG,
            key=jax.random.key(0),
        )
