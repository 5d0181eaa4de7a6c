"""Exploration by disagreement: plan for a bonus, walk, learn, and plan again."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from _calibration_worlds import Law
from _pendulum import Pendulum, observed

from stochwm import imagine
from stochwm.data import Transitions, flat_space, standardisers
from stochwm.drift import (
    DisagreementReward,
    InUnits,
    MutualInformation,
    epistemic_variance,
    total_variance,
)
from stochwm.envs import NoisyTV
from stochwm.models import Markov
from stochwm.planning import cem
from stochwm.training import default_optimizer, fit
from stochwm.transitions import AbstractTransition, Ensemble, Gaussian, Standardised

MEMBERS, WIDTH, UPDATES, BATCH = 5, 64, 400, 64
# Strong decay: a network that learns the noise of few data by heart takes it for disagreement.
OPTIMIZER = default_optimizer(UPDATES, weight_decay=0.5)
BONUSES = ("total", "variance", "information")
# Each explores by itself, and what they reach is averaged: whether one finds a door is also luck.
RANDOM_WALKERS, EXPLORERS = 10, 4
KEY = jax.random.key(7)  # of the draws of a measure
SEARCH = {"num_candidates": 64, "num_elites": 8, "num_iterations": 4}


class Task(NamedTuple):
    """A world to explore, over and over from one start."""

    world: Any
    start: jax.Array
    rounds: int
    steps: int
    horizon: int
    cells: Callable[[np.ndarray], np.ndarray]
    """The number of the cell of each state."""
    num_cells: int


# --- worlds -----------------------------------------------------------------------------------
def noisy_tv(seed: int) -> dict[str, float]:
    """Rooms of 8 x 8 cells, and a screen of noise; `watched` is the share of steps spent there."""
    half_metres = lambda s: 8 * number(s[:, 0], 0, 4, 8) + number(s[:, 1], 0, 4, 8)  # noqa: E731
    task = Task(NoisyTV(), jnp.array([0.8, 0.8, 0.0]), 20, 30, 8, half_metres, 64)
    return compare(task, seed, lambda actions: {"watched": np.mean(actions[task.steps :, -1])})


def pendulum(seed: int) -> dict[str, float]:
    """A pendulum that hangs: 16 angles x 16 speeds, which random torques hardly reach."""

    def cells(s):
        angle = np.arctan2(s[:, 1], s[:, 0])
        return 16 * number(angle, -np.pi, np.pi, 16) + number(s[:, 2], -8, 8, 16)

    task = Task(Pendulum(), observed(jnp.pi, 0.0), 6, 100, 12, cells, 256)
    return compare(task, seed, lambda actions: {})


def number(x: np.ndarray, low: float, high: float, cells: int) -> np.ndarray:
    """In which of `cells` equal parts of an interval."""
    return np.clip((cells * (x - low) / (high - low)).astype(int), 0, cells - 1)


def compare(task: Task, seed: int, describe: Callable) -> dict[str, float]:
    """Coverage of each bonus halfway and at the end, and how it compares with random actions."""
    numbers = dict.fromkeys(BONUSES, EXPLORERS) | {"random": RANDOM_WALKERS}
    runs = {
        bonus: [explore(task, bonus, 1_000 * seed + i) for i in range(number)]
        for bonus, number in numbers.items()
    }
    covered = {name: np.array([covered for covered, _ in run]) for name, run in runs.items()}
    usual = covered["random"].mean(axis=0)[-1]
    result = {}
    for name, run in runs.items():
        mean = covered[name].mean(axis=0)
        result[f"half_{name}"], result[f"covered_{name}"] = mean[len(mean) // 2], mean[-1]
        result[f"gain_{name}"] = mean[-1] / usual
        result[f"time_{name}"] = np.mean([time_to(usual, alone) for alone in covered[name]])
        result |= {f"{what}_{name}": value for what, value in means(describe, run).items()}
    return {name: float(value) for name, value in result.items()}


def means(describe: Callable, run: list) -> dict[str, float]:
    """What each explorer's actions are described by, averaged."""
    told = [describe(actions) for _, actions in run]
    return {what: np.mean([one[what] for one in told]) for what in told[0]}


def time_to(usual: float, covered: np.ndarray) -> float:
    """Share of the rounds after which so much is covered; one round more where it never is."""
    there = np.flatnonzero(covered >= usual)
    return (1 + (there[0] if len(there) else len(covered))) / len(covered)


# --- the loop ---------------------------------------------------------------------------------
class Chosen(AbstractTransition):
    """A kernel of one-hot actions under preferences: the greatest is taken."""

    kernel: AbstractTransition

    def __call__(self, state, action):
        return self.kernel(state, one_hot(action))


def one_hot(preferences):
    """The action that is preferred."""
    return jax.nn.one_hot(jnp.argmax(preferences, axis=-1), preferences.shape[-1])


def explore(task: Task, bonus: str, seed: int) -> tuple[list[float], np.ndarray]:
    """Coverage after each round, the first of which is random for all; and the actions."""
    discrete = isinstance(task.world.action_space, gym.spaces.Discrete)
    wrap = Chosen if discrete else (lambda kernel: kernel)
    law = Markov(wrap(Law(task.world, None)))
    spaces = flat_space(task.world.observation_space), flat_space(task.world.action_space, "action")
    high = np.ones(spaces[1].size) if discrete else task.world.action_space.high
    keys = jax.random.split(jax.random.key(seed), (task.rounds, 2))
    parts, covered = [], []
    for i, (key_walk, key_fit) in enumerate(keys):
        if i == 0 or bonus == "random":
            states, actions = wander(law, task.start, jnp.asarray(high, "f"), key_walk, task.steps)
        else:
            rows = joined(parts, task.rounds * task.steps)
            kernel = learn(rows, spaces, key_fit)
            measure = measure_of(bonus, rows)
            curious = DisagreementReward(Markov(wrap(kernel)), measure, 1.0)
            box, sizes = jnp.asarray(high, "f"), (task.steps, task.horizon)
            states, actions = seek(law, curious, task.start, box, key_walk, *sizes)
        actions = one_hot(actions) if discrete else actions
        parts.append((np.asarray(states), np.asarray(actions)))
        visited = np.unique(np.concatenate([task.cells(states) for states, _ in parts]))
        covered.append(len(visited) / task.num_cells)
    jax.clear_caches()  # compiled programs take memory maps, of which a process has few
    return covered, np.concatenate([actions for _, actions in parts])


@eqx.filter_jit
def wander(law, start, high, key, steps: int):
    """States and actions of a random walk; the states begin with the start."""
    act = lambda s, *, key: jax.random.uniform(key, high.shape, minval=-high, maxval=high)  # noqa: E731
    return walked(imagine(law, act, start, key=key, length=steps)[1], start)


@eqx.filter_jit
def seek(law, curious, start, high, key, steps: int, horizon: int):
    """The same of a walk that plans for the reward of `curious` at each step."""
    box = {"action_low": -high, "action_high": high}

    def act(state, *, key):
        return cem(curious, state, key=key, horizon=horizon, **box, **SEARCH).actions[0]

    return walked(imagine(law, act, start, key=key, length=steps)[1], start)


def walked(future, start):
    """States `[steps + 1]` and actions `[steps]`."""
    return jnp.concatenate([start[None], future.state]), future.action


def joined(parts: list[tuple[np.ndarray, np.ndarray]], number: int) -> Transitions:
    """All steps so far, repeated to one size, so that nothing compiles anew from round to round."""
    state, action, after = (
        np.resize(x := np.concatenate(rows), (number, x.shape[1]))
        for rows in zip(*((s[:-1], a, s[1:]) for s, a in parts), strict=True)
    )
    blank = np.zeros(number, "f")
    return Transitions(state, action, blank, blank, after, np.zeros(number, int))


def learn(rows: Transitions, spaces: tuple, key) -> Ensemble:
    """An ensemble of normals, from scratch."""
    fixed = standardisers(rows, *spaces)
    sizes = [space.size for space in spaces]
    make = lambda key: Standardised(Gaussian(*sizes, width=WIDTH, key=key), *fixed)  # noqa: E731
    key_model, key_fit = jax.random.split(key)
    return fit(
        Ensemble(make, MEMBERS, key=key_model),
        rows,
        optimizer=OPTIMIZER,
        key=key_fit,
        steps=UPDATES,
        batch_size=BATCH,
        evaluate_every=UPDATES,
        bootstrap=False,
        progress=False,
    ).model


def measure_of(bonus: str, rows: Transitions):
    """What is paid for; variances in units of the spread of the states so far."""
    if bonus == "information":
        return MutualInformation(key=KEY, num_samples=8)
    unit = np.maximum(np.std(rows.state, axis=0), 1e-3)
    return InUnits(total_variance if bonus == "total" else epistemic_variance, unit)
