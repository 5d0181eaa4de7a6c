"""Guards where few values are possible: what ties with a threshold is trusted in any program."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from stochwm import replay
from stochwm.data import Episodes, FlatSpace
from stochwm.distributions import DiagNormal, OneHotCategoricals
from stochwm.drift import (
    Calibration,
    Coverage,
    DriftGuard,
    FalseAlarm,
    Rehearsal,
    epistemic_variance,
)
from stochwm.drift.rehearsal import raised, running
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition, Ensemble

KEY = jax.random.key(0)
HORIZON, STATES, RATE = 10, 3, 0.1


class Table(AbstractTransition):
    """Three states, each as likely as the others; members differ in how sure they are of it."""

    logits: Float[Array, "states states"]

    def __call__(self, state, action):
        return OneHotCategoricals(state @ self.logits.astype(state.dtype), (STATES,))


def world() -> Markov:
    return Markov(Ensemble(lambda key: Table(jax.random.normal(key, (3, 3))), 3, key=KEY))


def episodes(number: int, length: int = 14) -> Episodes:
    draws = np.random.default_rng(0).integers(STATES, size=number * (length + 1))
    first = np.arange(len(draws)) % (length + 1) == 0
    no = np.zeros(len(draws))
    return Episodes(
        np.eye(STATES, dtype="float32")[draws],
        np.zeros((len(draws), 1), "float32"),
        no,
        first,
        np.roll(first, -1),
        no.astype(bool),
        observation_space=FlatSpace(STATES, (0.0,) * 3, (1.0,) * 3, ((0, STATES),), tuple("xyz")),
        action_space=FlatSpace(1, (-1.0,), (1.0,), (), ("a",)),
    )


MEASURES = {"constant": lambda prediction: 0.1 + 0.0 * jnp.sum(prediction.mean()), "table": None}


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_what_ties_with_the_threshold_is_trusted(measure, cumulative):
    model, promise = world(), FalseAlarm(RATE, horizon=HORIZON)
    options = {"measure": measure, "cumulative": cumulative, "num_particles": 8}
    guard = DriftGuard.fit(model, episodes(60), promise=promise, key=KEY, **options)
    run = lambda start, key: replay(  # noqa: E731
        model, start, jnp.zeros((HORIZON, 1)), key=key, guard=guard
    )
    starts = jnp.eye(STATES)[jnp.arange(300) % STATES]
    trusted = jax.jit(jax.vmap(run))(starts, jax.random.split(KEY, 300))[1].trusted
    flagged = 1 - np.mean(trusted[:, -1])
    assert flagged <= (0 if measure else RATE + 3 * math.sqrt(RATE * (1 - RATE) / 300))


def test_sums_are_those_of_a_guard():
    """Step by step in the precision of a guard, where sums in double precision are others."""
    guard = DriftGuard(lambda prediction: prediction.mean()[0], jnp.inf, cumulative=True)
    measured = np.random.default_rng(0).random(200).astype("float32")
    memory, sums = guard.initial(), []
    for now in jnp.asarray(measured):
        memory, _ = guard.step(memory, DiagNormal(now[None], jnp.ones(1)))
        sums.append(float(memory))
    np.testing.assert_array_equal(running(measured.astype(float), True), sums)


def test_room_for_rounding_is_relative():
    statistic = 1e-6 * np.random.default_rng(0).random((9, 2, 5))
    assert 1e-6 < raised(1e-6, statistic) < 1.00001e-6
    assert raised(-math.inf, statistic) == -math.inf
    assert raised(math.inf, statistic) == math.inf
    huge = np.full((9, 2, 5), 1e30)
    assert 0 < raised(0.0, huge) < 1e-5


@pytest.mark.parametrize("promise", [Coverage(horizon=5), Calibration(0.1, horizon=5)])
def test_what_is_tested_is_what_a_guard_holds(promise):
    """Beyond the last atom of the statistic what came is never inside: that atom is trusted."""
    random = np.random.default_rng(0)
    atom = random.integers(1, 4, (1500, 1, 1)) * 0.1
    statistic = np.broadcast_to(atom, (1500, 1, 5)).astype("float32")
    level = np.where(statistic[:, 0] > 0.25, 0.99, random.random((1500, 5)))
    threshold = promise.threshold(Rehearsal(statistic, level))
    held = float(DriftGuard(epistemic_variance, threshold).threshold)
    assert threshold == held
    assert float(np.float32(0.2)) < held < 0.25
