"""Are predicted distributions right many steps ahead, where the law is known?

    python benchmarks/calibration.py [--seeds 3] [--out FILE] [--only NAME]

walk     MixtureWalk, whose law is exact at every horizon: the excess of a learned mixture and of a
         Gaussian over it, and whether PIT and level of the highest density region are uniform.
chicken  Wet-Chicken, open loop: energy score beside that of the law's own futures, and whether the
         randomised PIT of y, with its atom at zero, is uniform.

Prints a table with the spread over seeds, writes JSON, and exits with 1 if a target is missed.
Seeds change everything: data, initial weights, batches, test episodes. p-values are by episode; the
least of several is shown, so that one below 0.01 comes by chance now and then.
"""

import argparse
import sys
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from _report import over_seeds, write

import stochwm.envs  # noqa: F401, registers the bundled worlds
from stochwm import replay
from stochwm.calibration import choose_starts, energy_score, hpd_level, open_loop, pit, pit_tests
from stochwm.data import collect, find_pins, standardisers
from stochwm.distributions import UniformMixture
from stochwm.models import Markov
from stochwm.training import (
    default_optimizer,
    fit,
    negative_log_likelihood,
    smoothed_likelihood,
)
from stochwm.transitions import (
    BoxMixtureDensity,
    Ensemble,
    Gaussian,
    MixtureDensity,
    Pinned,
    Standardised,
)

HORIZONS = (1, 2, 5, 10, 20)
MEMBERS, COMPONENTS, WIDTH = 5, 8, 64
PARTICLES = 2_000  # whose predictions make the density of the walk
SIGNIFICANT = 0.01


# --- worlds and models ------------------------------------------------------------------------
def gather(env_id: str, sizes: tuple[int, int, int], seed: int):
    """Train, validation and test episodes under random actions, and the world."""
    parts = [
        collect(env_id, steps=steps, seed=3 * seed + i, progress=False)
        for i, steps in enumerate(sizes)
    ]
    return (*parts, gymnasium.make(env_id).unwrapped.world)


def learn(kind, train, validation, noise, seed: int, *, updates: int, decay: float) -> Markov:
    """Five kernels of one kind as a world model; boxes are pinned to the atoms of the data."""
    rows = train.transitions()
    fixed = standardisers(rows, train.observation_space, train.action_space)
    sizes = (train.observation_space.size, train.action_space.size)
    boxes = kind is BoxMixtureDensity
    options = {} if kind is Gaussian else {"num_components": COMPONENTS}
    pins = find_pins(rows, COMPONENTS) if boxes else None

    def make(key):
        kernel = Standardised(kind(*sizes, width=WIDTH, **options, key=key), *fixed)
        return Pinned(kernel, pins) if boxes else kernel

    key_model, key_fit = jax.random.split(jax.random.key(1000 + seed))
    fitted = fit(
        Ensemble(make, MEMBERS, key=key_model),
        rows,
        (smoothed_likelihood if boxes else negative_log_likelihood)(noise),
        default_optimizer(updates, weight_decay=decay),
        key=key_fit,
        validation=validation.transitions(),
        steps=updates,
        evaluate_every=100,
        bootstrap=False,
        progress=False,
    )
    return Markov(fitted.model)


# --- the walk ---------------------------------------------------------------------------------
def walk(seed: int) -> dict[str, float]:
    """Excess, PIT and region levels at each horizon."""
    env_id = "stochwm/MixtureWalk-v0"
    train, validation, test, world = gather(env_id, (20_000, 4_000, 10_000), seed)
    starts, result = choose_starts(test, 300, max(HORIZONS)), {}
    for name, kind in (("mixture", MixtureDensity), ("gaussian", Gaussian)):
        model = learn(kind, train, validation, 0.0, seed, updates=3_000, decay=1e-2)
        for horizon in HORIZONS:
            there = starts.mask[:, horizon - 1]
            inputs = (
                jnp.asarray(starts.state[there]),
                jnp.asarray(starts.action[there, :horizon]),
                jnp.asarray(starts.future[there, horizon - 1]),
                jax.random.split(jax.random.key(seed), there.sum()),
            )
            excess, levels, of_law = ahead(model, world, *inputs)
            episode = starts.episode[there]
            result[f"{name}_excess_{horizon}"] = float(jnp.mean(excess))
            if name == "mixture":
                for who, values in (("", levels), ("law_", of_law)):
                    for kind_of_level, column in zip(("pit", "region"), values, strict=True):
                        p = pit_tests(np.asarray(column), episode).cramer_von_mises.p_value
                        result[f"{who}p_{kind_of_level}_{horizon}"] = p
    # The least of ten p-values of the law itself shows what chance does with these episodes.
    least = {
        f"{who}p_least": min(value for n, value in result.items() if n.startswith(f"{who}p_"))
        for who in ("", "law_")
    }
    return result | least


@eqx.filter_jit
def ahead(model, world, states, plans, reached, keys):
    """Excess NLL over the exact law; PIT and region level of what came, of both."""

    def one(inputs):
        state, plan, value, key = inputs
        key_cloud, key_pit, key_region = jax.random.split(key, 3)
        density, law = after(model, state, plan, key_cloud), world.law_after(state, plan)

        def levels(prediction):
            region = hpd_level(prediction, value, key=key_region, num_samples=200)
            return pit(prediction, value, key=key_pit), region[None]

        return law.log_prob(value) - density.log_prob(value), levels(density), levels(law)

    return jax.lax.map(one, (states, plans, reached, keys), batch_size=4)


def after(model, state, plan, key) -> UniformMixture:
    """The density of a model after a plan: what each member predicts from its own particles."""
    if len(plan) == 1:
        return model.transition(state, plan[0]).flatten()

    def of_member(member, keys):
        alone = Markov(member)
        where = jax.vmap(lambda key: replay(alone, state, plan[:-1], key=key)[0])(keys)
        return eqx.filter_vmap(lambda s: member(s, plan[-1]))(where)

    keys = jax.random.split(key, (MEMBERS, PARTICLES // MEMBERS))
    stacked = eqx.filter_vmap(of_member)(model.kernel.members, keys)
    join = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    return UniformMixture(jax.tree.map(join, stacked)).flatten()


# --- Wet-Chicken ------------------------------------------------------------------------------
def chicken(seed: int) -> dict[str, float]:
    """Energy score of learned futures over that of the law's, and the PIT of y."""
    env_id = "stochwm/WetChicken-v0"
    train, validation, test, world = gather(env_id, (10_000, 2_000, 20_000), seed)
    noise = np.asarray(world.noise_convention)
    model = learn(BoxMixtureDensity, train, validation, noise, seed, updates=3_000, decay=0.03)
    starts, result = choose_starts(test, 1_000, max(HORIZONS)), {}
    clouds = {name: futures(m, starts, seed) for name, m in (("model", model), ("law", world))}
    score = jax.jit(lambda c, x: jax.lax.map(lambda pair: energy_score(*pair), (c, x)))
    for i, horizon in enumerate(HORIZONS):
        there = starts.mask[:, horizon - 1]
        value = jnp.asarray(starts.future[there, horizon - 1])
        energy = {name: score(cloud[there, :, i], value).mean() for name, cloud in clouds.items()}
        keys = jax.random.split(jax.random.key(seed), there.sum())
        of_y = jax.vmap(lambda c, x, key: pit(c[:, 1:], x[1:], key=key))
        levels = of_y(clouds["model"][there, :, i], value, keys)
        result[f"law_{horizon}"] = float(energy["law"])
        result[f"ratio_{horizon}"] = float(energy["model"] / energy["law"])
        test_of_pit = pit_tests(np.asarray(levels), starts.episode[there])
        result[f"p_pit_{horizon}"] = test_of_pit.cramer_von_mises.p_value
    ratio = max(result[f"ratio_{h}"] for h in HORIZONS)
    return result | {
        "ratio_worst": ratio,
        "p_least": min(result[f"p_pit_{h}"] for h in HORIZONS),
    }


def futures(model, starts, seed: int):
    """Clouds of 100 open-loop futures, `[starts, particles, horizons, state]`."""

    @eqx.filter_jit
    def run(model, states, plans, keys):
        def one(inputs):
            state, plan, key = inputs
            cloud = open_loop(model, state, plan, key=key, particles=100)
            return cloud[:, np.asarray(HORIZONS) - 1]

        return jax.lax.map(one, (states, plans, keys), batch_size=50)

    keys = jax.random.split(jax.random.key(10 + seed), len(starts.state))
    return run(model, jnp.asarray(starts.state), jnp.asarray(starts.action), keys)


TASKS = {
    "walk": (walk, {"p_least": (">=", SIGNIFICANT)}),
    "chicken": (chicken, {"ratio_worst": ("<=", 1.02), "p_least": (">=", SIGNIFICANT)}),
}


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/calibration.json"))
    parser.add_argument("--only", choices=TASKS, help="only this task")
    args = parser.parse_args()
    results, met = {}, True
    for name, (measure, targets) in TASKS.items():
        if args.only not in (None, name):
            continue
        results[name] = [measure(seed) for seed in range(args.seeds)]
        met = over_seeds(name, results[name], targets) and met
    write(args.out, results)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
