"""DreamerV1 and V2: do the presets learn, and is it the world model that they learn by?

    python benchmarks/presets.py --seeds 3 --only v1_pendulum

The presets on CartPole-v1 and on Pendulum-v1, 5,000 steps of the environment. `last` is the mean
return of the episodes that ended within the last 2,000 of them, under the sampling policy while it
learns. On Pendulum the actor of V2 learns through the dream, as its paper has it for continuous
actions, and steps are replayed twice as often as by default. `without_model` is the same where the
world model keeps its initial weights, and actor and critic learn as before: if that is as good, the
agent did not learn by its model. Prints a table with the spread over seeds, writes JSON, and exits
with 1 if a target is missed.
"""

import sys
import time
from functools import partial
from typing import Any

from _report import run_tasks
from sample_efficiency import trailing

from stochwm.agents import train_dreamer, v1_tiny, v2_tiny
from stochwm.agents.dreamer_presets import three_adams

STEPS = 5_000


def measure(make: Any, env: str, seed: int) -> dict[str, float]:
    """The preset, and the preset without a model that learns."""
    still = make(optimizer=partial(three_adams, model=0.0))
    started = time.perf_counter()
    result = {"last": last(env, make(), seed)}
    result["seconds"] = time.perf_counter() - started
    return result | {"without_model": last(env, still, seed)}


def last(env: str, config: Any, seed: int) -> float:
    """Mean return at the end of a run."""
    return trailing(train_dreamer(env, config, steps=STEPS, seed=seed).history)[-1].mean_return


def task(make: Any, env: str, goal: float) -> tuple[Any, dict]:
    """One preset on one environment, and what it must reach there."""
    return partial(measure, make, env), {"last": (">=", goal), "without_model": ("<=", goal)}


CARTPOLE, PENDULUM = ("CartPole-v1", 150.0), ("Pendulum-v1", -600.0)
TASKS = {
    "v1_cartpole": task(v1_tiny, *CARTPOLE),
    "v1_pendulum": task(v1_tiny, *PENDULUM),
    "v2_cartpole": task(v2_tiny, *CARTPOLE),
    "v2_pendulum": task(partial(v2_tiny, dynamics_gradient=True, train_ratio=256.0), *PENDULUM),
}


if __name__ == "__main__":
    sys.exit(run_tasks(__doc__.splitlines()[0], "presets", TASKS))
