"""Does disagreement know the unseen: does a planner keep away from it, and an explorer seek it?

    python benchmarks/drift_unseen.py [--seeds 3] [--out FILE] [--only NAME]

cliff            A reward that rises towards a cliff that the data never cross. AUROC of measures
                 between held-out states and the same states moved beyond it; share of 50 real
                 episodes that fall, real return, and mean x, of planners (cross-entropy method,
                 planned again at each step) that are naive, watched by a guard fitted to
                 `FalseAlarm(0.1)`, or charged for disagreement. The guard has no target: it
                 promises few false alarms, not few falls, and where it trusts no step, a plan is
                 arbitrary.
noisy_tv         Exploration of NoisyTV for a bonus only: the share of 64 cells of the house that
                 was visited after half of the rounds and after all, over that of random actions
                 (four explorers, ten walkers), `time`, the share of the steps after which an
                 explorer has visited as many as a random walker in all of them, and the share of
                 steps spent watching the screen. A bonus for total variance has to fail; the
                 variance of means is shown beside it.
pendulum         The same of a pendulum that hangs: 256 cells of angle and speed.

The explorers learn from scratch before each round. Prints a table with the spread over seeds,
writes JSON, and exits with 1 if a target is missed. Seeds change everything.
"""

import sys
import tempfile

import jax
from _cliff import cliff
from _exploration import noisy_tv, pendulum
from _report import run_tasks

TASKS = {
    "cliff": (
        cliff,
        {
            "auroc_variance": (">=", 0.9),
            "auroc_information": (">=", 0.9),
            "falls_naive": (">=", 0.4),
            "falls_pessimistic": ("<=", 0.1),
            "x_mean_guard": (">=", 0.2),
            "x_mean_pessimistic": (">=", 0.2),
        },
    ),
    "noisy_tv": (
        noisy_tv,
        {
            "gain_total": ("<=", 1.0),
            "watched_total": (">=", 0.5),
            "gain_information": (">=", 1.0),
            "time_information": ("<=", 0.8),
            "watched_information": ("<=", 0.4),
        },
    ),
    "pendulum": (pendulum, {"gain_variance": (">=", 1.2), "gain_information": (">=", 1.2)}),
}


if __name__ == "__main__":
    # Each round fits anew: the programs are the same, and compiled once.
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        status = run_tasks(__doc__.splitlines()[0], "drift_unseen", TASKS)
    sys.exit(status)
