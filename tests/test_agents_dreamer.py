"""Dreamer: which gradient goes where, what a dream is worth, and runs that go on."""

import dataclasses
import sys
from functools import cache, partial

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stochwm.agents import (
    PRESETS,
    AgentDiverged,
    GymSource,
    Running,
    SlowCritic,
    Steps,
    WorldSource,
    acting,
    dream_beside,
    episode_returns,
    laprop,
    make_learner,
    make_update,
    three_adams,
    train_dreamer,
    train_ppo,
    v1_tiny,
    v3_tiny,
)
from stochwm.agents.actors import OneHotActor
from stochwm.agents.checkpoints import Checkpoints, seed_of
from stochwm.agents.dreamer import (
    Dream,
    Metrics,
    act,
    dream_from,
    loss_of_actor,
    loss_of_critic,
    make_optimizer,
    range_of,
    replayed_returns,
)
from stochwm.agents.exploring import Explorer, act_at_random, explore
from stochwm.agents.steps import Finished
from stochwm.agents.train_dreamer import _Job, _row
from stochwm.data import RandomPolicy, flat_space
from stochwm.distributions import SymlogNormal, symexp
from stochwm.drift import DriftGuard, epistemic_variance
from stochwm.envs import Doors, WorldEnv
from stochwm.models import (
    CategoricalLatent,
    ChainedLatent,
    MeanSquared,
    NormalLatent,
    SymexpTwoHot,
    SymlogDecoder,
)
from stochwm.training import free_bits, partition_trainable

KEY = jax.random.key(0)
SMALL = {
    "deter": 8,
    "width": 8,
    "depth": 1,
    "imagined_steps": 3,
    "starts_per_sequence": 2,
    "batch_size": 2,
    "sequence_length": 4,
    "num_envs": 2,
    "prefill": 16,
    "train_ratio": 4.0,
    "capacity": 64,
}
# Fewer free nats than in the paper: of so small a latent the prior would else learn nothing.
V3 = v3_tiny(
    latent=CategoricalLatent(2, 3), scalar=SymexpTwoHot(21), divergence=free_bits(0.1), **SMALL
)
V1 = v1_tiny(latent=NormalLatent(3), **SMALL)
WORLD = Doors(stages=1, doors=2)
SOURCE = WorldSource(WORLD, 2)
SPACES = SOURCE.observation_space, SOURCE.action_space
RANDOM = RandomPolicy(SPACES[1])


@cache
def learner(config):
    """Fresh, with output layers that are not 0, behind which nothing could be seen."""
    made = make_learner(*SPACES, config, key=KEY)
    where = lambda m: (  # noqa: E731
        m.agent.critic.output.weight,
        m.agent.actor.output.weight,
        m.agent.model.reward_head.output.weight,
    )
    filled = [0.3 * jax.random.normal(KEY, x.shape) for x in where(made)]
    return eqx.tree_at(where, made, filled)


def batch(seed=0):
    random, shape = np.random.default_rng(seed), (2, 4)
    one_hot = lambda size: jnp.eye(size)[random.integers(size, size=shape)]  # noqa: E731
    no = jnp.zeros(shape, bool)
    reward = jnp.asarray(random.normal(size=shape), float)
    return Steps(
        one_hot(SPACES[0].size), one_hot(SPACES[1].size), reward, no.at[:, 0].set(True), no, no
    )


def names_with_gradient(config, of):
    """Parameters that a loss reaches, by name."""
    start = learner(config)
    trainable, rest = partition_trainable(start.agent)

    def loss(trainable):
        return of(eqx.combine(trainable, rest), start)

    found = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(trainable))
    name = jax.tree_util.keystr
    every = {name(path) for path, _ in found}
    return {name(path) for path, x in found if np.any(np.asarray(x) != 0)}, every


# --- which gradient goes where ----------------------------------------------------------------
@pytest.mark.parametrize("config", [V3, V1], ids=["reinforce", "through the dream"])
def test_returns_teach_the_actor_only_through_the_dream(config):
    """The gradient of the returns themselves: to the actor in V1, to nobody in V3."""

    def returns(agent, start):
        state = agent.model.initial()
        return jnp.sum(dream_from(agent, start.slow_critic, state, config, None, key=KEY).returns)

    reached, every = names_with_gradient(config, returns)
    actor = {name for name in every if name.startswith(".actor")}
    assert reached == (actor if config is V1 else set())


def test_a_greedy_agent_takes_the_most_probable_action():
    """Whatever it sees, this actor holds action 1 a little more probable than action 0."""
    where = lambda a: (a.actor.output.weight, a.actor.output.bias)  # noqa: E731
    agent = learner(V3).agent
    agent = eqx.tree_at(where, agent, (jnp.zeros_like(where(agent)[0]), jnp.array([0.0, 0.4])))
    for greedy in (True, False):
        act, memory = acting(agent, SOURCE, greedy=greedy)
        assert act is acting(agent, SOURCE, greedy=greedy)[0]
        place = SOURCE.start(0)
        steps = SOURCE.collect(act, agent, memory, place, key=KEY, length=16)[2]
        assert np.all(steps.action[..., 1] == 1) == greedy


def test_an_explorer_remembers_what_it_did():
    """This actor would always take action 1, and three draws of four are its own."""
    where = lambda a: (a.actor.output.weight, a.actor.output.bias)  # noqa: E731
    agent = learner(V3).agent
    agent = eqx.tree_at(where, agent, (jnp.zeros_like(where(agent)[0]), jnp.array([-99.0, 99.0])))
    explorer = Explorer(dataclasses.replace(agent, actor_head=OneHotActor((2,))), RANDOM, 0.25)
    _, memory = acting(agent, SOURCE)

    @eqx.filter_jit
    def steps(explorer, key):
        start = jax.tree.map(lambda x: x[0], memory)
        seen, first = jnp.eye(SPACES[0].size)[0], jnp.asarray(True)
        return jax.vmap(lambda key: explore(explorer, start, seen, first, key=key))(
            jax.random.split(key, 4_000)
        )

    after, action, _ = steps(explorer, KEY)
    np.testing.assert_array_equal(after.action, action)
    assert abs(np.mean(action[:, 0]) - 0.25 / 2) < 4 * np.sqrt(0.125 * 0.875 / 4_000)


# --- what a dream is worth --------------------------------------------------------------------
@partial(eqx.filter_jit)
def dreamt(config, start, key):
    agent = start.agent
    dream = dream_from(agent, start.slow_critic, agent.model.initial(), config, None, key=key)
    value = jax.vmap(lambda x: agent.scalar.mean(agent.critic(x)))(dream.features)
    heads = agent.model
    reward = jax.vmap(lambda x: heads.reward_scalar.mean(heads.reward_head(x)))(dream.features)
    goes_on = jax.vmap(lambda x: jax.nn.sigmoid(heads.discount_head(x)[0]))(dream.features)
    return dream, value, reward, jnp.minimum(goes_on / heads.longest, 1.0)


def test_the_returns_of_a_dream():
    """Against the recursion in plain NumPy, from the features of the dream alone."""
    dream, value, reward, goes_on = (
        jax.tree.map(np.asarray, x) for x in dreamt(V3, learner(V3), KEY)
    )
    following, expected = value[-1], []
    for t in (3, 2, 1):
        following = reward[t] + V3.gamma * goes_on[t] * (0.05 * value[t] + 0.95 * following)
        expected.insert(0, following)
    np.testing.assert_allclose(dream.returns, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dream.value, value[:-1], rtol=1e-5)
    weight = goes_on[0] * np.array([1.0, 1.0, 1.0])
    weight[1] *= V3.gamma * goes_on[1]
    weight[2] = weight[1] * V3.gamma * goes_on[2]
    np.testing.assert_allclose(dream.weight, weight, rtol=1e-5)


def test_replayed_returns_stop_at_the_end_of_an_episode():
    """Rows 0 1 | 2 3: row 1 is the last of its episode, once truncated and once terminal."""
    reward, imagined = jnp.array([0.0, 1.0, 0.0, 2.0]), jnp.array([5.0, 6.0, 7.0, 8.0])
    last = jnp.array([False, True, False, False])
    for terminal, after in ((False, 6.0), (True, 0.0)):
        is_terminal = last & terminal
        returns, weight = replayed_returns(reward, last, is_terminal, imagined, V3)
        np.testing.assert_allclose(returns[0], 1.0 + V3.gamma * after, rtol=1e-6)
        np.testing.assert_allclose(returns[2], 2.0 + V3.gamma * 8.0, rtol=1e-6)
        np.testing.assert_array_equal(weight, [1.0, 0.0, 1.0])


def a_dream():
    """A dream of three steps, made up."""
    agent, random = learner(V3).agent, np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), float)  # noqa: E731
    action = jnp.eye(2)[jnp.array([0, 1, 0])]
    weight = jnp.array([1.0, 0.9, 0.5])
    features = draw(4, agent.model.feature_size)
    return Dream(features, action, draw(3), draw(3), weight, jnp.ones(3))


def test_what_the_actor_minimises():
    """REINFORCE by hand: log probability times advantage over the scale, and the entropy."""
    agent, dream, scale = learner(V3).agent, a_dream(), 2.0
    loss, entropy = loss_of_actor(agent, V3, scale, dream)
    logits = np.stack([np.asarray(agent.actor(x)) for x in dream.features[:-1]])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probs = 0.99 * probs + 0.01 / 2
    log_prob = np.log(probs[np.arange(3), [0, 1, 0]])
    advantage = np.asarray(dream.returns - dream.value) / scale
    expected_entropy = -np.sum(probs * np.log(probs), axis=1)
    np.testing.assert_allclose(entropy, expected_entropy, rtol=1e-4)
    gain = log_prob * advantage + 3e-4 * expected_entropy
    np.testing.assert_allclose(loss, -np.array([1.0, 0.9, 0.5]) * gain, rtol=1e-4)


def test_the_actor_of_v1_climbs_its_returns():
    agent = learner(V1).agent
    dream = eqx.tree_at(lambda d: d.features, a_dream(), jnp.ones((4, agent.model.feature_size)))
    loss, entropy = loss_of_actor(agent, V1, 1.0, dream)
    np.testing.assert_allclose(loss, -dream.weight * (dream.returns + 1e-3 * entropy), rtol=1e-5)


def test_what_the_critic_minimises():
    """Cross-entropies towards the returns and, half as strong, towards the slow critic's value."""
    config = dataclasses.replace(V3, slow_critic=SlowCritic(0.02, pull=0.5))
    start, dream = learner(V3), a_dream()
    agent, slow, scalar = start.agent, start.slow_critic, V3.scalar
    features = dream.features[:-1]
    loss = loss_of_critic(agent, slow, config, features, dream.returns, dream.weight)
    for t, x in enumerate(features):
        log_probs = np.asarray(jax.nn.log_softmax(agent.critic(x)))
        target = scalar.two_hot(dream.returns[t]) + 0.5 * scalar.two_hot(scalar.mean(slow(x)))
        expected = -np.sum(np.asarray(target) * log_probs)
        np.testing.assert_allclose(loss[t], dream.weight[t] * expected, rtol=1e-4)


def test_the_range_of_returns_follows_slowly():
    start = eqx.tree_at(
        lambda m: (m.low, m.high), learner(V3), (jnp.asarray(2.0), jnp.asarray(8.0))
    )
    low, high = range_of(jnp.arange(101.0).reshape(1, -1), start)
    np.testing.assert_allclose([low, high], [0.99 * 2 + 0.05, 0.99 * 8 + 0.95], rtol=1e-5)


def test_a_picture_goes_through_every_loss():
    """Shapes only: nothing is compiled."""
    shape, box = (4, 4, 3), gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)
    config = dataclasses.replace(V3, patch=2)
    made = make_learner(flat_space(box), SPACES[1], config, image=shape, key=KEY)
    rows = eqx.tree_at(lambda r: r.observation, batch(), jnp.ones((2, 4, 48)))
    update = make_update(config)
    after, _ = jax.eval_shape(lambda m, r: update(m, r, key=KEY), made, rows)
    assert jax.tree.structure(after) == jax.tree.structure(made)


def test_numbers_and_categories_are_predicted_as_what_they_are():
    spaces = {
        "a": gym.spaces.Discrete(3),
        "b": gym.spaces.MultiDiscrete([2, 4]),
        "c": gym.spaces.Box(-1, 1, (2,)),
        "d": gym.spaces.Discrete(2),
    }
    mixed = gym.spaces.Dict(spaces)
    model = make_learner(flat_space(mixed), SPACES[1], V3, key=KEY).agent.model
    categories, numbers, last = model.decode(model.initial()).parts
    assert categories.sizes == (3, 2, 4)
    assert (numbers.event_shape, last.sizes) == ((2,), (2,))
    assert isinstance(numbers, SymlogNormal)
    alone = make_learner(flat_space(spaces["c"]), SPACES[1], V3, key=KEY).agent.model
    assert isinstance(alone.decoder, SymlogDecoder)
    seen = jnp.tile(model.decode(model.initial()).sample(seed=KEY), (3, 1))
    no, action = jnp.zeros(3, bool), jnp.zeros((3, SPACES[1].size))
    rows = Steps(seen, action, jnp.zeros(3), no, no, no)
    found = dream_beside(model, rows, seen=1, dreams=2, key=KEY).observation
    np.testing.assert_array_equal(found[..., :3].sum(axis=-1), np.ones((2, 3)))
    assert np.isin(found[..., :9], [0, 1]).all()
    assert not np.array_equal(*found)  # each dream has draws of its own


# --- one update -------------------------------------------------------------------------------
@cache
def updated(config):
    """The learner after one and after two updates: the warm-up of V3 begins with a step of 0."""
    update = make_update(config)
    step = jax.jit(lambda start, rows: update(start, rows, key=KEY))
    once, _ = step(learner(config), batch())
    return once, *step(once, batch())


def test_the_optimizer_is_told_the_learning_rate():
    told = []

    def optimizer(rate):
        told.append(rate)
        return optax.sgd(rate)

    config = dataclasses.replace(V3, optimizer=optimizer, learning_rate=0.5)
    make_update(config), learner(config)
    assert told == [0.5, 0.5]


def test_rates_settle_between_two_steps_of_the_environment():
    """8 updates in every 16 steps, the first of which are the prefill."""
    config = dataclasses.replace(V3, optimizer=optax.sgd, learning_rate=0.5, settle=(32, 64))
    optimizer, ones = make_optimizer(config), {"weight": jnp.ones(2)}
    state, sizes = optimizer.init(ones), []
    for _ in range(40):
        step, state = optimizer.update(ones, state, ones)
        sizes.append(-float(step["weight"][0]))
    expected = 0.5 * np.clip((32 - np.arange(40)) / 16, 0, 1)
    np.testing.assert_allclose(sizes, expected, atol=1e-6)


def counted(learner, rows, *, key):
    """An update that does nothing else."""
    metrics = Metrics(*[jnp.zeros(()) for _ in dataclasses.fields(Metrics)])
    return eqx.tree_at(lambda m: m.updates, learner, learner.updates + 1), metrics


@pytest.mark.parametrize("prefill", [16, 24, 48])
def test_updates_are_foretold(prefill, monkeypatch):
    """What an update does is another matter, and takes long to compile."""
    monkeypatch.setattr(sys.modules[_Job.__module__], "make_update", lambda *parts: counted)
    # Of this rate here only: what learns nothing stays compiled for these choices.
    config = dataclasses.replace(V3, prefill=prefill, train_ratio=8.0)
    history = train_dreamer(WORLD, config, steps=96, progress=False, log_every=16).history
    assert [config.updates_by(row["env_steps"]) for row in history] == [
        row["updates"] for row in history
    ]


def test_nothing_is_learned_once_settled():
    config = dataclasses.replace(V3, settle=(16, 48))
    before, after, more = (
        train_dreamer(WORLD, config, steps=steps, progress=False).agent for steps in (48, 64, 32)
    )
    same = jax.tree.map(jnp.array_equal, *(eqx.filter(x, eqx.is_array) for x in (before, after)))
    assert all(jax.tree.leaves(same))
    other = jax.tree.map(jnp.array_equal, *(eqx.filter(x, eqx.is_array) for x in (before, more)))
    assert not all(jax.tree.leaves(other))


def test_parts_learn_at_their_share_of_the_rate():
    """The first step of Adam is the rate, whatever the gradient."""
    agent = partition_trainable(learner(V3).agent)[0]
    optimizer = three_adams(0.1, model=0.0, critic=0.3)
    steps, _ = optimizer.update(jax.tree.map(jnp.ones_like, agent), optimizer.init(agent), agent)
    for part, step in ((steps.model, 0.0), (steps.actor, -0.04), (steps.critic, -0.03)):
        for leaf in jax.tree.leaves(part):
            np.testing.assert_allclose(leaf, step, rtol=0.02)


@pytest.mark.parametrize("size", [1e3, 1e-3], ids=["free", "clipped"])
def test_laprop_divides_before_it_averages(size):
    """By hand (arXiv 2002.04839): Adam, which averages first, would give other steps.

    Gradients count as 0.3 times as long as the weights of their input at most.
    """
    weight, seen = np.full((1, 2), size), np.array([[[1.0, -2.0]], [[10.0, 0.1]], [[0.5, 3.0]]])
    optimizer = laprop(0.5, warmup=2)
    state = optimizer.init(jnp.asarray(weight))
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for i, gradient in enumerate(seen):
        step, state = optimizer.update(jnp.asarray(gradient), state, jnp.asarray(weight))
        clipped = np.clip(gradient, -0.3 * weight, 0.3 * weight)  # an input has one weight here
        square = 0.999 * square + 0.001 * clipped**2
        mean = 0.9 * mean + 0.1 * clipped / np.sqrt(square / (1 - 0.999 ** (i + 1)))
        rate = 0.5 * min(1.0, i / 2)
        np.testing.assert_allclose(step, -rate * mean / (1 - 0.9 ** (i + 1)), rtol=1e-4)


def test_updates_move_every_parameter_and_nothing_else():
    """A parameter that no loss reaches has a gradient of 0, which no optimiser here moves."""
    before, (_, after, metrics) = learner(V3), updated(V3)
    assert int(after.updates) == 2
    trainable = lambda made: partition_trainable(made.agent)[0]  # noqa: E731
    fixed = lambda made: eqx.filter(partition_trainable(made.agent)[1], eqx.is_array)  # noqa: E731
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), trainable(before), trainable(after))
    found = jax.tree_util.tree_leaves_with_path(moved)
    names = {jax.tree_util.keystr(path).split(".")[1] for path, _ in found}
    assert names == {"model", "actor", "critic"}
    assert [jax.tree_util.keystr(path) for path, yes in found if not yes] == []
    jax.tree.map(np.testing.assert_array_equal, fixed(before), fixed(after))
    assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))


def test_the_slow_critic_of_v3_is_a_moving_average():
    before, after, _ = updated(V3)
    old, new = before.slow_critic.output.weight, after.slow_critic.output.weight
    np.testing.assert_allclose(new, old + 0.2 * (after.agent.critic.output.weight - old))


def test_presets_differ_where_the_papers_do():
    made = {name: make() for name, make in PRESETS.items()}
    assert isinstance(made["v1-tiny"].latent, NormalLatent)
    assert made["v1-tiny"].dynamics_gradient
    assert isinstance(made["v2-tiny"].scalar, MeanSquared)
    assert made["v2-tiny"].slow_critic.bootstraps
    assert made["v3-tiny"].replay_critic == 0.3
    assert isinstance(made["v3-chained"].latent, ChainedLatent)
    assert made["v3-chained"].scalar == made["v3-tiny"].scalar
    paper = made["v3-chained"]
    assert (paper.slow_critic.rate, paper.slow_critic.pull, paper.horizon) == (0.02, 1.0, 333.0)
    assert not made["v3-tiny"].slow_critic.bootstraps
    assert symexp(jnp.asarray(20.0)) == made["v3-tiny"].scalar.values[-1]


# --- whole runs -------------------------------------------------------------------------------
HEADS = dataclasses.replace(V3, prior_heads=2, exploration=0.5)
GUARD = DriftGuard(epistemic_variance, 0.01)
RUNS = {
    "world": (WORLD, V3, None),
    "gymnasium, with a guard": (partial(WorldEnv, WORLD), HEADS, GUARD),
}


def without_time(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.mark.parametrize(("env", "config", "guard"), RUNS.values(), ids=RUNS)
def test_a_resumed_run_equals_an_uninterrupted_one(env, config, guard, tmp_path):
    often = {"progress": False, "log_every": 16, "checkpoint_every": 32}
    train = partial(train_dreamer, env, config, guard=guard, **often)
    whole = train(steps=64)
    assert (whole.history[-1]["trusted"] < 1) == (guard is not None)
    assert [row["env_steps"] for row in whole.history] == [16, 32, 48, 64]
    train(steps=32, folder=tmp_path)
    resumed = train(steps=64, folder=tmp_path)
    assert without_time(resumed.history) == without_time(whole.history)
    jax.tree.map(
        np.testing.assert_array_equal,
        eqx.filter(whole.learner, eqx.is_array),
        eqx.filter(resumed.learner, eqx.is_array),
    )
    other = dataclasses.replace(config, entropy=0.5)
    with pytest.raises(ValueError, match=r"has entropy 0.0003, not 0.5\. Go on"):
        train_dreamer(env, other, steps=64, guard=guard, folder=tmp_path)
    other = train(steps=32, seed=1)
    assert without_time(other.history) != without_time(whole.history)[:2]


def test_a_run_that_goes_on_between_checkpoints_meets_other_episodes(tmp_path, monkeypatch):
    """Its environments were not saved, and would begin again as they first did."""
    seeds, start = [], GymSource.start
    monkeypatch.setattr(
        GymSource, "start", lambda self, seed: seeds.append(seed) or start(self, seed)
    )
    env, often = partial(WorldEnv, WORLD), {"log_every": 16, "checkpoint_every": 32}
    config = dataclasses.replace(V3, prefill=512, capacity=512)  # seeds are none of its learning
    for steps in (48, 64):
        seeds.clear()
        run = train_dreamer(env, config, steps=steps, folder=tmp_path, progress=False, **often)
    assert seeds == [0, seed_of(0, 3)]  # made, and begun in chunk 3
    assert [row["env_steps"] for row in run.history] == [16, 32, 48, 64]


def test_every_chunk_draws_anew():
    job = _Job(SOURCE, dataclasses.replace(V3, prefill=48), 0, None)
    state = job.begin()
    for _ in range(2):
        state, _, _ = job.advance(state, restart=False)
    action = state.replay.rows.action
    assert not np.array_equal(action[:8], action[8:16])


def test_an_agent_remembers_from_chunk_to_chunk():
    """The second chunk is the first that it acts in; what it did last is in the replay."""
    job = _Job(SOURCE, dataclasses.replace(V3, train_ratio=0.01), 0, None)
    state = job.begin()
    for _ in range(2):
        state, _, _ = job.advance(state, restart=False)
    assert int(state.learner.updates) == 0
    np.testing.assert_array_equal(state.memory.action, state.replay.rows.action[15])
    assert np.any(state.memory.state.deter != 0)


def test_an_update_sees_as_many_sequences_of_such_a_length(monkeypatch):
    class Told(Exception):
        pass

    def tell(learner, rows, *, key):
        raise Told(rows.reward.shape)

    monkeypatch.setattr(sys.modules[_Job.__module__], "make_update", lambda *parts: tell)
    config = dataclasses.replace(V3, batch_size=8, sequence_length=4)
    with pytest.raises(Told) as told:
        train_dreamer(WORLD, config, steps=16, progress=False)
    assert told.value.args[0] == (8, 4)


def test_episodes_that_a_pause_broke_off_are_cut(monkeypatch, tmp_path):
    """24 rows, a pause where an uninterrupted run has none, then 8 more; all of it the prefill."""
    config = dataclasses.replace(V3, prefill=512, capacity=512)
    train = partial(train_dreamer, partial(WorldEnv, WORLD), config, progress=False)
    train(steps=48, folder=tmp_path, checkpoint_every=32)
    states = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, number, state, rows: states.append(state))
    train(steps=64, folder=tmp_path, checkpoint_every=1_000)
    rows = states[-1].replay.rows
    assert rows.is_first[24].all()
    assert rows.is_last[23].all()


def test_a_prefill_is_random_and_its_returns_are_discounted():
    """Three chunks of 16 steps, of which two are collected."""
    job = _Job(SOURCE, dataclasses.replace(V3, prefill=48), 0, None)
    state, ended = job.begin(), []
    for _ in range(2):
        state, finished, _ = job.advance(state, restart=False)
        ended += finished
    at = lambda chunk: eqx.tree_at(lambda s: s.chunk, state, jnp.asarray(chunk))  # noqa: E731
    behaviour = [job._behaviour(at(chunk))[0] for chunk in range(4)]
    assert behaviour == [act_at_random] * 3 + [act]
    exploring = _Job(SOURCE, dataclasses.replace(V3, prefill=48, exploration=0.25), 0, None)
    assert exploring._behaviour(at(2))[0] is act_at_random
    how, who = exploring._behaviour(at(3))
    assert (how, who.share) == (explore, 0.25)
    rows = jax.tree.map(lambda x: x[:16], state.replay.rows)
    expected, _ = episode_returns(rows, Running.begin(2), V3.gamma)
    returns = lambda found: [one.discounted for one in found]  # noqa: E731
    np.testing.assert_allclose(returns(ended), returns(expected), rtol=1e-5)
    assert any(one.length > 1 for one in ended)


def test_the_real_return_is_that_of_a_step():
    """A long episode has more of them than a short one."""
    state = _Job(SOURCE, V3, 0, None).begin()
    short, long = Finished(1.0, 1, 0, 2.0), Finished(5.0, 3, 1, 6.0)
    row = _row(16, state, [short, long], [], 0.0)
    assert (row["mean_return"], row["mean_length"], row["real_return"]) == (3.0, 2.0, 5.0)


def test_a_run_that_diverges_names_the_step(tmp_path):
    poisoned = eqx.tree_at(lambda world: world.safe, WORLD, jnp.asarray(jnp.inf))
    with pytest.raises(AgentDiverged, match=r"reward_loss.* before environment step 16"):
        train_dreamer(poisoned, V3, steps=64, progress=False, log_every=16, folder=tmp_path)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="prefill must be at least"):
        train_dreamer(WORLD, dataclasses.replace(V3, prefill=2), steps=16, progress=False)
    with pytest.raises(ValueError, match="capacity must be at least prefill"):
        train_dreamer(WORLD, dataclasses.replace(V3, capacity=8), steps=16, progress=False)
    with pytest.raises(ValueError, match="exploration must be a share"):
        train_dreamer(WORLD, dataclasses.replace(V3, exploration=1.5), steps=16, progress=False)
    for settle in [(8, 8), (-1, 8)]:
        with pytest.raises(ValueError, match="settle must be two numbers of steps"):
            train_dreamer(WORLD, dataclasses.replace(V3, settle=settle), steps=16, progress=False)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        train_dreamer(WORLD, V3, steps=0, progress=False)


@pytest.mark.parametrize("train", [partial(train_dreamer, config=V3), train_ppo])
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_none_is_refused_before_anything_runs(train, seed):
    with pytest.raises(ValueError, match=r"seed must be an integer in \[0, 2\*\*32\)"):
        train(WORLD, steps=16, seed=seed, progress=False)
