"""Diagnose a model on held-out episodes: particles of its open-loop futures against what came."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..data import Episodes, check_spaces
from ..models import AbstractFilter, AbstractWorldModel, Markov
from ..transitions import AbstractTransition
from .diagnose import Diagnosis, diagnose
from .filtering import start_states
from .open_loop import open_loop
from .starts import HORIZONS, Starts, choose_starts


def diagnose_model(
    model: AbstractWorldModel | AbstractTransition,
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    horizons: Sequence[int] = HORIZONS,
    num_starts: int = 300,
    num_particles: int = 50,
) -> Diagnosis:
    """Is the predicted distribution right, at each horizon?

    Args:
        model: a world model over flat observations, a filter of them, or a transition. A filter is
            shown each episode up to the start.
        episodes: held-out episodes.
        key: for the particles, and to break ties.
        horizons: how many steps ahead, each at least 1.
        num_starts: at most this many starts, spread over the episodes.
        num_particles: a start.

    Returns:
        A `Diagnosis`, see `diagnose`; print it for a table.

    Raises:
        ValueError: a model of other spaces, or a horizon below 1.
    """
    if min(horizons, default=0) < 1:
        raise ValueError(f"horizons must be at least 1 and not empty, but are {tuple(horizons)}.")
    world = Markov(model) if isinstance(model, AbstractTransition) else model
    check_spaces(world, episodes)
    key_clouds, key_ties = jax.random.split(key)
    starts = choose_starts(episodes, num_starts, max(horizons))
    at = np.asarray(horizons) - 1
    return diagnose(
        open_loop_clouds(
            world, starts, horizons, key=key_clouds, num_particles=num_particles, episodes=episodes
        ),
        starts.future[:, at],
        starts.mask[:, at],
        starts.episode,
        horizons=horizons,
        key=key_ties,
    )


def open_loop_clouds(
    model: AbstractWorldModel,
    starts: Starts,
    horizons: Sequence[int],
    *,
    key: PRNGKeyArray,
    num_particles: int = 100,
    episodes: Episodes | None = None,
) -> Float[Array, "starts particles horizons state"]:
    """Particles of futures under the recorded actions, `[starts, particles, horizons, state]`.

    Args:
        model: a world model over flat observations.
        starts: of `choose_starts`, with the longest of the horizons at least.
        horizons: which steps ahead are kept.
        key: for the draws.
        num_particles: a start, see `open_loop`.
        episodes: those that the starts were chosen in; only a filter needs them, for their past.

    Raises:
        ValueError: a filter without episodes.
    """
    states = starts.state
    if episodes is not None:
        states = start_states(model, episodes, starts.row, key=key, num_particles=num_particles)
    elif isinstance(model, AbstractFilter):
        raise ValueError(
            f"episodes must be given: model is a filter ({type(model).__name__}), which starts in "
            "what it has inferred from the past of each start. Pass those the starts are from."
        )
    keys = jax.random.split(key, len(starts.state))
    inputs = (jax.tree.map(jnp.asarray, states), jnp.asarray(starts.action), keys)
    return _clouds(model, inputs, tuple(int(horizon) for horizon in horizons), num_particles)


@eqx.filter_jit
def _clouds(model, inputs, horizons: tuple[int, ...], num_particles: int) -> Array:
    at = np.asarray(horizons) - 1

    def one(row):
        state, action, key = row
        return open_loop(model, state, action, key=key, particles=num_particles)[:, at]

    return jax.lax.map(one, inputs)  # one start at a time: half the compilation of a vmap
