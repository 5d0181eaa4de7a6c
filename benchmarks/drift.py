"""Until when can a dream be trusted? Measures of disagreement and promises against known laws.

    python benchmarks/drift.py [--seeds 3] [--out FILE] [--only NAME]

chicken_shift    Wet-Chicken: trained on a random policy, asked everywhere. AUROC (worst fifth) and
                 Spearman correlation of each measure with the true divergence of the distributions.
pendulum         Trained from slow starts, asked from fast ones; the same along rollouts of
                 50 steps, pooled and at fixed horizons, where a step counter knows nothing.
promises         `FalseAlarm`, `Coverage` and `Calibration` on 500 fresh episodes of four worlds:
                 how far a rate is above the promised one, in half-widths of its binomial 95 %
                 interval.
long             1,000 steps on Fork, Galton, Pendulum and Wet-Chicken: distance to the law with and
                 without a guard, after one-step and multi-step training, and trusted horizons
                 over those at which the law really leaves the model's regions too often, or is too
                 far away (by `Accuracy` of clouds on Pendulum, which is certain, else by
                 `Coverage`). What `Calibration` trusts is listed beside the latter: it speaks of
                 regions of 50 and 90 %, not of distances.
cost             Time of a watched rollout over that of a bare one, 5 members, 1,000 particles.

The truth is a distance between distributions, never the realised error: in a random world that
follows the noise. Prints a table with the spread over seeds, writes JSON, and exits with 1 if a
target is missed. Seeds change everything: data, initial weights, batches, test episodes.
"""

import sys

from _drift_cost import cost
from _drift_long import long
from _drift_promises import promises
from _drift_shift import chicken_shift, pendulum
from _report import run_tasks

TASKS = {
    "chicken_shift": (
        chicken_shift,
        {"auroc_information": (">=", 0.88), "spearman_information": (">=", 0.75)},
    ),
    "pendulum": (pendulum, {"auroc_cumulative_50": (">=", 0.979), "auroc_least": (">=", 0.5)}),
    "promises": (promises, {"over_most": ("<=", 1.0)}),
    "long": (
        long,
        {
            "ratio_least": (">=", 0.7),
            "above_most": ("<=", 0.1),
            "distance_ratio_least": (">=", 0.7),
            "distance_above_most": ("<=", 0.1),
            "excess_most": ("<=", 0.05),
        },
    ),
    "cost": (cost, {"default_most": ("<=", 1.15)}),
}


if __name__ == "__main__":
    sys.exit(run_tasks(__doc__.splitlines()[0], "drift", TASKS))
