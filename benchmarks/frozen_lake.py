"""How far are learned transitions of slippery FrozenLake from the exact ones?

    python benchmarks/frozen_lake.py [--seeds 3] [--out FILE]

Prints the cross-entropy of the learned categorical ensemble, exactly averaged over the states and
actions that random play with resets visits, beside the entropy rate of the lake, in nats. Writes
JSON, and exits with 1 if a seed is farther off than the target.
"""

import argparse
import sys
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from _report import write

from stochwm.data import collect
from stochwm.training import default_optimizer, fit
from stochwm.transitions import Categorical, Ensemble

ENV_ID, STEPS, UPDATES, TARGET = "FrozenLake-v1", 20_000, 4_000, 0.01


def table_of(env_id: str) -> tuple[dict, int]:
    """`table[state][action]`, a list of (probability, next, reward, terminated); steps allowed."""
    env = gymnasium.make(env_id)
    table, limit = env.unwrapped.P, env.spec.max_episode_steps
    env.close()
    return table, limit


def lake() -> tuple[np.ndarray, np.ndarray]:
    """Exact transitions `[state, action, next]`, and how often random play is in each state."""
    table, _ = table_of(ENV_ID)
    states, actions = len(table), len(table[0])
    exact = np.zeros((states, actions, states))
    chain = np.zeros((states, states))
    for s in range(states):
        for a in range(actions):
            for probability, reached, _, terminated in table[s][a]:
                exact[s, a, reached] += probability
                chain[s, 0 if terminated else reached] += probability / actions
    visits = np.full(states, 1 / states)
    for _ in range(10_000):
        visits = visits @ chain
    return exact, visits


def learn(seed: int) -> np.ndarray:
    """Learned transitions `[state, action, next]`, from random play."""
    parts = collect(ENV_ID, steps=STEPS, seed=seed, progress=False).split((0.9, 0.1), seed=seed)
    train, validation = (part.transitions() for part in parts)
    sizes = train.state.shape[1], train.action.shape[1]
    key_model, key_fit = jax.random.split(jax.random.key(seed))
    make = lambda key: Categorical(*sizes, groups=(sizes[0],), width=128, key=key)  # noqa: E731
    model = fit(
        Ensemble(make, 5, key=key_model),
        train,
        optimizer=default_optimizer(UPDATES),
        key=key_fit,
        validation=validation,
        steps=UPDATES,
        evaluate_every=200,
        progress=False,
    ).model
    predict = jax.vmap(jax.vmap(lambda s, a: model(s, a).mean(), (None, 0)), (0, None))
    return np.asarray(jax.jit(predict)(jnp.eye(sizes[0]), jnp.eye(sizes[1])), float)


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/frozen_lake.json"))
    args = parser.parse_args()
    exact, visits = lake()

    def against(probabilities) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = -np.where(exact > 0, exact * np.log(probabilities), 0.0).sum(-1).mean(-1)
        return float(visits @ surprise)

    entropy = against(exact)
    learned = [against(learn(seed)) for seed in range(args.seeds)]
    print(f"{ENV_ID}, {STEPS} transitions: entropy rate {entropy:.6f} nats")
    for seed, value in enumerate(learned):
        print(f"  seed {seed}: cross-entropy {value:.6f}, excess {value - entropy:.6f}")
    missed = max(learned) - entropy > TARGET
    print(f"worst excess <= {TARGET}: {'MISSED' if missed else 'met'}")
    write(args.out, {"entropy": entropy, "cross_entropy": learned})
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
