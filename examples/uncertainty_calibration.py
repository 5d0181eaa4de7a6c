"""Learn the pendulum, ask whether its imagined futures are calibrated, and repair them.

    python examples/uncertainty_calibration.py

STOCHWM_FAST=1 runs it at a very small size, to show that it works.
"""

import argparse
import os
import tempfile
from pathlib import Path

import jax

from stochwm.calibration import evaluate, recalibrate
from stochwm.data import collect, standardisers
from stochwm.models import Markov
from stochwm.report import score_by_horizon
from stochwm.training import fit
from stochwm.transitions import Gaussian, Standardised

FAST = os.environ.get("STOCHWM_FAST") == "1"
HORIZONS = (1, 5) if FAST else (1, 2, 5, 10, 20)


def main() -> None:
    """Learn, judge, repair, judge again."""
    show_help = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=show_help).parse_args()
    episodes = collect("Pendulum-v1", steps=4_000 if FAST else 16_000, seed=0, progress=not FAST)
    # By episode, and four parts: what repairs a model must not have trained it, nor judge it.
    train, validation, holdout, test = episodes.split((0.25, 0.15, 0.3, 0.3), seed=0)
    scales = standardisers(train.transitions(), train.observation_space, train.action_space)
    kernel = Gaussian(3, 1, width=32, key=jax.random.key(0))
    fitted = fit(
        Standardised(kernel, *scales),
        train.transitions(),
        validation=validation.transitions(),
        steps=300 if FAST else 5_000,
        key=jax.random.key(1),
        progress=not FAST,
    )
    before = Markov(fitted.model)
    options = {"per": "horizon", "horizons": HORIZONS, "train": train}
    after = recalibrate(before, holdout, **options, key=jax.random.key(2))

    judge = {
        "horizons": HORIZONS,
        "metrics": ("coverage90", "energy"),
        "num_starts": 100 if FAST else 300,
        "key": jax.random.key(3),
    }
    cards = {
        name: evaluate(model, test, **judge).only("model")
        for name, model in {"before": before, "after": after}.items()
    }
    for name, card in cards.items():
        print(f"{name}\n{card}\n")

    picture = Path(tempfile.mkdtemp()) / "coverage.png"
    coverage = {name: card.series("coverage90") for name, card in cards.items()}
    figure = score_by_horizon(coverage, ylabel="share inside 90 % intervals (0.9 is right)")
    figure.savefig(picture, dpi=150)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
