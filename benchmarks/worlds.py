"""How close do learned ensembles come to worlds whose law is known?

    python benchmarks/worlds.py [--seeds 3] [--out benchmarks/results/worlds.json] [--world NAME]

Prints a table with the spread over seeds, writes JSON, and exits with 1 if a target is missed.
Seeds change everything: data, initial weights, batches, test episodes.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from _report import over_seeds, write

import stochwm.envs  # noqa: F401, registers the bundled worlds
from stochwm.calibration import crps, mode_report
from stochwm.data import Episodes, collect, standardisers
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
    Standardised,
)

TEST_STEPS = 20_000
MODE_POINTS = 500
MEMBERS = 5


class Task(NamedTuple):
    """What is measured on one world, and what it must reach."""

    env_id: str
    kind: type
    components: int
    train_steps: int
    validation_steps: int
    updates: int
    weight_decay: float
    bootstrap: bool
    targets: dict[str, tuple[str, float]]


def _wet_chicken(train_steps, validation_steps, updates, weight_decay, excess, **targets) -> Task:
    """Noise in an interval and walls: boxes. The published numbers are for y alone."""
    return Task(
        "stochwm/WetChicken-v0",
        BoxMixtureDensity,
        components=4,
        train_steps=train_steps,
        validation_steps=validation_steps,
        updates=updates,
        weight_decay=weight_decay,
        bootstrap=False,  # few data are worth more seen whole by each member
        targets={"excess_y": ("<=", excess)} | targets,
    )


TASKS = {
    "fork": Task(
        "stochwm/Fork-v0",
        MixtureDensity,
        components=8,
        train_steps=20_000,
        validation_steps=4_000,
        updates=3_000,
        weight_decay=1e-2,
        bootstrap=True,
        targets={
            "excess": ("<=", 0.05),
            "gaussian_gap": (">=", 0.3),
            "mode_recall": (">=", 0.95),
            "weight_error": ("<=", 0.05),
        },
    ),
    "wet-chicken": _wet_chicken(2_500, 600, 1_500, 0.1, 0.035),
    "wet-chicken-10k": _wet_chicken(10_000, 2_000, 3_000, 0.03, 0.016),
    "wet-chicken-40k": _wet_chicken(40_000, 4_000, 6_000, 0.03, 0.007, crps_ratio=("<=", 1.03)),
}


def measure(task: Task, seed: int) -> dict[str, float]:
    """Train both ensembles on one seed and score them on fresh episodes."""
    train, validation, test = (
        collect(task.env_id, steps=steps, seed=3 * seed + i, progress=False)
        for i, steps in enumerate((task.train_steps, task.validation_steps, TEST_STEPS))
    )
    world = gymnasium.make(task.env_id).unwrapped.world
    noise = np.asarray(world.noise_convention)
    learner = train_ensemble(task, task.kind, train, validation, noise, seed)
    gaussian = train_ensemble(task, Gaussian, train, validation, noise, seed)

    rows = test.transitions()
    key = jax.random.key(seed)
    target = rows.next_state + noise * np.asarray(jax.random.normal(key, rows.next_state.shape))
    law = seen(world.transition, noise)
    # Boxes are learned free of the noise, normals with it.
    model = seen(learner, noise) if task.kind is BoxMixtureDensity else learner
    truth = mean_nll(law, rows, target)
    result = {
        "law": truth,
        "excess": mean_nll(model, rows, target) - truth,
        "gaussian_gap": mean_nll(gaussian, rows, target) - mean_nll(model, rows, target),
    }
    if task.env_id.startswith("stochwm/Fork"):
        result |= modes(learner, world, rows, key)
        result["entropy"] = float(jnp.mean(entropies(world, rows)))
    else:
        in_y = {name: last(predict) for name, predict in (("", model), ("gaussian_", gaussian))}
        result["law_y"] = mean_nll(last(law), rows, target[:, 1:])
        for name, predict in in_y.items():
            result[f"{name}excess_y"] = mean_nll(predict, rows, target[:, 1:]) - result["law_y"]
        of_law = mean_crps(world.transition, rows)
        result["crps_law"], result["crps_ratio"] = of_law, mean_crps(learner, rows) / of_law
    return result


def train_ensemble(
    task: Task, kind: type, train: Episodes, validation: Episodes, noise: np.ndarray, seed: int
) -> Ensemble:
    """Five kernels of one kind, with the same training for every kind."""
    rows = train.transitions()
    statistics_ = standardisers(rows, train.observation_space, train.action_space)
    sizes = (train.observation_space.size, train.action_space.size)
    options = {} if kind is Gaussian else {"num_components": task.components}
    loss = smoothed_likelihood if kind is BoxMixtureDensity else negative_log_likelihood

    def make(key):
        return Standardised(kind(*sizes, width=64, **options, key=key), *statistics_)

    key_model, key_fit = jax.random.split(jax.random.key(1000 + seed))
    fitted = fit(
        Ensemble(make, MEMBERS, key=key_model),
        rows,
        loss(noise),
        default_optimizer(task.updates, weight_decay=task.weight_decay),
        key=key_fit,
        validation=validation.transitions(),
        steps=task.updates,
        evaluate_every=100,
        bootstrap=task.bootstrap,
        progress=False,
    )
    return fitted.model


def seen(predict, noise):
    """A prediction that is free of the target noise, seen through it."""
    if not np.any(noise):
        return predict
    return lambda state, action: predict(state, action).smoothed(jnp.asarray(noise))


@eqx.filter_jit
def log_probs(predict, states, actions, targets):
    """Log densities of all rows."""
    one = lambda x: predict(x[0], x[1]).log_prob(x[2])  # noqa: E731
    return jax.lax.map(one, (states, actions, targets), batch_size=1024)


def mean_nll(predict, rows, target) -> float:
    """Mean negative log-likelihood of a prediction, in nats a step."""
    return -float(jnp.mean(log_probs(predict, rows.state, rows.action, jnp.asarray(target))))


def mean_crps(predict, rows) -> float:
    """Mean CRPS of the last dimension as it is, without noise, in its units."""

    @eqx.filter_jit
    def run(predict, states, actions, reached):
        one = lambda x: crps(predict(x[0], x[1]), x[2])[-1]  # noqa: E731
        return jax.lax.map(one, (states, actions, reached), batch_size=1024)

    return float(jnp.mean(run(predict, rows.state, rows.action, rows.next_state)))


def last(predict):
    """The marginal of the last dimension."""

    def marginal(state, action):
        joint = predict(state, action)
        return joint.marginal((joint.event_shape[0] - 1,))

    return marginal


def entropies(world, rows):
    """Entropy of the law at up to 1,000 held-out steps, in nats."""
    picked = np.linspace(0, len(rows) - 1, 1000).astype(int)

    @eqx.filter_jit
    def run(world, states, actions):
        return jax.vmap(world.entropy)(states, actions)

    return run(world, jnp.asarray(rows.state[picked]), jnp.asarray(rows.action[picked]))


def modes(mixture, world, rows, key) -> dict[str, float]:
    """Mode recall, precision and weight error on held-out steps."""
    picked = np.linspace(0, len(rows) - 1, MODE_POINTS).astype(int)
    report = mode_report(
        mixture,
        world.transition,
        rows.state[picked],
        rows.action[picked],
        tolerance=0.25 * np.std(rows.next_state - rows.state, axis=0),
        key=key,
    )
    return {f"mode_{k}" if k != "weight_error" else k: v for k, v in report._asdict().items()}


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/worlds.json"))
    parser.add_argument("--world", choices=TASKS, help="only this world")
    args = parser.parse_args()
    results, met = {}, True
    for name, task in TASKS.items():
        if args.world not in (None, name):
            continue
        results[name] = [measure(task, seed) for seed in range(args.seeds)]
        title = f"{task.env_id}: {task.train_steps} transitions"
        met = over_seeds(title, results[name], task.targets) and met
    write(args.out, results)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
