"""How fast does a recurrent state-space model dream? Ours beside bare PyTorch and plain Equinox.

    python benchmarks/rssm.py [--peer-python PYTHON] [--rounds 9] [--sizes size1m size12m]

1,024 dreams of 15 steps at the sizes of DreamerV3 (32 latents, 8 blocks, RMS norms and SiLU, 1 %
unimix). Every contestant draws an action from the same actor (3 layers), moves the state, draws the
latent from the prior (2 layers), predicts reward (1 layer, 255 bins) and discount (1 layer), and
keeps states, actions, rewards and discounts of all steps. Nothing is decoded, no gradient taken.
The contest runs as in imagination.py; PyTorch runs with one thread and with all, the faster counts.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from _contest import Contestant, Result, contest, ratio
from _report import Target, arguments, as_json, finish, table

sys.path.insert(0, str(Path(__file__).parent / "contestants"))
import _shapes_rssm as shapes

OURS, PLAIN, PEAK = "stochwm", "plain Equinox", "matrix products alone"
TARGETS = {"size1m": (3.0, 2.0), "size12m": (1.8, 1.5)}
"""Against PyTorch and against plain Equinox, by size."""


def race(size: str, args) -> tuple[dict, list[Target]]:
    """Who dreams how fast at one size."""
    base = {"size": size}
    contestants = [
        Contestant(OURS, "ours_rssm.py", base | {"devices": args.devices}),
        Contestant("stochwm, one device", "ours_rssm.py", base | {"devices": 1}),
        Contestant(PLAIN, "plain_rssm.py", base),
        Contestant(PEAK, "gemm.py", {"particles": 1000, "devices": args.devices}),
    ]
    if args.peer_python:
        contestants += [
            Contestant(
                _torch(threads), "torch_rssm.py", base | {"threads": threads}, args.peer_python
            )
            for threads in sorted({1, args.devices})
        ]
    results = contest(contestants, args.rounds)
    peak = results[PEAK].extra["peak_gflops"]
    work = shapes.flops(shapes.SIZES[size]) / 1e9
    rates = {name: work / result.median / peak for name, result in results.items() if name != PEAK}
    number = shapes.parameters(shapes.SIZES[size])
    table(
        f"{size}: {number / 1e6:.2f} million weights, {shapes.PARTICLES} dreams of "
        f"{shapes.HORIZON} steps (peak {peak:.0f} GFLOP/s)",
        results,
        rates,
    )
    against_torch, against_plain = TARGETS[size]
    targets = [
        Target(f"{size}: times plain Equinox", ratio(results, PLAIN, OURS), ">=", against_plain)
    ]
    if args.peer_python:
        value = ratio(results, _fastest_torch(results), OURS)
        targets.append(Target(f"{size}: times PyTorch", value, ">=", against_torch))
    return as_json(results), targets


def agreement(size: str, args) -> list[Target]:
    """The first step without its draws: all contestants compute the same from the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: str(Path(folder) / f"{name}.npz")  # noqa: E731
        runs = [
            Contestant(OURS, "ours_rssm.py", {"size": size, "devices": 1, "out": path(OURS)}),
            Contestant(PLAIN, "plain_rssm.py", {"size": size, "out": path(PLAIN)}),
        ]
        if args.peer_python:
            options = {"size": size, "threads": 1, "out": path("torch")}
            runs.append(Contestant("torch", "torch_rssm.py", options, args.peer_python))
        contest(runs, rounds=1)
        firsts = {run.name: list(np.load(path(run.name)).values()) for run in runs}
    ours = firsts.pop(OURS)
    far = lambda a, b: float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b))))  # noqa: E731
    return [
        Target(f"{size}: difference to {name}", max(map(far, ours, first)), "<=", 1e-4)
        for name, first in firsts.items()
    ]


def _torch(threads: int) -> str:
    return f"torch, threads: {threads}"


def _fastest_torch(results: dict[str, Result]) -> str:
    names = [name for name in results if name.startswith("torch")]
    return min(names, key=lambda name: results[name].median)


def main() -> int:
    """Run, print, write."""
    parser = arguments(__doc__.splitlines()[0], "rssm", 9)
    parser.add_argument("--sizes", choices=shapes.SIZES, nargs="+", default=list(shapes.SIZES))
    args = parser.parse_args()
    contests, targets = {}, []
    for size in args.sizes:
        targets += agreement(size, args)
        contests[size], found = race(size, args)
        targets += found
    return finish(args.out, contests, targets)


if __name__ == "__main__":
    sys.exit(main())
