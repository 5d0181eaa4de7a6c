"""Proximal policy optimisation: what an agent learns without a model of the world.

Schulman et al. 2017 (arXiv 1707.06347). It lives on the same rows as Dreamer, in which the
observation that an episode ended at is present: where a time limit cut it off, its value is
bootstrapped, which implementations that merge both kinds of ends do not do.

The defaults are made for few environments and learn CartPole about three times as fast as the
customary constants, which are there as `ppo_customary`.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from tqdm import tqdm

from ..data import FlatSpace
from ..data.checks import checked_seed
from ..distributions import AbstractDistribution, DiagNormal
from .actors import OneHotActor, check_actions, drawn, from_unit
from .checkpoints import Checkpoints, Row, seconds_of, seed_of
from .errors import check_row
from .numbers import check_config, check_numbers, check_shares
from .returns import lambda_returns
from .source import make_source
from .steps import Finished, Running, Steps, episode_returns


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """The choices of PPO.

    Attributes:
        width: hidden units a layer, of actor and critic.
        depth: their hidden layers.
        num_envs: environments that are stepped side by side.
        rollout: rows of each environment between updates.
        epochs: passes over what was collected.
        minibatches: parts of each pass.
        gamma: the discount factor of a step.
        lambda_: of the advantages.
        clip: how far the probability ratio may go from 1 and still count.
        value_clip: how far a value may go from what it was when the rows were collected, and still
            be moved on; in units of the return. Where it is infinite, as by default, how fast
            values are learned does not hang on the scale of the reward.
        value_weight: of the critic's loss.
        entropy: weight of the policy's entropy.
        learning_rate: at the start; it falls to 0 along the run.
        max_norm: of the gradient.
    """

    width: int = 64
    depth: int = 2
    num_envs: int = 8
    rollout: int = 256
    epochs: int = 10
    minibatches: int = 8
    gamma: float = 0.99
    lambda_: float = 0.95
    clip: float = 0.2
    value_clip: float = math.inf
    value_weight: float = 0.5
    entropy: float = 0.01
    learning_rate: float = 1e-3
    max_norm: float = 0.5

    def __post_init__(self):
        """Refuse impossible numbers before anything is collected."""
        counts = dict.fromkeys(("width", "num_envs", "epochs", "minibatches"), 1)
        # Of a rollout, the last row only says what the row before it led to.
        check_numbers(self, **counts, depth=0, rollout=2, learning_rate=0, max_norm=0, clip=0)
        check_numbers(self, value_clip=0, value_weight=0, entropy=0)
        check_shares(self, "gamma", "lambda_")
        rows = self.num_envs * (self.rollout - 1)
        if self.minibatches > rows:
            raise ValueError(
                f"minibatches must be at most num_envs x (rollout - 1) = {rows}, but is "
                f"{self.minibatches}."
            )


def ppo_customary(**changes) -> PPOConfig:
    """The constants that most public code shares, with a clipped value loss.

    Those of purejaxrl on CartPole: 4 environments of 128 rows, 4 passes of 4 parts, a rate of
    2.5e-4 (Huang et al. 2022, "The 37 implementation details of proximal policy optimization").
    """
    choices: dict[str, Any] = {
        "num_envs": 4,
        "rollout": 128,
        "epochs": 4,
        "minibatches": 4,
        "learning_rate": 2.5e-4,
        "value_clip": 0.2,
    }
    return PPOConfig(**(choices | changes))


class ActorCritic(eqx.Module):
    """What acts, and what judges it."""

    actor: eqx.nn.MLP
    critic: eqx.nn.MLP
    log_scale: Float[Array, " action"]
    """Of continuous actions, in units of half their range; whatever the observation."""
    space: FlatSpace = eqx.field(static=True)

    def policy(self, observation: Float[Array, " observation"]) -> AbstractDistribution:
        """The distribution of the action."""
        raw = self.actor(observation)
        if self.space.discrete:
            return OneHotActor(tuple(size for _, size in self.space.groups))(raw)
        unit = DiagNormal(raw, jnp.exp(self.log_scale))
        return from_unit(unit, self.space.low, self.space.high)

    def value(self, observation: Float[Array, " observation"]) -> Float[Array, ""]:
        """The discounted return expected."""
        return self.critic(observation)[0]


class TrainedPPO(NamedTuple):
    """What `train_ppo` returns."""

    agent: ActorCritic
    history: list[Row]
    """One row an update: `env_steps`, `episodes`, `mean_return` and `mean_length` of the episodes
    that ended (None for none), `seconds`, `policy_loss`, `value_loss`, `entropy`."""


class Batch(eqx.Module):
    """Rows to learn from; `weight` is 0 where the action was ignored."""

    observation: Array
    action: Array
    log_prob: Array
    value: Array
    advantage: Array
    returns: Array
    weight: Array


def make_actor_critic(
    observation_space: FlatSpace, action_space: FlatSpace, config: PPOConfig, *, key: PRNGKeyArray
) -> ActorCritic:
    """Tanh networks with orthogonal weights; the first policy is all but uniform.

    Raises:
        ValueError: actions that are neither all discrete nor all numbers with finite bounds.
    """
    check_actions(action_space)
    key_actor, key_critic = jax.random.split(key)
    inputs, outputs = observation_space.size, action_space.size
    make = partial(_network, inputs, config=config)
    return ActorCritic(
        make(outputs, 0.01, key=key_actor),
        make(1, 1.0, key=key_critic),
        jnp.zeros(outputs),
        action_space,
    )


def _network(
    inputs: int, outputs: int, scale: float, *, config: PPOConfig, key: PRNGKeyArray
) -> eqx.nn.MLP:
    net: Any = eqx.nn.MLP(inputs, outputs, config.width, config.depth, jax.nn.tanh, key=key)
    keys = jax.random.split(key, len(net.layers))
    gains = [2**0.5] * config.depth + [scale]
    for i, (layer, gain, k) in enumerate(zip(net.layers, gains, keys, strict=True)):
        weight = jax.nn.initializers.orthogonal(gain)(k, layer.weight.shape)
        where = lambda net, i=i: (net.layers[i].weight, net.layers[i].bias)  # noqa: E731
        net = eqx.tree_at(where, net, (weight, jnp.zeros_like(layer.bias)))
    return net


def act(agent: ActorCritic, memory: None, observation, is_first, *, key, choose=drawn):
    """An `Act` of `source`: chooses an action, and tells its log probability and the value."""
    policy = agent.policy(observation)
    action = choose(policy, key=key)
    return memory, action, (action, policy.log_prob(action), agent.value(observation))


def advantages(
    steps: Steps, value: Float[Array, " rows"], config: PPOConfig
) -> tuple[Float[Array, " rows_minus_1"], Float[Array, " rows_minus_1"]]:
    """Generalised advantages of all rows but the last, and the lambda-returns they come from.

    Of one environment. At the last row of an episode the recursion ends: in a terminal one nothing
    follows, in a truncated one its value does. That row itself says nothing, for its action was
    ignored.
    """
    after = jax.tree.map(lambda x: x[1:], steps)
    discount = config.gamma * (1.0 - after.is_terminal)
    lambda_ = config.lambda_ * (1.0 - after.is_last)
    returns = lambda_returns(after.reward, discount, value[1:], lambda_)
    return returns - value[:-1], returns


def to_batch(steps: Steps, aux: tuple[Array, Array, Array], config: PPOConfig) -> Batch:
    """Rows `[time, envs]` as one batch, the last row left out.

    `aux` is what `act` recorded. Actions in the last rows of episodes were ignored: weight 0.
    """
    action, log_prob, value = aux
    by_env = jax.vmap(partial(advantages, config=config), in_axes=1, out_axes=1)
    advantage, returns = by_env(steps, value)
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    kept = (steps.observation, action, log_prob, value, 1.0 - steps.is_last)
    observation, action, log_prob, value, weight = (flat(x[:-1]) for x in kept)
    return Batch(observation, action, log_prob, value, flat(advantage), flat(returns), weight)


def loss_of(
    agent: ActorCritic, batch: Batch, config: PPOConfig
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The clipped objective, its value loss and entropy, over the rows of a minibatch."""
    policy = jax.vmap(agent.policy)(batch.observation)
    log_prob = jax.vmap(lambda p, a: p.log_prob(a))(policy, batch.action)
    value = jax.vmap(agent.value)(batch.observation)
    mean = lambda x: jnp.sum(batch.weight * x) / jnp.maximum(jnp.sum(batch.weight), 1.0)  # noqa: E731
    centred = batch.advantage - mean(batch.advantage)
    advantage = centred / (jnp.sqrt(mean(centred**2)) + 1e-8)
    ratio = jnp.exp(log_prob - batch.log_prob)
    near = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    policy_loss = -mean(jnp.minimum(ratio * advantage, near * advantage))
    kept = batch.value + jnp.clip(value - batch.value, -config.value_clip, config.value_clip)
    errors = jnp.stack([value, kept]) - batch.returns
    value_loss = 0.5 * mean(jnp.max(errors**2, axis=0))
    entropy = mean(jax.vmap(lambda p: p.entropy())(policy))
    total = policy_loss + config.value_weight * value_loss - config.entropy * entropy
    return total, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}


def make_update(config: PPOConfig, optimizer: optax.GradientTransformation) -> Callable:
    """`update(agent, opt_state, steps, aux, *, key) -> (agent, opt_state, metrics)`, compiled."""

    @partial(eqx.filter_jit, donate="all")
    def update(agent: ActorCritic, opt_state: PyTree, steps: Steps, aux: Any, *, key: PRNGKeyArray):
        rows = to_batch(steps, aux, config)
        number = rows.weight.shape[0]
        size = number // config.minibatches
        trainable, rest = eqx.partition(agent, eqx.is_inexact_array)

        def minibatch(carry, index):
            trainable, opt_state = carry
            batch = jax.tree.map(lambda x: x[index], rows)
            of = lambda trainable: loss_of(eqx.combine(trainable, rest), batch, config)  # noqa: E731
            gradient, metrics = jax.grad(of, has_aux=True)(trainable)
            move, opt_state = optimizer.update(gradient, opt_state, trainable)
            return (optax.apply_updates(trainable, move), opt_state), metrics

        def shuffled(key):
            order = jax.random.permutation(key, number)[: size * config.minibatches]
            return order.reshape(config.minibatches, size)

        index = jax.vmap(shuffled)(jax.random.split(key, config.epochs)).reshape(-1, size)
        (trainable, opt_state), metrics = jax.lax.scan(minibatch, (trainable, opt_state), index)
        return eqx.combine(trainable, rest), opt_state, jax.tree.map(jnp.mean, metrics)

    return update


class Progress(eqx.Module):
    """All that a run needs to go on as if it had not stopped."""

    agent: ActorCritic
    opt_state: PyTree
    place: PyTree
    """Of the environments, where those can be saved."""
    running: Running
    updates: Array
    """Done so far."""


def train_ppo(
    env: Any,
    config: PPOConfig = PPOConfig(),
    *,
    steps: int,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    checkpoint_every: int = 100_000,
    log: Callable[[Row], None] = lambda row: None,
    progress: bool = True,
) -> TrainedPPO:
    """Learn to act by trial and error.

    Args:
        env: a registered id, a function that makes an environment, or an `AbstractWorld`.
        config: the choices.
        steps: of the environment, all copies together; rounded down to whole rollouts, or one.
        seed: of everything, in [0, 2**32).
        folder: for checkpoints, as those of `train_dreamer`; None keeps none.
        checkpoint_every: steps of the environment.
        log: called with each row of the history.
        progress: whether to show a bar.

    Raises:
        AgentDiverged: a loss is NaN or infinite; the last good checkpoint is kept.
        TypeError: no `PPOConfig`, or no environment.
        ValueError: spaces or numbers that do not fit together, or a `folder` with a run of other
            choices, `steps` among them: they say how fast the learning rate falls.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but is {steps}.")
    check_config(config, PPOConfig, "PPOConfig()")
    seed = checked_seed(seed)
    source = make_source(env, config.num_envs)
    key = jax.random.key(seed)
    agent = make_actor_critic(
        source.observation_space, source.action_space, config, key=jax.random.fold_in(key, 0)
    )
    size = config.num_envs * config.rollout
    updates, every = max(1, steps // size), max(1, checkpoint_every // size)
    choices = {"agent": "ppo", "env": env, "seed": seed, "steps": steps, **vars(config)}
    checkpoints = Checkpoints(folder, source, choices)
    rate = optax.linear_schedule(
        config.learning_rate, 0.0, updates * config.epochs * config.minibatches
    )
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_norm), optax.adam(rate, eps=1e-5))
    opt_state = optimizer.init(eqx.filter(agent, eqx.is_inexact_array))
    update, running = make_update(config, optimizer), Running.begin(config.num_envs)
    fresh = Progress(agent, opt_state, source.start(seed), running, jnp.asarray(0))
    state, history = checkpoints.last(fresh)
    done = int(state.updates)
    started = time.perf_counter() - seconds_of(history)
    with tqdm(total=updates * size, initial=done * size, disable=not progress, unit="step") as bar:
        for number in range(done + 1, updates + 1):
            key_act, key_update = jax.random.split(jax.random.fold_in(key, number))
            restart = not source.can_be_saved and number > 1 and (number - 1) % every == 0
            place = source.start(seed_of(seed, number)) if restart else state.place
            _, place, rows, aux = source.collect(
                act, state.agent, None, place, key=key_act, length=config.rollout
            )
            finished, running = episode_returns(rows, state.running)
            agent, opt_state, metrics = update(
                state.agent, state.opt_state, rows, aux, key=key_update
            )
            state = Progress(agent, opt_state, place, running, jnp.asarray(number))
            row = _row(number * size, finished, jax.device_get(metrics))
            check_row(row, folder)
            row["seconds"] = time.perf_counter() - started
            history.append(row)
            log(row)
            if number % every == 0 or number == updates:
                checkpoints.save(number, state, history)
            bar.update(size)
            if row["mean_return"] is not None:
                bar.set_postfix_str(f"return {row['mean_return']:.4g}")
    return TrainedPPO(state.agent, history)


def _row(env_steps: int, finished: list[Finished], metrics: dict[str, Any]) -> Row:
    mean = lambda values: float(np.mean(values)) if values else None  # noqa: E731
    return {
        "env_steps": env_steps,
        "episodes": len(finished),
        "mean_return": mean([one.total for one in finished]),
        "mean_length": mean([one.length for one in finished]),
        **{name: float(value) for name, value in metrics.items()},
    }
