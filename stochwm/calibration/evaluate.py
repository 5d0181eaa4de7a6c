"""One scoring path: held-out episodes in, a table with confidence intervals out."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._rollout import replay
from ..data import Episodes, check_spaces
from ..distributions import LatentStateDistribution
from ..models import AbstractWorldModel
from ..transitions import Ensemble
from .bootstrap import episode_interval
from .coverage import covered
from .crps import crps
from .joint_scores import energy_score
from .score_inputs import core_of
from .scorecard import Score, Scorecard

HORIZONS = (1, 2, 5, 10, 20)
METRICS = ("nll", "energy", "crps", "coverage90")
ROW_BATCH = 1024
START_BLOCK = 100
MIN_STARTS = 10  # fewer realised futures than this say little about a horizon


def evaluate(
    model: AbstractWorldModel,
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    horizons: Sequence[int] = HORIZONS,
    num_particles: int = 100,
    num_starts: int = 300,
    noise: Any = 0.0,
    smoothed: bool = False,
    scale: Any = 1.0,
) -> Scorecard:
    """Score one-step densities and open-loop futures against what really happened.

    Metrics: `nll`, the mean of -log p(s' + e | s, a) with e ~ N(0, noise^2), in nats; and for each
    horizon, from clouds of futures under the recorded actions, `energy` (energy score of the
    joint state), `crps` (mean over dimensions) and `coverage90` (share of dimensions inside their
    central 90 % interval). Energy score and CRPS are in units of `scale`.

    Args:
        model: any world model over flat states.
        episodes: held-out episodes.
        key: makes starts, noise and futures; the same for all models that are to be compared.
        horizons: steps ahead at which to score.
        num_particles: futures a start, at least 2.
        num_starts: at most this many starts, spread over the episodes.
        noise: standard deviation of the target noise of `nll`, a scalar or `[state]`.
        smoothed: whether the model is free of that noise, as a law is, and as
            `smoothed_likelihood` trains it: its prediction is then seen through the noise too.
        scale: what a unit of each dimension is, a scalar or `[state]`: pass the training standard
            deviations.

    Returns:
        A `Scorecard`; what could not be scored is in `skipped` with the reason.

    Raises:
        ValueError: a model of other spaces, a horizon below 1, fewer than 2 particles, no start, a
            noise or scale that is not one number a dimension, or a scale that is not positive.
    """
    for name, number, least in (
        ("horizons", min(horizons, default=0), 1),
        ("num_particles", num_particles, 2),
        ("num_starts", num_starts, 1),
    ):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, but is {number}.")
    check_spaces(model, episodes)
    scale = _per_dimension("scale", scale, episodes)
    if not (scale > 0).all():
        raise ValueError(f"scale must be positive, but is {scale}.")
    key_nll, key_futures = jax.random.split(key)
    seen_through = jnp.asarray(_per_dimension("noise", noise, episodes)) if smoothed else None
    predict = _OneStep(model, seen_through)
    density = evaluate_density(predict, episodes, key=key_nll, noise=noise)
    scores, skipped = list(density.scores), list(density.skipped)
    starts = choose_starts(episodes, num_starts, max(horizons))
    table = _score_futures(model, starts, tuple(horizons), num_particles, scale, key_futures)
    for i, horizon in enumerate(horizons):
        there = starts.mask[:, horizon - 1]
        if there.sum() < MIN_STARTS:
            skipped.append(f"horizon {horizon}: only {there.sum()} futures are that long")
            continue
        for metric, values in table.items():
            here = values[there, i]
            if not np.isfinite(here).all():
                share = np.mean(~np.isfinite(here))
                skipped.append(f"{metric} at horizon {horizon}: {share:.1%} are not finite")
                continue
            interval = episode_interval(here, starts.episode[there])
            scores.append(Score(metric, horizon, *interval, int(there.sum())))
    scores.sort(key=lambda score: (METRICS.index(score.metric), score.horizon))
    return Scorecard(tuple(scores), tuple(skipped))


class Starts(NamedTuple):
    """Held-out starts and what really followed, padded after the end of an episode."""

    state: np.ndarray
    """`[starts, state]`"""
    action: np.ndarray
    """`[starts, horizon, action]`"""
    future: np.ndarray
    """`[starts, horizon, state]`"""
    mask: np.ndarray
    """Whether the episode lasted that long, `[starts, horizon]`"""
    episode: np.ndarray
    """`[starts]`"""


def choose_starts(episodes: Episodes, num_starts: int, horizon: int) -> Starts:
    """At most `num_starts` starts, evenly spread over all transitions of the episodes."""
    rows = np.flatnonzero(~episodes.is_last)
    picked = np.linspace(0, len(rows) - 1, min(num_starts, len(rows))).round().astype(int)
    start = rows[picked]
    episode = np.cumsum(episodes.is_first) - 1
    last = np.flatnonzero(episodes.is_last)[episode[start]]
    steps = start[:, None] + np.arange(horizon)
    inside = np.minimum(steps, last[:, None])
    return Starts(
        state=episodes.observation[start],
        action=episodes.action[inside],
        future=episodes.observation[np.minimum(steps + 1, last[:, None])],
        mask=steps < last[:, None],
        episode=episode[start],
    )


def open_loop(
    model: AbstractWorldModel, state: Array, actions: Array, *, key: PRNGKeyArray, particles: int
) -> Array:
    """Futures from one state under given actions, `[particles, horizon, state]`.

    Where the kernel is an `Ensemble`, each particle keeps one member (TS-infinity), particle i
    member i modulo their number, so that no member is evaluated on another member's particles.
    """

    def futures(model, keys):
        begin, save = model.start(state), model.observed
        run = lambda key: replay(model, begin, actions, key=key, save=save)[1].state  # noqa: E731
        return jax.vmap(run)(keys)

    kernel = getattr(model, "kernel", None)
    if not isinstance(kernel, Ensemble):
        return futures(model, jax.random.split(key, particles))

    def of_member(member, keys):
        return futures(eqx.tree_at(lambda m: m.kernel, model, member), keys)

    share = -(-particles // kernel.num_members)  # rounded up; the last ones are left out
    keys = jax.random.split(key, (kernel.num_members, share))
    clouds = jnp.swapaxes(eqx.filter_vmap(of_member)(kernel.members, keys), 0, 1)
    return clouds.reshape(-1, *clouds.shape[2:])[:particles]


def evaluate_density(
    predict: Callable[[Array, Array], Any],
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    noise: Any = 0.0,
) -> Scorecard:
    """The metric `nll` of any `(state, action) -> distribution`; see `evaluate`.

    Args:
        predict: such as `model.transition`, or a law seen through the same noise,
            `lambda s, a: world.law(s, a).smoothed(noise)`.
        episodes: held-out episodes.
        key: for the target noise; the same key gives the same targets.
        noise: standard deviation of the target noise, a scalar or `[state]`.

    Raises:
        ValueError: a noise that is not one number a dimension, or negative.
    """
    noise = _per_dimension("noise", noise, episodes)
    rows = episodes.transitions()
    target = rows.next_state + noise * np.asarray(jax.random.normal(key, rows.next_state.shape))

    @eqx.filter_jit
    def log_probs(predict, *inputs):
        one = lambda x: _with_density(predict(x[0], x[1])).log_prob(x[2])  # noqa: E731
        return jax.lax.map(one, inputs, batch_size=ROW_BATCH)

    try:
        values = -np.asarray(log_probs(predict, rows.state, rows.action, jnp.asarray(target)))
    except NotImplementedError as error:
        return Scorecard((), (f"nll: the prediction has no density ({error})",))
    if not np.isfinite(values).all():
        share = np.mean(~np.isfinite(values))
        return Scorecard((), (f"nll: {share:.1%} of the steps have no finite log density",))
    interval = episode_interval(values, np.asarray(rows.episode))
    return Scorecard((Score("nll", 1, *interval, len(values)),))


class _OneStep(eqx.Module):
    """What a model predicts of the next observation, as `nll` sees it.

    A pytree, not a closure: the arrays of the model must not be constants of the program.
    """

    model: AbstractWorldModel
    noise: Array | None

    def __call__(self, state: Array, action: Array) -> Any:
        prediction: Any = self.model.transition(self.model.start(state), action)
        if isinstance(prediction, LatentStateDistribution):  # of a model with a clock
            prediction = prediction.stoch
        return prediction if self.noise is None else prediction.smoothed(self.noise)


def _with_density(prediction: Any) -> Any:
    """The prediction; `NotImplementedError` if it, or what it mixes, can only be sampled.

    Asked for by name: catching `AttributeError` would take a mistake in a model for a missing
    density.
    """
    core = core_of(prediction)
    if not hasattr(core, "log_prob"):
        raise NotImplementedError(f"{type(core).__name__} has no log_prob")
    return prediction


def _per_dimension(name: str, value: Any, episodes: Episodes) -> np.ndarray:
    size = episodes.observation.shape[1]
    array = np.asarray(value, np.float32)
    if array.shape not in ((), (size,)) or not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(
            f"{name} must be one number or {size}, finite and not negative, but is {value}."
        )
    return np.broadcast_to(array, (size,))


def _score_futures(model, starts, horizons, particles, scale, key) -> dict[str, np.ndarray]:
    """Each metric at each start and horizon, `[starts, horizons]`."""
    at = np.asarray(horizons) - 1

    @eqx.filter_jit
    def run(model, *inputs):
        def futures(state, actions, key):
            return open_loop(model, state, actions, key=key, particles=particles)[:, at]

        states, actions, future, keys = inputs
        clouds = jnp.swapaxes(jax.vmap(futures)(states, actions, keys), 1, 2) / scale
        pairs = (clouds, future[:, at] / scale)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), pairs)
        # One cloud at a time: the distances between all particles of all clouds would not fit.
        table = jax.lax.map(lambda pair: _score_cloud(*pair), flat)
        return jax.tree.map(lambda x: x.reshape(len(states), len(at)), table)

    number = len(starts.state)
    inputs = (starts.state, starts.action, starts.future, jax.random.split(key, number))
    tables = []
    for first in range(0, number, START_BLOCK):
        # Every block has the same shape, so that there is one compilation.
        rows = np.minimum(np.arange(first, first + START_BLOCK), number - 1)
        table = run(model, *(x[rows] for x in inputs))
        tables.append({name: np.asarray(values) for name, values in table.items()})
    return {name: np.concatenate([t[name] for t in tables])[:number] for name in tables[0]}


def _score_cloud(cloud: Array, value: Array) -> dict[str, Array]:
    return {
        "energy": energy_score(cloud, value),
        "crps": jnp.mean(crps(cloud, value)),
        "coverage90": jnp.mean(covered(cloud, value, 0.9)),
    }
