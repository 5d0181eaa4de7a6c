"""How fast is a training step of an ensemble? Ours beside mbrl-lib and plain Equinox.

    python benchmarks/training.py [--peer-python PYTHON] [--rounds 9] [--members 5 6]

Batch 256, hidden layers of 200 units, Adam; one run is 50 steps. Ours draws its batches in the
timed loop, the others are handed one. See imagination.py for how contestants take turns.
"""

import sys

from _contest import Contestant, contest, ratio
from _report import Target, arguments, as_json, finish, table


def training(task: str, members: int, args) -> tuple[dict, list[Target]]:
    """Fifty steps of everybody."""
    base = {"task": task, "members": members}
    contestants = [
        Contestant("ours", "ours_training.py", base | {"devices": args.devices}),
        Contestant("ours, one device", "ours_training.py", base | {"devices": 1}),
        Contestant("plain Equinox", "plain_training.py", base),
    ]
    if args.peer_python:
        contestants.append(Contestant("mbrl-lib", "mbrl_training.py", base, args.peer_python))
    results = contest(contestants, args.rounds)
    title = f"{task} size, {members} members, 50 steps"
    table(title, results)
    if not args.peer_python:
        return as_json(results), []
    bound = 2.0 if members % 2 else 2.5
    times = ratio(results, "mbrl-lib", "ours")
    return as_json(results), [Target(f"{title}: times mbrl-lib", times, ">=", bound)]


def main() -> int:
    """Run, print, write."""
    parser = arguments(__doc__.splitlines()[0], "training", 9)
    parser.add_argument("--members", type=int, nargs="+", default=[5, 6])
    parser.add_argument("--tasks", nargs="+", default=["halfcheetah"])
    args = parser.parse_args()
    contests, targets = {}, []
    for task in args.tasks:
        for members in args.members:
            contests[f"{task}, {members}"], found = training(task, members, args)
            targets += found
    return finish(args.out, contests, targets)


if __name__ == "__main__":
    sys.exit(main())
