"""Learn the slippery FrozenLake, whose futures are discrete, and imagine where the ice takes us.

    python examples/learn_frozen_lake.py

STOCHWM_FAST=1 runs it at a very small size, to show that it works.
"""

import argparse
import os
import tempfile
from pathlib import Path

from stochwm import LearnConfig, learn

FAST = os.environ.get("STOCHWM_FAST") == "1"


def main() -> None:
    """Learn, and print what came out."""
    show_help = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=show_help).parse_args()
    config = LearnConfig(
        "FrozenLake-v1",
        steps=1_500 if FAST else 20_000,
        updates=100 if FAST else 4_000,
        width=32,
        horizons=(1, 2, 5),
    )
    out = Path(tempfile.mkdtemp()) / "frozen-lake"
    run = learn(config, out, progress=not FAST)
    print(run.cards["model"])
    print("\n".join(run.metrics["sentences"]))
    print("the slippery ice has an entropy of about 0.99 nats a step under random actions")
    print(f"report: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
