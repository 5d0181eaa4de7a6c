"""How many steps of an environment an agent needs: Dreamer beside PPO.

    python benchmarks/sample_efficiency.py --seeds 3 --only cartpole

cartpole   CartPole-v1, `v3_tiny`, 12,000 steps; PPO 60,000, and 500,000 with the constants of most
           public code (`ppo_customary`), by which the aim goes.
pendulum   Pendulum-v1, `v3_tiny`, 15,000 steps; PPO 60,000 with gamma 0.9.
doors      Doors, `v3_tiny` with an entropy weight of 0.02, 12,000 steps; PPO 40,000. The best
           return is 5; how random the dreams are is measured by `chance.py`.

An agent has reached a return when the episodes that ended within its last 2,000 steps return that
much on average; `reached` is after how many steps, as large as the whole run where it never was,
`best` the best such average, and `ratio` how many times as many steps as Dreamer it took. Returns
are those of the sampling policy while it learns. Prints a table with the spread over seeds, writes
JSON, draws the returns against steps and against seconds in `results/sample_efficiency_TASK.png`,
and exits with 1 if a target is missed.
"""

import sys
import time
from functools import partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from _report import RESULTS, run_tasks

from stochwm.agents import (
    DreamerConfig,
    PPOConfig,
    ppo_customary,
    train_dreamer,
    train_ppo,
    v3_tiny,
)
from stochwm.envs import Doors

WINDOW = 2_000
Config = DreamerConfig | PPOConfig


class Average(NamedTuple):
    """The mean return of the episodes that ended within the last `WINDOW` steps."""

    env_steps: int
    seconds: float
    mean_return: float


def compare(
    name: str, env: Any, agents: dict[str, tuple[Config, int]], goal: float, seed: int
) -> dict[str, float]:
    """What each agent, of so many steps, reaches on one environment and one seed."""
    histories, seconds = {}, {}
    for agent, (config, steps) in agents.items():
        train: Any = train_ppo if isinstance(config, PPOConfig) else train_dreamer
        started = time.perf_counter()
        histories[agent] = train(env, config, steps=steps, seed=seed).history
        seconds[agent] = time.perf_counter() - started
    averages = {agent: trailing(history) for agent, history in histories.items()}
    draw(name, averages, seed)
    result = {}
    for agent, history in histories.items():
        reached = [one.env_steps for one in averages[agent] if one.mean_return >= goal]
        result[f"{agent}_best"] = max(one.mean_return for one in averages[agent])
        result[f"{agent}_reached"] = float(reached[0] if reached else history[-1]["env_steps"])
        result[f"{agent}_seconds"] = seconds[agent]
    baselines = [agent for agent in agents if agent != "dreamer"]
    ratios = {f"ratio_{a}": result[f"{a}_reached"] / result["dreamer_reached"] for a in baselines}
    return result | ratios


def trailing(history: list[dict]) -> list[Average]:
    """The average after each row of a history; none where no episode has ended, or too early."""
    averages = []
    for i, row in enumerate(history):
        since = row["env_steps"] - WINDOW
        rows = [r for r in history[: i + 1] if r["env_steps"] > since and r["episodes"]]
        number = sum(r["episodes"] for r in rows)
        if since >= 0 and number:
            total = sum(r["episodes"] * r["mean_return"] for r in rows)
            averages.append(Average(row["env_steps"], row["seconds"], total / number))
    return averages


def draw(name: str, averages: dict[str, list[Average]], seed: int) -> None:
    """Returns against steps and seconds; seeds are added to one figure."""
    figure = plt.figure(name, figsize=(9, 3.5), layout="constrained")
    panels = figure.axes or figure.subplots(1, 2, sharey=True)
    for panel, axis, label in zip(
        panels, ("env_steps", "seconds"), ("steps of the environment", "seconds"), strict=True
    ):
        for number, (agent, of_agent) in enumerate(averages.items()):
            x, y = ([getattr(one, name) for one in of_agent] for name in (axis, "mean_return"))
            panel.plot(x, y, color=f"C{number}", alpha=0.7, label=agent if seed == 0 else None)
        panel.set(xlabel=label, xscale="log")
    panels[0].set_ylabel(f"mean return over {WINDOW:,} steps")
    panels[0].legend()
    RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(RESULTS / f"sample_efficiency_{name}.png", dpi=120)


CURIOUS = v3_tiny(entropy=0.02)  # returns are below 10 here, and 3e-4 is then next to nothing
TASKS = {
    "cartpole": (
        partial(
            compare,
            "cartpole",
            "CartPole-v1",
            {
                "dreamer": (v3_tiny(), 12_000),
                "ppo": (PPOConfig(), 60_000),
                "customary": (ppo_customary(), 500_000),
            },
            450.0,
        ),
        {
            "dreamer_best": (">=", 450.0),
            "dreamer_seconds": ("<=", 360.0),
            "ratio_customary": (">=", 8.0),
        },
    ),
    "pendulum": (
        partial(
            compare,
            "pendulum",
            "Pendulum-v1",
            {"dreamer": (v3_tiny(), 15_000), "ppo": (PPOConfig(gamma=0.9), 60_000)},
            -250.0,
        ),
        {"dreamer_best": (">=", -250.0)},
    ),
    "doors": (
        partial(
            compare,
            "doors",
            Doors(),
            {"dreamer": (CURIOUS, 12_000), "ppo": (PPOConfig(), 40_000)},
            4.75,
        ),
        {"dreamer_best": (">=", 4.75)},
    ),
}


if __name__ == "__main__":
    sys.exit(run_tasks(__doc__.splitlines()[0], "sample_efficiency", TASKS))
