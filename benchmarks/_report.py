"""Tables, targets and JSON that the benchmarks share."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from _contest import Result

RESULTS = Path(__file__).parent / "results"


class Target(NamedTuple):
    """A figure, and what it must reach."""

    name: str
    value: float
    sign: str
    bound: float

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.value <= self.bound if self.sign == "<=" else self.value >= self.bound

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"  {self.name:<58}{self.value:>9.3f}   {self.sign} {self.bound}: {verdict}"


def arguments(description: str, name: str, rounds: int) -> argparse.ArgumentParser:
    """What every speed benchmark understands."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each contestant")
    parser.add_argument("--devices", type=int, default=os.cpu_count(), help="host devices of ours")
    parser.add_argument("--peer-python", default=None, help="Python with mbrl and torch; or none")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    return parser


def table(title: str, results: dict[str, Result], rates: dict[str, float] | None = None) -> None:
    """Print one contest; `rates` are shares of the peak rate of matrix products."""
    print(f"\n{title}")
    print(f"  {'':<26}{'median':>10}{'least':>10}{'compile':>10}{'memory':>10}{'of peak':>9}")
    for name, result in results.items():
        share = f"{rates[name]:>8.0%}" if rates and name in rates else ""
        print(
            f"  {name:<26}{1e3 * result.median:>7.1f} ms{1e3 * min(result.seconds):>7.1f} ms"
            f"{result.compile_s:>8.2f} s{result.memory_mb:>7.0f} MB {share}"
        )


def over_seeds(
    title: str, runs: list[dict[str, float]], bounds: dict[str, tuple[str, float]]
) -> bool:
    """Print what each seed measured, with its spread, and return whether all bounds are met.

    `bounds` are signs and numbers by metric; the worst seed counts.
    """
    print(f"\n{title}, {len(runs)} seeds")
    print(f"{'':<22}{'mean':>10}{'min':>10}{'max':>10}   target (worst seed counts)")
    all_met = True
    for metric in runs[0]:
        values, verdict = [run[metric] for run in runs], ""
        if metric in bounds:
            sign, bound = bounds[metric]
            worst = max(values) if sign == "<=" else min(values)
            met = Target(metric, worst, sign, bound).met
            verdict, all_met = f"{sign} {bound}: {'met' if met else 'MISSED'}", all_met and met
        print(
            f"{metric:<22}{statistics.mean(values):>10.4f}{min(values):>10.4f}{max(values):>10.4f}"
            f"   {verdict}"
        )
    return all_met


def run_tasks(description: str, name: str, tasks: dict[str, tuple[Callable, dict]]) -> int:
    """Measure tasks over seeds as the command line asks for; 1 if a target is missed.

    Args:
        description: of the benchmark.
        name: of its file of results.
        tasks: by name: `measure(seed)`, which gives numbers by metric, and what they must reach.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument("--only", choices=tasks, help="only this task")
    args = parser.parse_args()
    results, met = {}, True
    for task, (measure, targets) in tasks.items():
        if args.only not in (None, task):
            continue
        results[task] = []
        for seed in range(args.seeds):
            results[task].append(measure(seed))
            jax.clear_caches()  # compiled programs take memory maps, of which a process has few
        met = over_seeds(task, results[task], targets) and met
    write(args.out, results)
    return int(not met)


def write(path: Path, results: Any) -> None:
    """Write JSON, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")


def finish(path: Path, contests: dict[str, Any], targets: list[Target]) -> int:
    """Print the targets, write JSON, and return 1 if one is missed."""
    print("\ntargets")
    for target in targets:
        print(target)
    report = {
        "machine": {"cores": os.cpu_count(), "processor": platform.machine()},
        "contests": contests,
        "targets": [target._asdict() | {"met": target.met} for target in targets],
    }
    write(path, report)
    return int(not all(target.met for target in targets))


def as_json(results: dict[str, Result]) -> dict[str, Any]:
    """What of a contest is kept."""
    return {name: result._asdict() for name, result in results.items()}
