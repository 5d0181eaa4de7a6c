"""A contest: each contestant in a process of its own, warm, run in turns (A B C A B C ...).

A contestant is a script that calls `serve`. It needs nothing but the standard library of this file,
so that a peer may live in another environment.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SETTLE = 0.2
"""Seconds between turns: threads of who ran before spin for a while, and would take the cores of
who is next. So every turn begins with a run that does not count."""


class Contestant(NamedTuple):
    """Who competes."""

    name: str
    script: str
    """A file in `contestants/`."""
    options: dict[str, Any]
    """What its `prepare` is called with."""
    python: str = sys.executable


class Result(NamedTuple):
    """What one contestant needed."""

    seconds: list[float]
    compile_s: float
    """From nothing to the end of the first run."""
    memory_mb: float
    """Peak resident memory of the process."""
    extra: dict[str, Any]

    @property
    def median(self) -> float:
        """Of the seconds of a run."""
        return statistics.median(self.seconds)


def contest(contestants: list[Contestant], rounds: int) -> dict[str, Result]:
    """Let everybody run `rounds` times, one at a time and in turns; the first round is warm-up."""
    started: list[_Process] = []
    try:
        for contestant in contestants:  # one after the other: nobody compiles while another does
            started.append(_Process(contestant))
            started[-1].prepare()
        for _ in range(rounds + 1):
            for process in started:
                time.sleep(SETTLE)
                process.run()
        return {process.name: process.result() for process in started}
    finally:
        for process in started:
            process.kill()


def ratio(results: dict[str, Result], slow: str, fast: str) -> float:
    """How many times as fast: the median over rounds of the ratio within a round."""
    pairs = zip(results[slow].seconds, results[fast].seconds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def serve(prepare: Callable[..., tuple[Callable[[], Any], dict[str, Any]]]) -> None:
    """What a contestant does: prepare, then run once for every line that comes in.

    `prepare(**options) -> (run, extra)`; `run` must not return before its result is there.
    """
    start = time.perf_counter()
    run, extra = prepare(**json.loads(sys.argv[1]))
    begun = time.perf_counter()
    run()
    now = time.perf_counter()
    _say({"prepare_s": begun - start, "first_s": now - begun, "extra": extra})
    for _ in sys.stdin:
        run()  # wakes threads and caches up
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        _say({"seconds": seconds, "memory_mb": memory})


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


class _Process:
    def __init__(self, contestant: Contestant):
        self.name = contestant.name
        command = [contestant.python, str(HERE / "contestants" / contestant.script)]
        self._process = subprocess.Popen(
            [*command, json.dumps(contestant.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(HERE)},
            text=True,
        )
        self._first: dict[str, Any] = {}
        self._rows: list[dict[str, Any]] = []

    def prepare(self) -> None:
        self._first = self._read()

    def run(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        self._rows.append(self._read())

    def result(self) -> Result:
        rows = self._rows[1:]
        return Result(
            seconds=[row["seconds"] for row in rows],
            compile_s=self._first["extra"].pop("compile_s", self._first["first_s"]),
            memory_mb=rows[-1]["memory_mb"],
            extra=self._first["extra"],
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.name} ended before its turn; what it printed is above.")
