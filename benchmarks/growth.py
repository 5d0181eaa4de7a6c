"""How do time and memory grow with particles, horizon and members?

    python benchmarks/growth.py [--devices 2] [--most 1000000]

TS-infinity through an ensemble of halfcheetah size (17+6 dimensions, 4 hidden layers of 200 units),
of which only the last states are kept. *Temporary memory* is what XLA reserves for the compiled
program beside its arguments and results. The exponent is that of time, fitted by least squares to
the logarithms of the upper half of each table, where fixed costs matter less.
"""

import sys
import time

import numpy as np
from _report import Target, arguments, finish

HORIZON, MEMBERS, PARTICLES = 15, 5, 1000


def measure(particles: int, horizon: int, members: int, devices: int) -> dict[str, float]:
    """Seconds, seconds to compile, and megabytes, of one rollout."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from stochwm import imagine_tsinf
    from stochwm.models import Markov
    from stochwm.transitions import Ensemble, Gaussian, Standardised, Standardiser

    still = [Standardiser(jnp.zeros(n), scale * jnp.ones(n)) for n, scale in SCALES]
    make = lambda key: Standardised(Gaussian(17, 6, width=200, depth=4, key=key), *still)  # noqa: E731
    model = Markov(Ensemble(make, members, key=jax.random.key(0)))
    policy = lambda state, *, key: jnp.tanh(state[:6])  # noqa: E731
    arrays, static = eqx.partition(model, eqx.is_array)

    @jax.jit
    def rollout(arrays, states, key):
        model = eqx.combine(arrays, static)
        options = {"key": key, "length": horizon, "devices": devices}
        return imagine_tsinf(model, policy, states, save=lambda state: None, **options)[0]

    states = jnp.ones((particles, 17))
    start = time.perf_counter()
    compiled = rollout.lower(arrays, states, jax.random.key(1)).compile()
    compile_s = time.perf_counter() - start
    jax.block_until_ready(compiled(arrays, states, jax.random.key(1)))
    seconds = []
    while len(seconds) < 3 or (sum(seconds) < 1 and len(seconds) < 30):
        start = time.perf_counter()
        jax.block_until_ready(compiled(arrays, states, jax.random.key(1)))
        seconds.append(time.perf_counter() - start)
    memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return {"seconds": float(np.median(seconds)), "compile_s": compile_s, "temporary_mb": memory}


SCALES = ((17, 1.0), (6, 1.0), (17, 0.1))


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Of time in size, over the upper half."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0])


def main() -> int:
    """Run, print, write."""
    parser = arguments(__doc__.splitlines()[0], "growth", 1)
    parser.add_argument("--most", type=int, default=1_000_000, help="particles at most")
    args = parser.parse_args()
    import stochwm

    stochwm.use_host_devices(args.devices)
    axes = {
        "particles": [n for n in (100, 1000, 10_000, 100_000, 1_000_000) if n <= args.most],
        "horizon": [1, 3, 10, 30, 100, 300, 1000],
        "members": [1, 2, 5, 10, 20],
    }
    contests, found = {}, {}
    for axis, sizes in axes.items():
        print(f"\n{axis:>10}{'time':>14}{'compile':>10}{'temporary':>12}")
        rows = []
        for size in sizes:
            base = {"particles": PARTICLES, "horizon": HORIZON, "members": MEMBERS}
            rows.append(measure(**(base | {axis: size}), devices=args.devices))
            row = rows[-1]
            print(
                f"{size:>10}{1e3 * row['seconds']:>11.1f} ms{row['compile_s']:>8.2f} s"
                f"{row['temporary_mb']:>9.1f} MB",
                flush=True,
            )
        found[axis] = exponent(sizes, [row["seconds"] for row in rows])
        print(f"time grows as {axis}^{found[axis]:.2f}")
        contests[axis] = [{"size": size} | row for size, row in zip(sizes, rows, strict=True)]
    memory = {
        axis: [row["temporary_mb"] for row in contests[axis]] for axis in ("particles", "horizon")
    }
    targets = [
        Target(f"MB at {axes['particles'][-1]} particles", memory["particles"][-1], "<=", 200),
        Target(
            "temporary memory, horizon 1000 over 10",
            memory["horizon"][-1] / memory["horizon"][2],
            "<=",
            1.5,
        ),
        *(Target(f"exponent of {axis}", value, "<=", 1.1) for axis, value in found.items()),
    ]
    return finish(args.out, contests, targets)


if __name__ == "__main__":
    sys.exit(main())
