"""One step of a real robot: our ensembles beside mbrl-lib's, trained on the same transitions.

    python benchmarks/hopper.py --peer-python PYTHON [--seeds 3] [--out FILE]

PYTHON has mbrl-lib and torch. Half of the data are random actions, half a scripted gait. Prints NLL
(nats a step) and CRPS (standard deviations of the change of state, mean over dimensions) on
held-out episodes, writes JSON, and exits with 1 if ours are worse. Seeds change everything.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _report import write

from stochwm.calibration import crps
from stochwm.data import Episodes, Transitions, collect, standardisers
from stochwm.distributions import DiagNormal, UniformMixture
from stochwm.training import default_optimizer, fit
from stochwm.transitions import Ensemble, Gaussian, MixtureDensity, Standardised

ENV_ID, HALF, FRACTIONS = "Hopper-v5", 25_000, (0.8, 0.1, 0.1)
MEMBERS, WIDTH, DEPTH, COMPONENTS = 5, 200, 4, 5
UPDATES = 10_000
PEER = Path(__file__).parent / "contestants" / "mbrl_hopper.py"


def gait(state, *, key):
    """A scripted policy: joints are pulled towards a crouch, with noise to look around."""
    angles, speeds = state[2:5], state[8:11]
    wanted = jnp.array([-0.3, -0.6, 0.4]) * jnp.sin(8 * state[0])
    torque = 2.0 * (wanted - angles) - 0.2 * speeds
    return jnp.clip(torque + 0.3 * jax.random.normal(key, (3,)), -1.0, 1.0)


def gather(seed: int) -> dict[str, Transitions]:
    """Train, validation and test transitions of both policies, split by episode."""
    both = [
        collect(ENV_ID, policy, steps=HALF, seed=2 * seed + i, progress=False)
        for i, policy in enumerate((None, gait))
    ]
    parts = Episodes.concatenate(both).split(FRACTIONS, seed=seed)
    spaces = parts[0].observation_space, parts[0].action_space
    rows = dict(zip(("train", "validation", "test"), (p.transitions() for p in parts), strict=True))
    return rows | {"statistics": standardisers(rows["train"], *spaces)}


def train(kind: type, data: dict, seed: int) -> Ensemble:
    """Five kernels of one kind."""
    sizes = data["train"].state.shape[1], data["train"].action.shape[1]
    options = {"num_components": COMPONENTS} if kind is MixtureDensity else {}

    def make(key):
        kernel = kind(*sizes, width=WIDTH, depth=DEPTH, **options, key=key)
        return Standardised(kernel, *data["statistics"])

    key_model, key_fit = jax.random.split(jax.random.key(seed))
    return fit(
        Ensemble(make, MEMBERS, key=key_model),
        data["train"],
        optimizer=default_optimizer(UPDATES, learning_rate=1e-3),
        key=key_fit,
        validation=data["validation"],
        steps=UPDATES,
        evaluate_every=250,
        bootstrap=False,
        progress=False,
    ).model


def peer(python: str, data: dict, seed: int) -> UniformMixture:
    """What mbrl-lib's ensemble predicts at the test steps, one stack of predictions."""
    with tempfile.TemporaryDirectory() as folder:
        arrays, out = Path(folder) / "data.npz", Path(folder) / "out.npz"
        names = ("state", "action", "next_state")
        parts = ("train", "validation", "test")
        np.savez(arrays, **{f"{p}_{x}": getattr(data[p], x) for p in parts for x in names})
        subprocess.run([python, PEER, arrays, out, str(seed)], check=True)
        predicted = np.load(out)
        members = DiagNormal(*(jnp.asarray(predicted[x]).swapaxes(0, 1) for x in ("loc", "scale")))
    return eqx.filter_vmap(UniformMixture)(members)


@eqx.filter_jit
def scores(predictions, reached, unit):
    """Mean NLL and CRPS of stacked predictions."""

    def one(pair):
        prediction, value = pair
        return -prediction.log_prob(value), jnp.mean(crps(prediction, value) / unit)

    nll, error = jax.lax.map(one, (predictions, reached), batch_size=512)
    return jnp.mean(nll), jnp.mean(error)


def measure(python: str, seed: int) -> dict[str, dict[str, float]]:
    """All contestants on one seed."""
    data = gather(seed)
    test, unit = data["test"], data["statistics"][2].scale
    result = {}
    for name in ("mixture", "gaussian", "mbrl"):
        start = time.perf_counter()
        if name == "mbrl":
            predictions = peer(python, data, seed)
        else:
            model = train(MixtureDensity if name == "mixture" else Gaussian, data, seed)
            states, actions = jnp.asarray(test.state), jnp.asarray(test.action)
            predictions = eqx.filter_jit(eqx.filter_vmap(model))(states, actions)
        nll, error = scores(predictions, jnp.asarray(test.next_state), unit)
        seconds = time.perf_counter() - start
        result[name] = {"nll": float(nll), "crps": float(error), "seconds": seconds}
        print(f"  seed {seed}: {name:<10}{float(nll):>10.3f}{float(error):>10.4f}{seconds:>8.0f} s")
    return result


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/hopper.json"))
    args = parser.parse_args()
    runs = [measure(args.peer_python, seed) for seed in range(args.seeds)]
    print(f"\n{ENV_ID}, {2 * HALF} transitions, {args.seeds} seeds: mean [least, greatest]")
    for name in runs[0]:
        for metric in ("nll", "crps"):
            values = [run[name][metric] for run in runs]
            spread = f"[{min(values):.4f}, {max(values):.4f}]"
            print(f"  {name:<10}{metric:<6}{statistics.mean(values):>10.4f}  {spread}")
    ours = [{m: run["mixture"][m] <= run["mbrl"][m] for m in ("nll", "crps")} for run in runs]
    missed = not all(all(run.values()) for run in ours)
    print(f"ours no worse on every seed: {'MISSED' if missed else 'met'}")
    write(args.out, runs)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
