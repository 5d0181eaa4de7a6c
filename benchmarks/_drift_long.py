"""1,000 steps: one-step against multi-step training, with and without a guard, on four worlds."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _calibration_worlds import Law, learn_kernel, simulate
from _drift_horizons import (
    LENGTH,
    STEPS,
    before,
    beside_the_law,
    distance,
    every_step,
    longest,
    means_of,
)
from _drift_promises import categorical
from _pendulum import Pendulum

from stochwm.data import Episodes, flat_space
from stochwm.distributions import Deterministic, OneHotCategoricals
from stochwm.drift import Accuracy, Calibration, Coverage, FalseAlarm, Rehearsal, rehearse
from stochwm.drift.guard import standard_measure
from stochwm.drift.rehearsal import one_start_each, running
from stochwm.envs import WORLDS, Galton
from stochwm.models import Markov
from stochwm.training import (
    default_optimizer,
    fit,
    negative_log_likelihood,
    rollout_energy,
)
from stochwm.transitions import Bounds, Gaussian, MixtureDensity

TRAIN, VALIDATION, HOLDOUT, STARTS = 8, 2, 150, 24  # episodes of which each is LENGTH + SLACK long
SLACK = 50  # a start is one of the first 50 states
REST, WINDOW, BATCH = 300, 8, 32
PARTICLES = 32  # of the clouds that the guard is fitted with
PROMISE = Coverage(0.9, 0.05, horizon=LENGTH)
CALIBRATED = Calibration(0.05, horizon=LENGTH)
ALARM = FalseAlarm(0.05, horizon=LENGTH)
TOO_LONG = 0.05  # the share of futures that `Accuracy` may trust too long, chosen on seed 10
# What is certain has a density without bound: a pendulum near rest is then foreseen to four digits,
# and what comes is a hair outside for a thousand steps. Chosen on seed 10, as a least deviation.
FLOOR = 0.01
# Two normals, one shifted until the 90 % region of the other holds 85 % of it, are about this far
# apart, in mean distances between two draws of one; here, between two states met at random.
TOLERANCE = 0.149


class Boards(eqx.Module):
    """Galton boards without end: after a ball has reached the last row, the next one starts."""

    board: Galton = eqx.field(default_factory=Galton)

    @property
    def observation_space(self):
        return self.board.observation_space

    @property
    def action_space(self):
        return self.board.action_space

    def initial(self) -> Deterministic:
        return self.board.initial()

    def law(self, state, action):
        landed = jnp.sum(state[-(self.board.rows + 1) :]) > 0.5
        top = jnp.where(jnp.arange(state.shape[0]) == 0, 0.0, -jnp.inf)
        return OneHotCategoricals(jnp.where(landed, top, self.board.law(state, action).logits))


# With the standard deviation of normal noise on every step, and the updates of one-step training:
# on seed 10 a ball slips rows after 1,000, and a pendulum goes astray in half as many steps.
WORLD_OF = {
    "galton": (Boards, None, 10_000),
    "chicken": (WORLDS["stochwm/WetChicken-v0"], 0.1, 1_000),
    "pendulum": (functools.partial(Pendulum, 1.0), None, 5_000),
    "fork": (WORLDS["stochwm/Fork-v0"], None, 1_000),
}


def long(seed: int) -> dict[str, float]:
    """Errors at each step of `STEPS`, and horizons, world by world and training by training."""
    result, cases = {}, []
    for name, (make, noise, updates) in WORLD_OF.items():
        world = make()
        law = Markov(Law(world, None if noise is None else jnp.full(2, noise)))
        train, validation, holdout, test = (
            simulate(world, law, number, seed=4 * seed + i, steps=LENGTH + SLACK)
            for i, number in enumerate((TRAIN, VALIDATION, HOLDOUT, STARTS))
        )
        for training, model in trained(world, train, validation, seed, updates).items():
            of_case = judged(model, law, validation, holdout, test, seed)
            # The promise that speaks of distances, where it can: where what comes is certain.
            speaks = "clouds" if isinstance(world, Pendulum) else "energy"
            of_case |= {f"distance_{key}": of_case[f"{speaks}_{key}"] for key in ("ratio", "above")}
            cases.append(of_case)
            result |= {f"{name}_{training}_{key}": value for key, value in of_case.items()}
            print(name, training, {k: round(v, 3) for k, v in of_case.items()}, flush=True)
        jax.clear_caches()
    return result | {
        "ratio_least": min(case["ratio"] for case in cases),
        "above_most": max(case["above"] for case in cases),
        "distance_ratio_least": min(case["distance_ratio"] for case in cases),
        "distance_above_most": max(case["distance_above"] for case in cases),
        "calibrated_ratio_least": min(case["calibrated_ratio"] for case in cases),
        "calibrated_above_most": max(case["calibrated_above"] for case in cases),
        "excess_most": max(case["excess"] for case in cases),
    }


def trained(
    world, train: Episodes, validation: Episodes, seed: int, updates: int
) -> dict[str, Markov]:
    """Two models that differ in the loss of their last `REST` updates only.

    These go on at the learning rate at which the first end.
    """
    spaces = flat_space(world.observation_space), flat_space(world.action_space, "action")
    rows, discrete = (train.transitions(), validation.transitions()), spaces[0].discrete
    one_step = negative_log_likelihood()
    if discrete:
        # Validation chooses by what is common; slips of one in thousands end with the last updates.
        first = categorical(rows[0], None, spaces, one_step, seed, updates=updates)
    else:
        options = {"updates": updates, "decay": 1e-2}
        kind = MixtureDensity
        if isinstance(world, Pendulum):  # its speed ends at walls, which its space names
            bounds = Bounds(spaces[0].low, spaces[0].high)
            kind, options = Gaussian, options | {"bounds": bounds, "floor": FLOOR}
        first = learn_kernel(kind, *rows, spaces, one_step, seed, **options)
    unit = 1.0 if discrete else np.std(train.observation, axis=0)
    windows = tuple(part.windows(WINDOW) for part in (train, validation))
    ways = {"one": (rows, one_step), "multi": (windows, rollout_energy(4, unit))}
    return {
        training: Markov(
            fit(
                first,
                data[0],
                loss,
                default_optimizer(REST, learning_rate=1e-4),
                key=jax.random.key(2_000 + seed),
                validation=data[1],
                steps=REST,
                batch_size=BATCH,
                bootstrap=False,
                progress=False,
            ).model
        )
        for training, (data, loss) in ways.items()
    }


def judged(model, law, validation, holdout, test, seed: int) -> dict[str, float]:
    """What the guards promise on a hold-out, and what the law says about it on fresh starts."""
    measure = standard_measure(validation)
    discrete = any(test.observation_space.one_hot)
    unit = 1.0 if discrete else jnp.asarray(np.std(validation.observation, axis=0))
    options = {"cumulative": True, "horizon": LENGTH, "num_particles": PARTICLES, "unit": unit}
    held = rehearse(model, holdout, measure, key=jax.random.key(10 + seed), **options)
    starts = one_start_each(test, LENGTH, key=jax.random.key(20 + seed))
    keys = jax.random.split(jax.random.key(30 + seed), len(starts.state))
    rows = jax.tree.map(jnp.asarray, (starts.state, starts.action, keys))
    seen = jax.tree.map(np.asarray, beside_the_law(model, law, measure, unit, rows, PARTICLES))
    statistic = running(seen.measured.astype(float), True)
    trusted = statistic <= PROMISE.threshold(held)
    outside = means_of(seen.outside)
    spread = mean_distance(test.observation / unit, seed)
    result = errors(seen, trusted) | horizons(trusted, outside, "")
    tolerance = TOLERANCE * spread
    close = before(seen.distance, tolerance)
    energy = ratios(trusted, close, "energy_")
    calibrated = ratios(statistic <= CALIBRATED.threshold(held), close, "calibrated_")
    accuracy = Accuracy(tolerance, TOO_LONG, horizon=LENGTH)
    accurate = ratios(statistic <= accuracy.threshold(held), close, "accurate_")
    spread_of_cloud = every_step(seen.spread)[:, None]
    clouds = ratios(spread_of_cloud <= accuracy.threshold(held.of_clouds()), close, "clouds_")
    step = np.diff(held.statistic, prepend=0.0)
    by_step = PROMISE.threshold(Rehearsal(running(step, False), held.level))
    by_step = horizons(running(seen.measured.astype(float), False) <= by_step, outside, "step_")
    alarmed = np.mean(statistic[..., -1] > ALARM.threshold(held))
    result |= energy | calibrated | accurate | clouds | by_step
    return result | {"alarmed": float(alarmed), "spread": spread}


def errors(seen, trusted) -> dict[str, float]:
    """Energy distance to the law at each step: of all, of the trusted, and of a cloud of the law.

    The trusted particles are judged where they are at least half of a start's.
    """
    result = {}
    for i, step in enumerate(STEPS):
        kept = trusted[:, :, step - 1]
        enough = np.mean(kept, axis=1) >= 0.5
        clouds, came = jnp.asarray(seen.clouds[:, i]), jnp.asarray(seen.came[:, i])
        every, floor = distance(clouds, came, jnp.ones(kept.shape))
        some, _ = distance(clouds, came, jnp.asarray(kept, float))
        result |= {
            f"error_{step}": float(np.mean(every)),
            f"guarded_{step}": float(np.mean(some[enough])) if enough.any() else float("nan"),
            f"floor_{step}": float(np.mean(floor)),
            f"trusted_{step}": float(np.mean(kept)),
        }
    return result


def horizons(trusted, outside, prefix: str) -> dict[str, float]:
    """Trusted horizons against those to which the promise holds, start by start and over all.

    `excess` is what `Coverage` promises: how much more often than 10 % the law is outside, over the
    trusted part, each start counting once.
    """
    weight = np.mean(trusted, axis=1)
    total = weight.sum(axis=1)
    some = total > 0
    rate = np.diff(outside * np.arange(1, LENGTH + 1), prepend=0.0)  # from means back to steps
    risk = (weight * rate).sum(axis=1)[some] / total[some]
    whole = longest(outside.mean(axis=0)[None], PROMISE.allowed)[0]
    result = {
        "excess": float(np.mean(risk) - 0.1) if some.any() else 0.0,
        "excess_unguarded": float(np.mean(outside[:, -1]) - 0.1),
        "true_of_all": float(whole),
        "ratio_of_all": float(np.median(horizon_of(trusted)) / max(whole, 1)),
    }
    result = {prefix + key: value for key, value in result.items()}
    return ratios(trusted, longest(outside, PROMISE.allowed), prefix) | result


def ratios(trusted, true, prefix: str) -> dict[str, float]:
    """Medians over starts of both horizons and of their ratio, and how often it is above 1."""
    mine = horizon_of(trusted)
    result = {
        "horizon": float(np.median(mine)),
        "true": float(np.median(true)),
        "censored": float(np.mean(true == LENGTH)),
        "ratio": float(np.median(mine / np.maximum(true, 1))),
        "above": float(np.mean(mine > true)),
    }
    return {prefix + key: value for key, value in result.items()}


def horizon_of(trusted) -> np.ndarray:
    """Of each start: the median over particles of how many steps were trusted."""
    return np.median(trusted.sum(axis=-1), axis=1)


def mean_distance(states, seed: int) -> float:
    """Between two states of different episodes, at random."""
    first, second = np.random.default_rng(seed).integers(0, len(states), (2, 2_000))
    return float(np.mean(np.linalg.norm(states[first] - states[second], axis=-1)))
