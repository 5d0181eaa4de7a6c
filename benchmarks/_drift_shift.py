"""Does disagreement tell where a model is wrong? Wet-Chicken and Pendulum, away from the data."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _calibration_worlds import Law, learn_kernel, simulate
from _pendulum import Pendulum
from scipy.special import ndtr
from scipy.stats import spearmanr

from stochwm import replay
from stochwm.calibration import choose_starts, energy_score
from stochwm.data import flat_space
from stochwm.distributions import DiagNormalMixture
from stochwm.drift import (
    MutualInformation,
    auroc,
    cdf_disagreement,
    disagreement_along,
    energy_distance,
    epistemic_variance,
    geometric_jensen_shannon,
    information_loss,
    total_variance,
)
from stochwm.envs import WORLDS
from stochwm.models import Markov
from stochwm.training import default_optimizer, fit, negative_log_likelihood
from stochwm.transitions import AbstractTransition, Ensemble, Gaussian

NOISE, COMPONENTS, POINTS = 0.1, 5, 3_000
CHICKEN_MEMBERS, DECAY = 10, 1.0  # chosen on seeds 10 to 12
PENDULUM = {"members": 10, "depth": 3, "updates": 5_000, "decay": 1e-2}  # chosen on them, too
WORST = 0.2  # share of situations that count as wrong
ROLLOUTS = 4_000  # an AUROC of .98 has a standard error of .003; with 500 of .01
STEPS = (1, 10, 25, 50)


# --- Wet-Chicken under covariate shift --------------------------------------------------------
class Along(AbstractTransition):
    """y' alone as a mixture: the coordinate whose law is a mixture of a box and of atoms."""

    network: eqx.nn.MLP

    def __call__(self, state, action):
        inputs = jnp.concatenate([(state - jnp.array([1.5, 1.2])) / 1.4, action / 0.58])
        logits, locs, scales = self.network(inputs).reshape(3, COMPONENTS)
        middle = 1.2 + 1.4 * (locs + jnp.linspace(-1, 1, COMPONENTS))
        scale = 1.4 * jax.nn.softplus(scales) + 0.01
        return DiagNormalMixture(logits, middle[:, None], scale[:, None])


def chicken_shift(seed: int) -> dict[str, float]:
    """2,500 transitions of a random policy against 3,000 uniform states and actions.

    The truth is `int (F_model - F_law)^2` over y' without noise, by the closed form of the law.
    """
    world = WORLDS["stochwm/WetChicken-v0"]()
    rows = simulate(world, Markov(Law(world, None)), 25, seed=100 + seed).transitions()
    rows = dataclasses.replace(rows, next_state=rows.next_state[:, 1:])
    make = lambda key: Along(  # noqa: E731
        eqx.nn.MLP(4, 3 * COMPONENTS, 64, 2, jax.nn.silu, key=key)
    )
    key_model, key_fit = jax.random.split(jax.random.key(seed))
    ensemble = fit(
        Ensemble(make, CHICKEN_MEMBERS, key=key_model),
        rows,
        negative_log_likelihood(NOISE),
        default_optimizer(1_500, weight_decay=DECAY),
        key=key_fit,
        steps=1_500,
        bootstrap=False,
        progress=False,
    ).model
    low, high = np.array([0, 0, -1, -1]), np.array([5, 5, 1, 1])
    points = np.random.default_rng(seed).uniform(low, high, (POINTS, 4))
    scores, mixture = judged(ensemble, jnp.asarray(points[:, :2]), jnp.asarray(points[:, 2:]))
    truth = divergence(points, *mixture)
    result = {"divergence": float(truth.mean())}
    for name, score in scores.items():
        result[f"auroc_{name}"] = float(auroc(score, worst(truth)))
        result[f"spearman_{name}"] = float(spearmanr(score, truth)[0])
    return result


@eqx.filter_jit
def judged(ensemble, states, actions):
    """Every measure, and the mixture that the ensemble predicts, at each point."""
    information = MutualInformation(key=jax.random.key(9), num_samples=1_024)
    measures = {
        "total_variance": total_variance,
        "variance_of_means": epistemic_variance,
        "cdf": cdf_disagreement,
        "information": information,
        # Nats times a length: what a gap between cdfs, integrated over y, is in.
        "information_sd": lambda p: information(p) * jnp.sqrt(total_variance(p)),
        "macura": geometric_jensen_shannon,
        "infoprop": information_loss,
    }

    def one(point):
        prediction = ensemble(*point)
        flat = prediction.flatten()
        mixture = flat.weights(), flat.loc[:, 0], flat.scale[:, 0]
        return {name: measure(prediction) for name, measure in measures.items()}, mixture

    return jax.lax.map(one, (states, actions), batch_size=100)


def divergence(points, weights, locs, scales) -> np.ndarray:
    """`int (F_model - F_law)^2` at each point, `[points]`."""
    x, y, _, paddling = points.T
    current = 3 * x / 5
    turbulence = 3.5 - current
    low, high = (y + paddling - 1 + current + sign * turbulence for sign in (-1, 1))
    width = high - low
    atom = np.clip(-low / width, 0, 1) + np.clip((high - 5) / width, 0, 1)
    bottom, top = np.clip(low, 0, 5)[:, None], np.clip(high, 0, 5)[:, None]
    grid = np.linspace(-2, 7, 1_801)
    inside = np.clip((grid - bottom) / np.maximum(top - bottom, 1e-9), 0, 1)
    law = atom[:, None] * (grid >= 0) + (1 - atom[:, None]) * inside
    squared = []
    for rows in np.array_split(np.arange(len(points)), 30):
        w, m, s = (np.asarray(part, float)[rows] for part in (weights, locs, scales))
        model = np.einsum("nk,nkg->ng", w, ndtr((grid - m[..., None]) / s[..., None]))
        squared.append(np.trapezoid((model - law[rows]) ** 2, grid, axis=1))
    return np.concatenate(squared)


# --- Pendulum ---------------------------------------------------------------------------------
def pendulum(seed: int) -> dict[str, float]:
    """2,000 random transitions from slow starts against 4,000 rollouts from fast ones.

    The truth is the energy distance of the particles to what certainly comes.
    """
    slow, fast = Pendulum(1.0), Pendulum(6.0)
    train, validation, test = (
        simulate(world, Markov(Law(world, None)), number, seed=3 * seed + i, steps=50)
        for i, (world, number) in enumerate(((slow, 40), (slow, 10), (fast, ROLLOUTS)))
    )
    spaces = flat_space(slow.observation_space), flat_space(slow.action_space, "action")
    rows = train.transitions(), validation.transitions()
    loss = negative_log_likelihood(0.0)
    model = Markov(learn_kernel(Gaussian, *rows, spaces, loss, seed, **PENDULUM))
    starts = choose_starts(test, 10**9, 50)
    first = np.flatnonzero(np.diff(starts.episode, prepend=-1))
    inputs = [jnp.asarray(part[first]) for part in (starts.state, starts.action, starts.future)]
    keys = jax.random.split(jax.random.key(seed), len(first))
    unit = jnp.std(jnp.asarray(train.observation), axis=0)
    scores, truth = jax.tree.map(np.asarray, imagined(model, unit, (*inputs, keys)))
    steps = np.broadcast_to(np.arange(50), truth.shape)
    result = {
        f"pooled_{name}": float(spearmanr(np.ravel(score), np.ravel(truth))[0])
        for name, score in (scores | {"counter": steps}).items()
    }
    for horizon in STEPS:
        there = truth[:, horizon - 1]
        for name, score in scores.items():
            result[f"auroc_{name}_{horizon}"] = float(auroc(score[:, horizon - 1], worst(there)))
            result[f"spearman_{name}_{horizon}"] = float(spearmanr(score[:, horizon - 1], there)[0])
    return result | {"auroc_least": min(result[f"auroc_cumulative_{h}"] for h in STEPS)}


@eqx.filter_jit
def imagined(model, unit, inputs, particles: int = 20):
    """Scores `[rollouts, steps]` of each rollout after each step, and the truth."""
    members = model.kernel.num_members

    def one(row):
        state, actions, future, key = row

        def particle(model, key):
            record = lambda s, a, prediction, n: epistemic_variance(  # noqa: E731
                prediction.affine(jnp.zeros(3), 1 / unit)
            )
            trajectory = replay(model, state, actions, key=key, record=record)[1]
            return trajectory.state / unit, trajectory.aux

        keys = jax.random.split(key, particles)
        states, epistemic = jax.vmap(particle, (None, 0))(model, keys)

        def of_member(kernel, keys):
            alone = eqx.tree_at(lambda m: m.kernel, model, kernel)
            run = lambda key: replay(alone, state, actions, key=key)[1].state / unit  # noqa: E731
            return jax.vmap(run)(keys)

        shared = keys.reshape(-1, members).T
        clouds = eqx.filter_vmap(of_member)(model.kernel.members, shared)
        together = jnp.swapaxes(clouds, 0, 1).reshape(particles, *clouds.shape[2:])
        one_step = jnp.mean(epistemic, axis=0)
        scores = {
            "tsinf": disagreement_along(together, members, energy_distance),
            "cumulative": jnp.cumsum(one_step),
            "cumulative_sd": jnp.cumsum(jnp.mean(jnp.sqrt(epistemic), axis=0)),
            "one_step": one_step,
        }
        return scores, jax.vmap(energy_score)(jnp.swapaxes(states, 0, 1), future / unit)

    return jax.lax.map(one, inputs, batch_size=20)


def worst(truth: np.ndarray) -> np.ndarray:
    """Which situations are among the worst."""
    return truth >= np.quantile(truth, 1 - WORST)
