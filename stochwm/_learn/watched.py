"""Futures that a guard watched: how long it trusted them, and how uncertain they were."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._rollout import replay
from .._storage import load_metadata, load_tree, save_tree, saved_at
from ..data import Episodes, FlatSpace
from ..drift import DriftGuard
from ..drift.members import moments_of
from ..drift.rehearsal import one_start_each
from .run import Run

FOLDER = "watched"
MAX_STARTS, PARTICLES = 100, 32
DRAWN = 8  # futures of each start whose uncertainty is drawn


class Watched(NamedTuple):
    """Futures from a random start of each test episode, under its recorded actions."""

    trusted: np.ndarray
    """How many steps of each were trusted, `[starts, particles]`."""
    lasts: np.ndarray
    """How many steps the episode really went on, `[starts]`."""
    epistemic: np.ndarray
    """Standard deviations `[futures, horizon, panels]`, of futures that nobody cut."""
    aleatoric: np.ndarray
    dream: np.ndarray
    """The future that was cut first, as it would have gone on, `[horizon + 1, state]`."""
    dream_trusted: np.ndarray
    """How many steps of it were trusted, `[]`; the horizon where no future was cut."""

    @property
    def horizon(self) -> int:
        """Steps of each future."""
        return self.epistemic.shape[1]

    @property
    def longest(self) -> np.ndarray:
        """Trusted steps of the futures whose episodes went on for longest, `[starts, particles]`.

        That is the horizon, unless no test episode is so long.
        """
        longest = self.lasts.max()
        return np.minimum(self.trusted[self.lasts == longest], longest)

    @property
    def flagged(self) -> float:
        """Share of futures that were cut before the horizon, or the end of their episode."""
        return float(np.mean(self.trusted < self.lasts[:, None]))

    def share_at(self, step: int) -> float:
        """Share of the futures that go on for `step` steps which are trusted for as many."""
        there = self.trusted[self.lasts >= step]
        return float(np.mean(there >= step)) if there.size else float("nan")


def watch(run: Run, guard: DriftGuard, test: Episodes, horizon: int) -> Watched:
    """Imagine futures under a guard and without, and keep what was found in `watched/`."""
    key_starts, key = jax.random.split(jax.random.fold_in(jax.random.key(run.config.seed), 3))
    starts = one_start_each(test, horizon, key=key_starts)
    picked = np.linspace(0, len(starts.state) - 1, min(MAX_STARTS, len(starts.state))).astype(int)
    starts = type(starts)(*(field[picked] for field in starts))
    keys = jax.random.split(key, (len(picked), PARTICLES))
    rows = (jnp.asarray(starts.state), jnp.asarray(starts.action), keys)
    panels = jnp.asarray(panels_of(test.observation_space)[1])
    states, epistemic, aleatoric, trusted = map(
        np.asarray, _imagined(run.model(), guard, rows, panels)
    )
    lasts = starts.mask.sum(axis=1)
    first, dream_trusted = first_cut(trusted, lasts, horizon)
    drawn = lambda x: _ended(x, lasts)[:, :DRAWN].reshape(-1, *x.shape[2:])  # noqa: E731
    dream = np.concatenate([starts.state[first[0]][None], states[first]])
    found = Watched(trusted, lasts, drawn(epistemic), drawn(aleatoric), dream, dream_trusted)
    arrays = {name: np.asarray(array) for name, array in found._asdict().items()}
    notes = {name: [array.shape, array.dtype.name] for name, array in arrays.items()}
    save_tree(run.path / FOLDER, arrays, {"arrays": notes})
    return found


def first_cut(
    trusted: np.ndarray, lasts: np.ndarray, horizon: int
) -> tuple[tuple[Any, ...], np.ndarray]:
    """Which future was cut first, but not at once, and after how many steps.

    What happens after the end of its episode, where no action was taken, does not count.
    """
    cut = np.where(trusted < lasts[:, None], trusted, horizon)
    first = np.unravel_index(np.argmin(np.where(cut == 0, horizon, cut)), cut.shape)
    return first, np.asarray(cut[first])


def has_watched(run: Run) -> bool:
    """Whether `watch` kept something."""
    return saved_at(run.path / FOLDER)


def load_watched(run: Run) -> Watched:
    """What `watch` kept.

    Raises:
        StorageError: there is nothing, or it is damaged.
    """
    notes = load_metadata(run.path / FOLDER)["arrays"]
    like = {name: np.zeros(shape, kind) for name, (shape, kind) in notes.items()}
    return Watched(**load_tree(run.path / FOLDER, like))


def panels_of(space: FlatSpace) -> tuple[list[int], np.ndarray]:
    """First entries, and which entries belong together, `[state, panels]`: one-hot blocks do."""
    blocks = dict(space.groups)
    inside = {i for start, size in space.groups for i in range(start + 1, start + size)}
    firsts = [i for i in range(space.size) if i not in inside]
    together = np.zeros((space.size, len(firsts)), np.float32)
    for panel, first in enumerate(firsts):
        together[first : first + blocks.get(first, 1), panel] = 1
    return firsts, together


@eqx.filter_jit
def _imagined(model: Any, guard: DriftGuard, rows: tuple, panels: Array) -> tuple[Array, ...]:
    def deviations(state, action, prediction, next_state):
        mean, variance = moments_of(prediction)
        of_kinds = jnp.stack([jnp.var(mean, axis=0), jnp.mean(variance, axis=0)])
        return jnp.sqrt(of_kinds @ panels)

    def one(row):
        state, actions, keys = row
        options = {"save": model.observed}

        def future(key):
            free = replay(model, model.start(state), actions, key=key, record=deviations, **options)
            watched = replay(model, model.start(state), actions, key=key, guard=guard, **options)
            (epistemic, aleatoric), horizon = (
                free[1].aux.swapaxes(0, 1),
                watched[1].trusted_horizon(),
            )
            return free[1].state, epistemic, aleatoric, horizon

        return jax.vmap(future)(keys)

    return jax.lax.map(one, rows)


def _ended(values: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """NaN after the end of an episode; `values` is `[starts, particles, horizon, panels]`."""
    over = np.arange(values.shape[2]) >= lasts[:, None]
    return np.where(over[:, None, :, None], np.nan, values)
