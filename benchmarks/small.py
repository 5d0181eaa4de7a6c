"""What do small calls cost: one plan of one state, and the import?

    python benchmarks/small.py [--rounds 9]

The plan is five steps of a small network from one state, so that nearly all of its time is the
price of calling a compiled program. Imports are timed in fresh processes, in turns.
"""

import statistics
import subprocess
import sys
import time

from _report import Target, arguments, finish

CALLS = 2000


def plan() -> dict[str, float]:
    """Milliseconds of a call through `jit` and `filter_jit`."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from stochwm import replay
    from stochwm.models import Markov
    from stochwm.transitions import Gaussian

    model = Markov(Gaussian(4, 1, width=32, key=jax.random.key(0)))
    arrays, static = eqx.partition(model, eqx.is_array)
    state, actions, key = jnp.zeros(4), jnp.zeros((5, 1)), jax.random.key(1)

    @jax.jit
    def plain(arrays, state, actions, key):
        return replay(eqx.combine(arrays, static), state, actions, key=key)[1].state

    @eqx.filter_jit
    def filtered(model, state, actions, key):
        return replay(model, state, actions, key=key)[1].state

    result = {}
    for name, run, first in (("jit", plain, arrays), ("filter_jit", filtered, model)):
        times = []
        for _ in range(CALLS):
            start = time.perf_counter()
            run(first, state, actions, key).block_until_ready()
            times.append(time.perf_counter() - start)
        result[name] = 1e3 * statistics.median(times)
    return result


def imports(rounds: int) -> float:
    """Seconds that `import stochwm` takes above `import jax, equinox`, the median of turns."""

    def seconds(what: str) -> float:
        code = (
            f"import time; t = time.perf_counter(); import {what}; print(time.perf_counter() - t)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        return float(done.stdout)

    return statistics.median(
        seconds("jax, equinox, stochwm") - seconds("jax, equinox") for _ in range(rounds + 1)
    )


def main() -> int:
    """Run, print, write."""
    args = arguments(__doc__.splitlines()[0], "small", 9).parse_args()
    calls = plan()
    targets = [Target(f"ms for a plan through {k}", v, "<=", 0.2) for k, v in calls.items()]
    targets.append(
        Target("seconds to import, above jax and equinox", imports(args.rounds), "<=", 0.2)
    )
    return finish(args.out, {"plan": calls}, targets)


if __name__ == "__main__":
    sys.exit(main())
