"""Do fresh episodes keep what the guards promise? Four worlds, 500 fresh episodes each."""

import functools
import math

import jax
import numpy as np
from _calibration_worlds import Law, learn_kernel, simulate
from _pendulum import Pendulum

from stochwm.data import flat_space
from stochwm.drift import Calibration, Coverage, FalseAlarm, Rehearsal, rehearse
from stochwm.drift.guard import standard_measure
from stochwm.envs import WORLDS
from stochwm.models import Markov
from stochwm.training import default_optimizer, fit, negative_log_likelihood
from stochwm.transitions import Categorical, Ensemble, MixtureDensity

FRESH, HORIZON, PARTICLES = 500, 20, 32
ALARM_HOLDOUTS, ALARM_EPISODES = 25, 100  # each hold-out is judged on fresh episodes of its own
COVER_HOLDOUTS, COVER_EPISODES = 5, 500
WORLD_OF = {
    "fork": WORLDS["stochwm/Fork-v0"],
    "chicken": WORLDS["stochwm/WetChicken-v0"],
    "galton": WORLDS["stochwm/Galton-v0"],
    "pendulum": Pendulum,
}


def promises(seed: int) -> dict[str, float]:
    """Rates that were promised and measured, world by world."""
    result, off = {}, []
    for name, make in WORLD_OF.items():
        world = make()
        horizon = 8 if name == "galton" else HORIZON
        measured = of_world(world, seed, horizon, uneven=name == "chicken")
        off += [measured.pop("over_most")]
        result |= {f"{name}_{key}": value for key, value in measured.items()}
    return result | {"over_most": max(off)}


def of_world(world, seed: int, horizon: int, *, uneven: bool) -> dict[str, float]:
    """What is measured on one world; `over_most` counts binomial half-widths above a promise."""
    law = Markov(Law(world, None))
    train, validation, pool, fresh = (
        simulate(world, law, number, seed=4 * seed + i, steps=2 * horizon)
        for i, number in enumerate((100, 20, ALARM_HOLDOUTS * ALARM_EPISODES, FRESH))
    )
    model = learned(world, train, validation, seed, 0.1 if uneven else 0.0)
    result, over = {}, []
    for form, cumulative in (("step", False), ("sum", True)):
        seen = functools.partial(
            rehearse,
            model,
            measure=standard_measure(validation),
            cumulative=cumulative,
            horizon=horizon,
            num_particles=PARTICLES,
        )
        held, new = (
            seen(episodes=part, key=jax.random.key(10 * seed + i))
            for i, part in enumerate((pool, fresh))
        )
        for rate in (0.01, 0.05, 0.10):
            promise = FalseAlarm(rate, horizon=horizon)
            pairs = hold_outs(held, new, ALARM_HOLDOUTS, ALARM_EPISODES)
            flagged = [
                np.mean(part.statistic[:, :, -1] > promise.threshold(some)) for some, part in pairs
            ]
            result[f"{form}_alarm_{rate}"] = float(np.mean(flagged))
            over.append((np.mean(flagged) - rate) / half_width(rate))
        for risk in (0.05, 0.10):
            promise, outside, trusted = Coverage(0.9, risk, horizon=horizon), [], []
            for some, part in hold_outs(held, new, COVER_HOLDOUTS, COVER_EPISODES):
                threshold = promise.threshold(some)
                outside.extend(promise.outside(part, threshold))
                trusted.append(np.mean(part.statistic <= threshold))
            excess = float(np.mean(outside) - 0.1) if outside else 0.0
            result[f"{form}_excess_{risk}"] = excess
            result[f"{form}_trusted_{risk}"] = float(np.mean(trusted))
            over.append((excess - risk) / half_width(promise.allowed))
        for risk in (0.05, 0.10):
            found = calibrated(Calibration(risk, horizon=horizon), held, new)
            result |= {f"{form}_calibrated_{key}_{risk}": found[key] for key in ("off", "trusted")}
            over.append(found["over"])
        result[f"{form}_excess_unguarded"] = float(
            np.mean(Coverage(horizon=horizon).outside(new, math.inf)) - 0.1
        )
    return result | {"over_most": float(max(over))}


def calibrated(promise: Calibration, held: Rehearsal, new: Rehearsal) -> dict[str, float]:
    """How far what came inside is from the worse of the levels, and what is trusted."""
    inside, trusted = {level: [] for level in promise.levels}, []
    for some, part in hold_outs(held, new, COVER_HOLDOUTS, COVER_EPISODES):
        threshold = promise.threshold(some)
        trusted.append(np.mean(part.statistic <= threshold))
        for level in promise.levels:
            inside[level].extend(promise.inside(part, threshold, level))
    off = {level: abs(np.mean(v) - level) if v else 0.0 for level, v in inside.items()}
    over = max((off[level] - promise.risk) / half_width(level) for level in promise.levels)
    return {"off": float(max(off.values())), "trusted": float(np.mean(trusted)), "over": over}


def hold_outs(held: Rehearsal, fresh: Rehearsal, number: int, episodes: int):
    """Hold-outs of some episodes each, with the fresh episodes that each is judged on."""
    share = FRESH // number
    for i in range(number):
        some = slice(i * episodes, (i + 1) * episodes)
        new = slice(i * share, (i + 1) * share)
        yield held.part(some), fresh.part(new)


def half_width(rate: float) -> float:
    """Of the binomial 95 % interval of a rate over the fresh episodes."""
    return 1.96 * math.sqrt(rate * (1 - rate) / FRESH)


def learned(world, train, validation, seed: int, noise: float) -> Markov:
    """Five kernels, trained on few episodes so that they have something to disagree about."""
    rows = train.transitions(), validation.transitions()
    spaces = flat_space(world.observation_space), flat_space(world.action_space, "action")
    loss = negative_log_likelihood(noise)
    if not spaces[0].discrete:
        return Markov(
            learn_kernel(MixtureDensity, *rows, spaces, loss, seed, updates=1_500, decay=1e-2)
        )
    return Markov(categorical(*rows, spaces, loss, seed))


def categorical(rows, validation, spaces, loss, seed: int, *, updates: int = 1_500) -> Ensemble:
    """Five categoricals of what comes next: the best on `validation`, or the last."""
    make = lambda key: Categorical(  # noqa: E731
        *(space.size for space in spaces), width=64, key=key
    )
    key_model, key_fit = jax.random.split(jax.random.key(seed))
    return fit(
        Ensemble(make, 5, key=key_model),
        rows,
        loss,
        default_optimizer(updates, weight_decay=1e-2),
        key=key_fit,
        validation=validation,
        steps=updates,
        bootstrap=False,
        progress=False,
    ).model
