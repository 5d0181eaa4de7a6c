"""The values behind a score card: one source at a time, start by start."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._rollout import nothing
from ..data import Episodes, check_spaces
from ..models import AbstractFilter, Markov
from ..transitions import AbstractTransition
from .filtering import filter_density_sample, start_states
from .metrics import METRICS
from .one_step import OneStep, density_sample, seen_density, why_no_density
from .open_loop import judged_futures
from .scorecard import Sample
from .starts import MIN_STARTS, Starts, fingerprint, in_blocks

START_BLOCK = 100


class Source(NamedTuple):
    """One of those that are scored."""

    of: str
    model: Any
    metrics: tuple[str, ...]
    particles: int
    smoothed: bool = False


class Task(NamedTuple):
    """What all of them are to predict."""

    episodes: Episodes
    starts: Starts
    horizons: tuple[int, ...]
    target: np.ndarray
    """What followed with noise, `[starts, horizon, state]`."""
    noise: np.ndarray
    scale: np.ndarray
    key_nll: PRNGKeyArray
    key_past: PRNGKeyArray
    """For what a filter draws up to the starts."""
    keys: Array
    """For the futures, `[starts]`."""


def samples_of(source: Source, task: Task) -> tuple[dict[tuple[str, int], Sample], tuple[str, ...]]:
    """The values of one source by metric and horizon, and what could not be scored."""
    is_kernel = isinstance(source.model, AbstractTransition)
    model = Markov(source.model) if is_kernel else source.model
    check_spaces(model, task.episodes)
    starts, names = task.starts, source.metrics
    noise = jnp.asarray(task.noise) if source.smoothed else None
    samples, skipped = {}, []
    if "nll" in names:
        reason = why_no_density(model, noise, starts.state[0], starts.action[0, 0])
        if reason is None:
            samples["nll", 1] = _next_step(model, noise, source.particles, task)
        else:
            skipped.append(f"nll: the prediction has no density ({reason})")
            names = tuple(name for name in names if name != "nll")
    samples |= _ahead(model, noise, names, source.particles, task)
    for (metric, horizon), sample in list(samples.items()):
        share = np.mean(~np.isfinite(sample.values))
        if share > 0:
            what = f"{metric} at horizon {horizon}: {100 * share:.1f} % are not finite"
            if (metric, horizon) == ("nll", 1):
                what = f"nll: {100 * share:.1f} % of the steps have no finite log density"
            skipped.append(what)
            del samples[metric, horizon]
    return samples, tuple(skipped)


def _next_step(model, noise, particles: int, task: Task) -> Sample:
    """The `nll` one step ahead, at every step."""
    if isinstance(model, AbstractFilter):
        options = {"target_noise": task.noise, "key": task.key_nll, "num_particles": particles}
        return filter_density_sample(model, noise, task.episodes, **options)
    options = {"key": task.key_nll, "noise": task.noise}
    return density_sample(OneStep(model, noise), task.episodes, **options)


def _ahead(model, noise, names, particles, task: Task) -> dict[tuple[str, int], Sample]:
    """The values of what clouds of futures tell: all but the `nll` one step ahead."""
    starts, horizons = task.starts, task.horizons
    if names in ((), ("nll",)) and horizons[-1] == 1:
        return {}

    def block(*inputs):
        return _score_block(model, noise, task.scale, names, horizons, particles, inputs)

    states = start_states(
        model, task.episodes, starts.row, key=task.key_past, num_particles=particles
    )
    inputs = (states, starts.action, starts.future, task.target, task.keys)
    table, samples = in_blocks(block, inputs, START_BLOCK), {}
    for i, horizon in enumerate(horizons):
        there = starts.mask[:, horizon - 1]
        what = (starts.state, starts.action[:, :horizon], starts.future[:, horizon - 1])
        what = tuple(array[there] for array in what)
        for metric, values in table.items():
            if there.sum() < MIN_STARTS or (metric, horizon) == ("nll", 1):
                continue
            units = () if metric == "nll" else (task.scale,)
            name = fingerprint(*what, *units)
            samples[metric, horizon] = Sample(values[there, i], starts.episode[there], name)
    return samples


@eqx.filter_jit
def _score_block(model, noise, scale, names, horizons, particles, inputs) -> dict[str, Array]:
    """Each metric at each start and horizon, `[starts, horizons, ...]`."""
    at = np.asarray(horizons) - 1

    def judge(prediction, target):
        return seen_density(prediction, noise).log_prob(target)

    def futures(state, action, target, key):
        return judged_futures(
            model,
            state,
            action,
            target,
            key=key,
            particles=particles,
            judge=judge if "nll" in names else nothing,
        )

    states, actions, future, targets, keys = inputs
    clouds, log_probs = jax.vmap(futures)(states, actions, targets, keys)
    clouds = jnp.swapaxes(clouds[:, :, at], 1, 2) / scale
    ties = jax.vmap(lambda key: jax.random.split(key, len(at)))(keys)
    rows = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), (clouds, future[:, at] / scale, ties)
    )
    functions: dict[str, Any] = {n: METRICS[n].of_cloud for n in names if n != "nll"}
    # One cloud at a time: the distances between all particles of all clouds would not fit.
    table = jax.lax.map(lambda row: {name: f(*row) for name, f in functions.items()}, rows)
    table = jax.tree.map(lambda x: x.reshape(len(keys), len(at), *x.shape[1:]), table)
    if "nll" in names:
        mean = jax.nn.logsumexp(log_probs[:, :, at], axis=1) - math.log(particles)
        table["nll"] = -mean
    return table
