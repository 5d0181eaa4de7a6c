"""What a guard would have seen: each step beside the action and the outcome that belong to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from stochwm.distributions import Deterministic
from stochwm.drift import rehearse, spread_along
from stochwm.drift.rehearsal import one_start_each
from stochwm.models import Markov
from stochwm.transitions import AbstractTransition
from tests.cases_filters import episodes_of

KEY = jax.random.key(0)
HORIZON, ERROR, UNIT = 4, 0.5, 2.0


class Certain(AbstractTransition):
    """x' = x + a, and half a unit of its own beyond."""

    def __call__(self, state: Float[Array, " 1"], action: Float[Array, " 1"]) -> Deterministic:
        return Deterministic(state + action + ERROR)


def walks(lengths):
    """Episodes of x' = x + a, whose steps all differ, so that no other one fits."""
    action = np.random.default_rng(0).uniform(0.1, 2.0, (sum(lengths), 1)).astype("float32")
    ends = np.cumsum(lengths)
    state = [np.append(0, part[:-1].cumsum()) for part in np.split(action[:, 0], ends[:-1])]
    return episodes_of(np.concatenate(state)[:, None], action, lengths)


def test_a_certain_model_is_as_far_off_as_its_errors_add_up_to():
    """Twice the distance, in units; nothing after the end, which the first episode reaches."""
    episodes = walks([3, 5, 9])
    seen = rehearse(
        Markov(Certain()),
        episodes,
        lambda prediction: prediction.mean()[0],
        cumulative=False,
        horizon=HORIZON,
        key=KEY,
        num_particles=2,
        unit=UNIT,
    )
    steps = np.arange(1, HORIZON + 1)
    want = np.tile(2 * ERROR * steps / UNIT, (3, 1))
    want[0, 2:] = np.nan
    np.testing.assert_allclose(seen.distance, want, rtol=1e-4)
    np.testing.assert_allclose(seen.spread, 0, atol=1e-5)
    for index in range(3):
        states = episodes.episode(index).observation[:, 0]
        last = min(HORIZON, len(states) - 1)
        starts = range(len(states) - last)
        futures = [states[s + 1 : s + 1 + last] + ERROR * steps[:last] for s in starts]
        futures = [np.append(x, np.full(HORIZON - last, x[-1])) for x in futures]
        found = [np.allclose(seen.statistic[index], x, rtol=1e-4) for x in futures]
        assert sum(found) == 1


def test_every_start_with_the_horizon_to_come_is_as_likely():
    """Of four transitions two or three are steps from starts 0, 1 and 2; of one, from 0."""
    number = 3000
    episodes = walks([5, 2] * number)
    starts = one_start_each(episodes, 2, key=KEY)
    offset = starts.row - np.flatnonzero(episodes.is_first)
    share = np.bincount(offset[::2], minlength=5) / number
    np.testing.assert_allclose(share, [1 / 3, 1 / 3, 1 / 3, 0, 0], atol=4 * np.sqrt(2 / 9 / number))
    assert not offset[1::2].any()
    np.testing.assert_array_equal(starts.mask, [[True, True], [True, False]] * number)
    moved = starts.state + starts.action[:, :, 0].cumsum(axis=1)
    np.testing.assert_allclose(starts.future[starts.mask, 0], moved[starts.mask], rtol=1e-5)


def test_a_unit_is_one_number_or_one_a_dimension():
    futures = jnp.arange(12.0).reshape(3, 2, 2)
    apart = spread_along(futures, jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(apart, np.sqrt(4**2 + 2**2) * 4 / 3, rtol=1e-6)
    for size in (1, 3):
        with pytest.raises(ValueError, match=rf"unit must be .*\[2\], but has shape \({size},\)"):
            spread_along(futures, np.ones(size))
