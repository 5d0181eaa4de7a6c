"""Dreamer: an agent that learns to act inside the dreams of a recurrent state-space model.

One engine, which presets configure to DreamerV1, V2 or V3 (`dreamer_presets`). Equations are those
of Hafner et al. 2023 (arXiv 2301.04104), version 2, where nothing else is said. Gradients: what the
actor and the critic learn never moves the world model.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._guard import AbstractGuard
from .._rollout import imagine
from ..distributions import AbstractDistribution, LatentState
from ..models import RSSM, AbstractScalar, Perceptron
from ..training import SequenceLoss, partition_trainable, rssm_loss
from .actors import AbstractActorHead, drawn
from .dreamer_config import DreamerConfig
from .returns import lambda_returns
from .steps import Steps


class Dreamer(eqx.Module):
    """What acts: a world model, an actor and a critic."""

    model: RSSM
    actor: Perceptron
    critic: Perceptron
    actor_head: AbstractActorHead
    scalar: AbstractScalar

    def policy(self, state: LatentState) -> AbstractDistribution:
        """The distribution of the action in a latent state."""
        return self.actor_head(self.actor(self.model.features(state)))

    def value(self, state: LatentState) -> Float[Array, ""]:
        """The return expected from a latent state, discounted."""
        return self.scalar.mean(self.critic(self.model.features(state)))


class Memory(eqx.Module):
    """What an agent that acts remembers of one environment."""

    state: LatentState
    action: Float[Array, " action"]


class Learner(eqx.Module):
    """Everything that an update changes."""

    agent: Dreamer
    slow_critic: Perceptron
    opt_state: Any
    low: Float[Array, ""]
    """Running 5th and 95th percentile of imagined returns, without correction at the start."""
    high: Float[Array, ""]
    updates: Int[Array, ""]


class Metrics(eqx.Module):
    """What one update saw; scalars."""

    observation_loss: Float[Array, ""]
    reward_loss: Float[Array, ""]
    discount_loss: Float[Array, ""]
    divergence_loss: Float[Array, ""]
    kl: Float[Array, ""]
    """KL(posterior || prior), in nats, before free bits."""
    actor_loss: Float[Array, ""]
    critic_loss: Float[Array, ""]
    entropy: Float[Array, ""]
    """Of the actor along dreams, in nats."""
    imagined_return: Float[Array, ""]
    """Discounted lambda-return at the start of a dream."""
    return_range: Float[Array, ""]
    trusted: Float[Array, ""]
    """Share of imagined steps that the guard trusted; 1 without one."""
    gradient_norm: Float[Array, ""] | None = None
    """Of all parameters, before the optimiser; known once the gradient is."""


# --- acting -----------------------------------------------------------------------------------
def remember_nothing(agent: Dreamer, action_size: int) -> Memory:
    """The memory of an agent before its first observation."""
    return Memory(agent.model.initial(), jnp.zeros(action_size))


def act(
    agent: Dreamer,
    memory: Memory,
    observation: Float[Array, " observation"],
    is_first: Bool[Array, ""],
    *,
    key: PRNGKeyArray,
    choose: Callable[..., Any] = drawn,
) -> tuple[Memory, Float[Array, " action"], None]:
    """Filter one observation, and choose a state and an action: an `Act` of `source`."""
    key_state, key_action = jax.random.split(key)
    fresh = remember_nothing(agent, memory.action.shape[0])
    memory = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), fresh, memory)
    prior = agent.model.transition(memory.state, memory.action)
    state = choose(agent.model.posterior(prior, observation), key=key_state)
    action = choose(agent.policy(state), key=key_action)
    return Memory(state, action), action, None


# --- learning ---------------------------------------------------------------------------------
def make_optimizer(config: DreamerConfig) -> optax.GradientTransformation:
    """The optimiser of the choices, whose steps shrink where it settles."""
    optimizer = config.optimizer(config.learning_rate)
    if config.settle is None:
        return optimizer
    start, end = (config.updates_by(steps) for steps in config.settle)
    share = optax.linear_schedule(1.0, 0.0, max(1, end - start), transition_begin=start)
    return optax.chain(optimizer, optax.scale_by_schedule(share))


def make_update(
    config: DreamerConfig, guard: AbstractGuard | None = None
) -> Callable[..., tuple[Learner, Metrics]]:
    """One gradient step of everything: `update(learner, batch, *, key) -> (learner, metrics)`.

    Args:
        config: the choices.
        guard: cuts dreams where they are not to be trusted. What it would bring to go on is then
            what the critic expects of the last trusted state; from there on nothing is learned.
    """
    optimizer = make_optimizer(config)

    def update(learner: Learner, batch: Steps, *, key: PRNGKeyArray) -> tuple[Learner, Metrics]:
        trainable: Any
        trainable, rest = partition_trainable(learner.agent)

        def loss(trainable):
            agent = eqx.combine(trainable, rest)
            return losses(agent, learner, batch, config, guard, key=key)

        (_, (metrics, low, high)), gradient = jax.value_and_grad(loss, has_aux=True)(trainable)
        steps, opt_state = optimizer.update(gradient, learner.opt_state, trainable)
        agent: Any = eqx.combine(optax.apply_updates(trainable, steps), rest)
        slow = config.slow_critic.follow(learner.slow_critic, agent.critic, learner.updates)
        metrics = dataclasses.replace(metrics, gradient_norm=optax.tree.norm(gradient))
        return Learner(agent, slow, opt_state, low, high, learner.updates + 1), metrics

    return update


def losses(
    agent: Dreamer,
    learner: Learner,
    batch: Steps,
    config: DreamerConfig,
    guard: AbstractGuard | None,
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], tuple[Metrics, Array, Array]]:
    """The sum of all losses on a batch of sequences `[batch, time, ...]`, and what was seen."""
    sequences = batch.reward.shape[0]
    key_model, key_dream = jax.random.split(key)
    world: SequenceLoss = jax.vmap(
        lambda sequence, key: rssm_loss(
            agent.model, sequence, divergence=config.divergence, key=key
        )
    )(batch, jax.random.split(key_model, sequences))
    last = slice(-config.starts_per_sequence, None)
    states = jax.lax.stop_gradient(jax.tree.map(lambda x: x[:, last], world.state))
    starts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states)
    keys = jax.random.split(key_dream, jax.tree.leaves(starts)[0].shape[0])
    dreams: Dream = jax.vmap(
        lambda start, key: dream_from(agent, learner.slow_critic, start, config, guard, key=key)
    )(starts, keys)

    low, high = range_of(dreams.returns, learner, None if guard is None else dreams.trusted > 0)
    scale = jnp.maximum(1.0, high - low) if config.normalise_returns else 1.0
    actor_loss, entropy = jax.vmap(partial(loss_of_actor, agent, config, scale))(dreams)
    on_critic = partial(loss_of_critic, agent, learner.slow_critic, config)
    critic_loss = jax.vmap(on_critic)(dreams.features[:, :-1], dreams.returns, dreams.weight)
    behaviour = jnp.mean(actor_loss) + jnp.mean(critic_loss)
    if config.replay_critic > 0:
        rows = [x[:, last] for x in (batch.reward, batch.is_last, batch.is_terminal)]
        boot = dreams.returns[:, 0].reshape(rows[0].shape)
        returns, weight = jax.vmap(lambda *row: replayed_returns(*row, config=config))(*rows, boot)
        features = dreams.features[:, 0].reshape(*boot.shape, -1)
        replayed = jax.vmap(on_critic)(features[:, :-1], returns, weight)
        behaviour += config.replay_critic * jnp.mean(replayed)
    mean = jnp.mean
    metrics = Metrics(
        observation_loss=mean(world.observation),
        reward_loss=mean(world.reward),
        discount_loss=mean(world.discount),
        divergence_loss=mean(world.divergence),
        kl=mean(world.raw_divergence),
        actor_loss=mean(actor_loss),
        critic_loss=mean(critic_loss),
        entropy=mean(entropy),
        imagined_return=mean(dreams.returns[:, 0]),
        return_range=high - low,
        trusted=mean(dreams.trusted),
    )
    total = jnp.mean(jax.vmap(lambda one: one.total())(world)) + behaviour
    return total, (metrics, low, high)


class Dream(eqx.Module):
    """One dream of H steps, and what it is worth; time 0 is where it starts."""

    features: Float[Array, "H_plus_1 features"]
    """Of each state, without gradient."""
    action: Float[Array, "H action"]
    """As drawn from the policy."""
    returns: Float[Array, " H"]
    """Lambda-returns; their gradient reaches the actor through the dream. Of steps that the guard
    distrusts, the value of the last trusted state."""
    value: Float[Array, " H"]
    weight: Float[Array, " H"]
    """Probability that the dream is not over by then, times the discount; 0 without trust."""
    trusted: Float[Array, " H"]
    """Whether the guard trusts the step from each state, and all before."""


def dream_from(
    agent: Dreamer,
    slow: Perceptron,
    start: LatentState,
    config: DreamerConfig,
    guard: AbstractGuard | None,
    *,
    key: PRNGKeyArray,
) -> Dream:
    """Dream H steps from a state, and work out lambda-returns (equation 7).

    `R_t = r_{t+1} + gamma c_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1})`, `R_H = v_H`, with the
    values of the current critic, or of the slow one.

    A guard truncates a dream and does not terminate it: from the first step t that it distrusts,
    `R = v_t`, the value of the last trusted state. An end there, worth 0, would pay for leaving
    what the model knows wherever rewards are negative.
    """
    model = jax.lax.stop_gradient(agent.model)
    critic = jax.lax.stop_gradient(slow if config.slow_critic.bootstraps else agent.critic)
    actor = agent.actor if config.dynamics_gradient else jax.lax.stop_gradient(agent.actor)

    def policy(state: LatentState, *, key: PRNGKeyArray):
        # A policy may not look at its own future, so the gradient stops at what it sees.
        features = jax.lax.stop_gradient(model.features(state))
        return agent.actor_head(actor(features)).sample(seed=key)

    length = config.imagined_steps
    _, future = imagine(model, policy, start, key=key, length=length, guard=guard)
    states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, future.state)
    features = jax.vmap(model.features)(states)
    value = jax.vmap(lambda x: agent.scalar.mean(critic(x)))(features)
    discount = config.gamma * future.discount
    trusted = jnp.ones(length, bool) if future.trusted is None else future.trusted
    # A distrusted step has discount 0 and stays where it is, so that `value` is that of the cut.
    reward = jnp.where(trusted, future.reward, value[:-1])
    returns = lambda_returns(reward, discount, value[1:], config.lambda_)
    # The predicted discount of the start counts, too: a dream from a terminal state is no dream.
    goes_on = model.discount(None, None, start)
    weight = goes_on * jnp.cumprod(jnp.concatenate([jnp.ones(1), discount[:-1]])) * trusted
    fixed = jax.lax.stop_gradient
    return Dream(
        fixed(features),
        fixed(future.action),
        returns,
        fixed(value[:-1]),
        fixed(weight),
        trusted.astype(float),
    )


def loss_of_actor(
    agent: Dreamer, config: DreamerConfig, scale: Array | float, dream: Dream
) -> tuple[Float[Array, " H"], Float[Array, " H"]]:
    """What the actor minimises at each step of a dream (equation 11), and its entropy."""
    policies = jax.vmap(lambda x: agent.actor_head(agent.actor(x)))(dream.features[:-1])
    entropy = jax.vmap(lambda policy: policy.entropy())(policies)
    if config.dynamics_gradient:
        gain = dream.returns / scale
    else:
        advantage = jax.lax.stop_gradient((dream.returns - dream.value) / scale)
        log_prob = jax.vmap(lambda policy, action: policy.log_prob(action))
        gain = log_prob(policies, dream.action) * advantage
    return -dream.weight * (gain + config.entropy * entropy), entropy


def loss_of_critic(
    agent: Dreamer,
    slow: Perceptron,
    config: DreamerConfig,
    features: Float[Array, "time features"],
    returns: Float[Array, " time"],
    weight: Float[Array, " time"],
) -> Float[Array, " time"]:
    """What the critic minimises at each state (equation 8), the pull of the slow one included."""

    def loss(x, target):
        raw, followed = agent.critic(x), agent.scalar.mean(slow(x))
        pull = config.slow_critic.pull * agent.scalar.loss(raw, followed)
        return agent.scalar.loss(raw, target) + pull

    return weight * jax.vmap(loss)(jax.lax.stop_gradient(features), jax.lax.stop_gradient(returns))


def replayed_returns(
    reward: Float[Array, " time"],
    is_last: Bool[Array, " time"],
    is_terminal: Bool[Array, " time"],
    imagined: Float[Array, " time"],
    config: DreamerConfig,
) -> tuple[Float[Array, " time_minus_1"], Float[Array, " time_minus_1"]]:
    """Returns of all replayed states but the last, and the weight of each.

    `R_t = r_{t+1} + gamma (1 - terminal_{t+1}) ((1 - l) B_{t+1} + l R_{t+1})` with real rewards,
    where B is what a dream from that state returned, and l is lambda, or 0 where an episode ends: a
    truncated one goes on in the dream. What follows a last row belongs to another episode, so it
    has weight 0.
    """
    goes_on, inside = config.gamma * (1.0 - is_terminal), 1.0 - is_last
    lambda_ = config.lambda_ * inside
    returns = lambda_returns(reward[1:], goes_on[1:], imagined[1:], lambda_[1:])
    return returns, inside[:-1]


def range_of(
    returns: Float[Array, "starts H"],
    learner: Learner,
    trusted: Bool[Array, "starts H"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Running percentiles 5 and 95 of imagined returns, each a part 0.01 towards the newest.

    Under a guard, of those that it trusts: values of states where dreams were cut, some many times
    over, are not what actions brought. Where it trusts none, the percentiles stay.
    """
    before, returns = jnp.stack([learner.low, learner.high]), jax.lax.stop_gradient(returns)
    shares = jnp.asarray([5.0, 95.0])
    if trusted is None:
        now = jnp.percentile(returns, shares)
    else:
        now = jnp.nanpercentile(jnp.where(trusted, returns, jnp.nan), shares)
        now = jnp.where(jnp.any(trusted), now, before)
    low, high = 0.99 * before + 0.01 * now
    return low, high
