"""How fast are a thousand futures? Ours beside mbrl-lib, PyTorch, distrax and plain Equinox.

    python benchmarks/imagination.py [--peer-python PYTHON] [--rounds 15] [--particles 1000 10000]

Contestants run warm, in processes of their own and in turns; a ratio is the median over turns of
the ratio within a turn. mbrl-lib and PyTorch live in an environment of their own (see README.md);
without `--peer-python` they are left out.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from _contest import Contestant, contest, ratio
from _report import Target, arguments, as_json, finish, table

sys.path.insert(0, str(Path(__file__).parent / "contestants"))
import _shapes

ENSEMBLE_TARGETS = {1000: (2.0, 1.4, 0.55), 10_000: (2.2, 1.15, 0.60)}
"""Against mbrl-lib, against plain Equinox, and of the peak, by particles."""


def ensemble(particles: int, args) -> tuple[dict, list[Target]]:
    """TS-infinity and TS-1 through an ensemble of halfcheetah size."""
    task = "halfcheetah"
    base = {"task": task, "particles": particles}
    ours = base | {"devices": args.devices}
    contestants = [
        Contestant("ours, TS-infinity", "ours_ensemble.py", ours),
        Contestant("ours, TS-1", "ours_ensemble.py", ours | {"way": "imagine_ts1"}),
        Contestant("ours, one device", "ours_ensemble.py", base | {"devices": 1}),
        Contestant("states not kept", "ours_ensemble.py", ours | {"record": "states off"}),
        Contestant("distributions kept", "ours_ensemble.py", ours | {"record": "distributions"}),
        Contestant("plain Equinox", "plain_ensemble.py", base),
        Contestant(
            "matrix products alone",
            "gemm.py",
            {"particles": particles, "devices": args.devices},
        ),
    ]
    if args.peer_python:
        contestants.insert(0, Contestant("mbrl-lib", "mbrl_ensemble.py", base, args.peer_python))
    results = contest(contestants, args.rounds)
    peak = results["matrix products alone"].extra["peak_gflops"]
    work = _shapes.flops(particles, task, 2 * _shapes.SIZES[task][0]) / 1e9
    rates = {
        name: work / result.median / peak
        for name, result in results.items()
        if name != "matrix products alone"
    }
    title = f"ensemble of {_shapes.MEMBERS}, {particles} particles, {_shapes.HORIZON} steps"
    table(f"{title} (peak {peak:.0f} GFLOP/s)", results, rates)
    against, plain, share = ENSEMBLE_TARGETS.get(particles, (2.2, 1.15, 0.60))
    targets = [
        Target(
            f"{particles}: times plain Equinox", ratio(results, "plain Equinox", OURS), ">=", plain
        ),
        Target(f"{particles}: share of the peak", rates[OURS], ">=", share),
        Target(
            f"{particles}: TS-1 over TS-infinity", ratio(results, "ours, TS-1", OURS), "<=", 1.1
        ),
        Target(
            f"{particles}: keeping every state",
            ratio(results, OURS, "states not kept"),
            "<=",
            1.2,
        ),
        Target(
            f"{particles}: keeping every distribution",
            ratio(results, "distributions kept", "states not kept"),
            "<=",
            2.0,
        ),
    ]
    if args.peer_python:
        targets.insert(
            0,
            Target(f"{particles}: times mbrl-lib", ratio(results, "mbrl-lib", OURS), ">=", against),
        )
    return as_json(results), targets


OURS = "ours, TS-infinity"


def agreement(args) -> Target:
    """With the noise off, our particles end where mbrl-lib's do."""
    particles, task = 1000, "halfcheetah"
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder) / name) for name in ("ours.npy", "theirs.npz")}
        base = {"task": task, "particles": particles, "noise": False}
        ours = base | {"devices": args.devices, "out": files["ours.npy"]}
        theirs = base | {"out": files["theirs.npz"]}
        contest(
            [
                Contestant("ours", "ours_ensemble.py", ours),
                Contestant("theirs", "mbrl_ensemble.py", theirs, args.peer_python),
            ],
            rounds=1,
        )
        last = np.load(files["ours.npy"])
        peer = np.load(files["theirs.npz"])
        # mbrl-lib hands out members at random: compare the particles whose member is the same.
        same = peer["member"] == np.arange(particles) % _shapes.MEMBERS
        difference = np.abs(last[same] - peer["last"][same])
    error = float(np.max(difference / np.maximum(1.0, np.abs(peer["last"][same]))))
    return Target(f"noise off: difference to mbrl-lib ({same.sum()} particles)", error, "<=", 1e-5)


def mixture(particles: int, args) -> tuple[dict, list[Target]]:
    """A rollout of a mixture density that draws and scores at every step."""
    base = {"particles": particles}
    contestants = [
        Contestant("ours", "ours_mixture.py", base | {"devices": args.devices}),
        Contestant("ours, one device", "ours_mixture.py", base | {"devices": 1}),
        Contestant("distrax", "jax_mixture.py", base | {"head": "distrax"}),
        Contestant("network alone", "jax_mixture.py", base | {"head": "network"}),
    ]
    if args.peer_python:
        peer = Contestant("torch", "torch_mixture.py", base, args.peer_python)
        contestants.append(peer)
    results = contest(contestants, args.rounds)
    table(f"mixture of 5, {particles} particles, 15 steps, draw and log density", results)
    targets = [
        Target(f"{particles}: times distrax", ratio(results, "distrax", "ours"), ">=", 2.0),
        Target(
            f"{particles}: over the network alone",
            ratio(results, "ours", "network alone"),
            "<=",
            1.7,
        ),
        Target(f"{particles}: seconds to trace", results["ours"].extra["trace_s"], "<=", 0.1),
    ]
    if args.peer_python:
        targets.append(
            Target(f"{particles}: times torch", ratio(results, "torch", "ours"), ">=", 2.2)
        )
    return as_json(results), targets


def main() -> int:
    """Run, print, write."""
    parser = arguments(__doc__.splitlines()[0], "imagination", 15)
    parser.add_argument("--particles", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--only", choices=["ensemble", "mixture"])
    args = parser.parse_args()
    contests, targets = {}, []
    parts = {"ensemble": ensemble, "mixture": mixture}
    for name, part in parts.items():
        for particles in args.particles if args.only in (None, name) else []:
            contests[f"{name}, {particles}"], found = part(particles, args)
            targets += [target._replace(name=f"{name} {target.name}") for target in found]
    if args.peer_python and args.only in (None, "ensemble"):
        targets.append(agreement(args))
    return finish(args.out, contests, targets)


if __name__ == "__main__":
    sys.exit(main())
