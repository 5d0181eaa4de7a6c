"""What a guard costs: watched and bare rollouts in turns, as ratios of times."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm import imagine_particles
from stochwm.drift import (
    DriftGuard,
    InUnits,
    cdf_disagreement,
    epistemic_variance,
    geometric_jensen_shannon,
    information_loss,
)
from stochwm.models import Markov
from stochwm.transitions import Ensemble, Gaussian, MixtureDensity, Standardised, Standardiser

MEMBERS, PARTICLES, LENGTH, ROUNDS = 5, 1_000, 15, 9


def cost(seed: int) -> dict[str, float]:
    """Median ratio of each measure to the bare rollout, for two sizes of ensemble."""
    result = {}
    for name, kind, sizes, options in (
        ("gaussian", Gaussian, (17, 6), {"width": 200, "depth": 4}),
        ("mixture", MixtureDensity, (8, 2), {"width": 256, "depth": 2, "num_components": 5}),
    ):
        model = ensemble(kind, sizes, options, seed)
        measures = {
            "default": InUnits(epistemic_variance, jnp.ones(sizes[0])),
            "infoprop": information_loss,
            "macura": geometric_jensen_shannon,
            **({} if kind is Gaussian else {"cdf": cdf_disagreement}),
        }
        guards = {key: DriftGuard(measure, jnp.inf) for key, measure in measures.items()}
        seconds = in_turns(model, sizes, {"bare": None} | guards)
        bare = seconds.pop("bare")
        result |= {f"{name}_{key}": float(np.median(s / bare)) for key, s in seconds.items()}
    return result | {"default_most": max(result["gaussian_default"], result["mixture_default"])}


def ensemble(kind, sizes, options, seed: int) -> Markov:
    """An untrained ensemble: what it predicts does not change what it costs."""
    state, action = sizes
    units = [Standardiser(jnp.zeros(n), jnp.ones(n)) for n in (state, action, state)]
    make = lambda key: Standardised(kind(*sizes, **options, key=key), *units)  # noqa: E731
    return Markov(Ensemble(make, MEMBERS, key=jax.random.key(seed)))


def in_turns(model, sizes, guards) -> dict[str, np.ndarray]:
    """Seconds of each rollout, `[rounds]`, after one that compiles."""
    state, action = sizes
    policy = lambda state, *, key: jnp.zeros(action)  # noqa: E731

    @eqx.filter_jit
    def run(model, states, guard):
        key = jax.random.key(0)
        return imagine_particles(model, policy, states, key=key, length=LENGTH, guard=guard)

    seconds = {name: [] for name in guards}
    for turn in range(ROUNDS + 1):
        for name, guard in guards.items():
            begin = time.perf_counter()
            jax.block_until_ready(run(model, jnp.zeros((PARTICLES, state)), guard))
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(times) for name, times in seconds.items()}
