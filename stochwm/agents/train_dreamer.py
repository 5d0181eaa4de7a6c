"""Training a Dreamer: act, remember, learn, again."""

import dataclasses
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree
from tqdm import tqdm

from .._guard import AbstractGuard
from ..data import RandomPolicy
from ..data.checks import checked_seed
from .acting import acting
from .checkpoints import Checkpoints, Row, seconds_of, seed_of
from .dreamer import Dreamer, Learner, Memory, Metrics, act, make_update
from .dreamer_build import make_learner
from .dreamer_config import CHUNK, DreamerConfig
from .errors import check_row
from .exploring import Explorer, act_at_random, explore
from .numbers import check_config
from .replay import Replay, add, cut, empty_replay, sample
from .source import AbstractSource, Act, make_source
from .steps import Finished, Running, episode_returns


class TrainedDreamer(NamedTuple):
    """What `train_dreamer` returns."""

    agent: Dreamer
    history: list[Row]
    """One row every `log_every` steps of the environment: `env_steps`, `updates`, `episodes`,
    `mean_return` and `mean_length` of the episodes that ended since the last row (None for none),
    `real_return`, `seconds`, and the means of `Metrics`.

    `real_return` is the discounted return that followed a step of those episodes, on average: what
    `imagined_return` promises, under the policies of the time, and cut off where an episode is."""
    learner: Learner


class Progress(eqx.Module):
    """All that a run needs to go on as if it had not stopped."""

    learner: Learner
    replay: Replay
    memory: Memory
    place: PyTree
    """Of the environments, where those can be saved."""
    running: Running
    chunk: Array
    """Chunks done."""


def train_dreamer(
    env: Any,
    config: DreamerConfig,
    *,
    steps: int,
    seed: int = 0,
    guard: AbstractGuard | None = None,
    folder: str | os.PathLike | None = None,
    checkpoint_every: int = 10_000,
    log_every: int = 500,
    log: Callable[[Row], None] = lambda row: None,
    progress: bool = True,
) -> TrainedDreamer:
    """Learn to act in an environment by dreaming of it.

    The environment runs `CHUNK` steps in each copy, then the agent learns as often as the train
    ratio asks: where that is no whole number, the next larger one, but not after every such chunk.
    With a `folder`, a run that was interrupted goes on at its last checkpoint, and ends as if
    nothing had happened: environments that cannot be saved start a new episode at every checkpoint,
    in an uninterrupted run as well. A run that is finished goes on to more `steps`, with new
    episodes of such environments.

    Args:
        env: a registered id, a function that makes an environment, or an `AbstractWorld`.
        config: the choices; `stochwm.agents.PRESETS` has some.
        steps: of the environment, all copies together.
        seed: of everything, in [0, 2**32).
        guard: cuts dreams where they are not to be trusted.
        folder: for checkpoints; None keeps none.
        checkpoint_every: steps of the environment.
        log_every: steps of the environment between rows of the history.
        log: called with each row.
        progress: whether to show a bar.

    Raises:
        AgentDiverged: a loss is NaN or infinite; the last good checkpoint is kept.
        TypeError: no `DreamerConfig`, or no environment.
        ValueError: numbers that do not fit together, or a `folder` with a run of other choices.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but is {steps}.")
    check_config(config, DreamerConfig, "v3_tiny()")
    seed = checked_seed(seed)
    source = make_source(env, config.num_envs)
    job = _Job(source, config, seed, guard)
    choices = {"agent": "dreamer", "env": env, "seed": seed, "guard": guard, **vars(config)}
    checkpoints = Checkpoints(folder, source, choices)
    state, history = checkpoints.last(job.begin())
    size = job.steps_per_chunk
    chunks = -(-steps // size)
    rows, every = max(1, log_every // size), max(1, checkpoint_every // size)
    # Checkpoints fall on rows, so that no row is half before and half after one.
    every = -(-every // rows) * rows
    started = time.perf_counter() - seconds_of(history)
    finished, metrics = [], []
    done = int(state.chunk)
    with tqdm(total=chunks * size, initial=done * size, disable=not progress, unit="step") as bar:
        for chunk in range(done, chunks):
            # A run that ended between checkpoints has no other environments to go on with either.
            restart = not source.can_be_saved and (chunk % every == 0 or chunk == done)
            state, ended, seen = job.advance(state, restart=restart)
            finished += ended
            metrics += [] if seen is None else [seen]
            bar.update(size)
            if (chunk + 1) % rows == 0 or chunk + 1 == chunks:
                seconds = time.perf_counter() - started
                row = _row((chunk + 1) * size, state, finished, metrics, seconds)
                check_row(row, folder)
                history.append(row)
                log(row)
                bar.set_postfix_str(_words(row))
                finished, metrics = [], []
            if (chunk + 1) % every == 0 or chunk + 1 == chunks:
                checkpoints.save(chunk + 1, state, history)
    return TrainedDreamer(state.learner.agent, history, state.learner)


class _Job:
    """The parts of a run that do not change."""

    def __init__(
        self,
        source: AbstractSource,
        config: DreamerConfig,
        seed: int,
        guard: AbstractGuard | None,
    ):
        self.source, self.config, self.seed = source, config, seed
        self.key = jax.random.key(seed)
        if not config.train_ratio > 0:
            raise ValueError(f"train_ratio must be positive, but is {config.train_ratio}.")
        self.steps_per_chunk, self.updates = config.steps_per_chunk, config.updates_per_chunk
        self.random = RandomPolicy(source.action_space)
        self.guard = eqx.partition(guard, eqx.is_array)
        least = config.num_envs * config.sequence_length
        if config.prefill < least:
            raise ValueError(
                f"prefill must be at least num_envs x sequence_length = {least} steps, so that "
                f"there is a sequence to learn from, but is {config.prefill}."
            )
        if not 0 <= config.exploration <= 1:
            raise ValueError(
                f"exploration must be a share from 0 to 1, but is {config.exploration}."
            )
        if config.settle is not None and not 0 <= config.settle[0] < config.settle[1]:
            raise ValueError(
                f"settle must be two numbers of steps, the first from 0 to below the second, but "
                f"is {config.settle}."
            )
        if config.capacity < config.prefill:
            raise ValueError(
                f"capacity must be at least prefill = {config.prefill}, but is {config.capacity}."
            )

    def begin(self) -> Progress:
        """A run that has not done anything yet."""
        config, source = self.config, self.source
        learner = make_learner(
            source.observation_space,
            source.action_space,
            config,
            image=source.image,
            key=jax.random.fold_in(self.key, 0),
        )
        _, memories = acting(learner.agent, source)
        replay = empty_replay(source.example(), config.capacity // config.num_envs)
        running, zero = Running.begin(config.num_envs), jnp.asarray(0)
        return Progress(learner, replay, memories, source.start(self.seed), running, zero)

    def advance(
        self, state: Progress, *, restart: bool
    ) -> tuple[Progress, list[Finished], Metrics | None]:
        """One chunk of acting and learning; with `restart`, at the beginning of episodes."""
        chunk = int(state.chunk)
        key_act, key_learn = jax.random.split(jax.random.fold_in(self.key, chunk + 1))
        place, running, replay = state.place, state.running, state.replay
        if restart:
            place = self.source.start(seed_of(self.seed, chunk))
            replay = cut(replay)
        memory, place, steps, _ = self.source.collect(
            *self._behaviour(state),
            state.memory,
            place,
            key=key_act,
            length=CHUNK,
        )
        finished, running = episode_returns(steps, running, self.config.gamma)
        replay, learner, metrics = add(replay, steps), state.learner, None
        if self.config.learns_after(chunk):
            keys = jax.random.split(key_learn, self.updates)
            learner, metrics = _learn(learner, replay, keys, *self.guard, self.config)
        state = Progress(learner, replay, memory, place, running, jnp.asarray(chunk + 1))
        return state, finished, metrics

    def _behaviour(self, state: Progress) -> tuple[Act, PyTree]:
        """How experience is collected, and what by."""
        if int(state.chunk) * self.steps_per_chunk < self.config.prefill:
            return act_at_random, self.random
        agent, share = state.learner.agent, self.config.exploration
        return (explore, Explorer(agent, self.random, share)) if share > 0 else (act, agent)


@partial(jax.jit, donate_argnums=0, static_argnames=("watch", "config"))
def _learn(
    learner: Learner,
    replay: Replay,
    keys: Array,
    guard: AbstractGuard | None,
    watch: AbstractGuard | None,
    config: DreamerConfig,
) -> tuple[Learner, Metrics]:
    """As many updates as there are keys; what they saw, on average.

    The guard comes in two: its arrays, and `watch`, the rest, such as a measure that is a function.
    """
    update = make_update(config, eqx.combine(guard, watch))

    def step(learner, key):
        key_batch, key_update = jax.random.split(key)
        shape = {"batch": config.batch_size, "length": config.sequence_length}
        return update(learner, sample(replay, key=key_batch, **shape), key=key_update)

    learner, metrics = jax.lax.scan(step, learner, keys)
    return learner, jax.tree.map(jnp.mean, metrics)


def _row(
    env_steps: int,
    state: Progress,
    finished: list[Finished],
    metrics: list[Metrics],
    seconds: float,
) -> Row:
    """One row of the history."""
    mean = lambda values: float(np.mean(values)) if values else None  # noqa: E731
    row: Row = {
        "env_steps": env_steps,
        "updates": int(state.learner.updates),
        "seconds": seconds,
        "episodes": len(finished),
        "mean_return": mean([one.total for one in finished]),
        "mean_length": mean([one.length for one in finished]),
        "real_return": mean([one.discounted for one in finished for _ in range(one.length)]),
    }
    seen = jax.device_get(metrics)
    return row | {
        field.name: mean([float(getattr(one, field.name)) for one in seen])
        for field in dataclasses.fields(Metrics)
    }


def _words(row: Row) -> str:
    """What the progress bar says."""
    ended = "" if row["mean_return"] is None else f"return {row['mean_return']:.4g}"
    return f"{ended} kl {row['kl']:.2f}" if row["kl"] is not None else ended
