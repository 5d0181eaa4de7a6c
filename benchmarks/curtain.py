"""Does Dreamer remember, and are its dreams as uncertain as the world? `Curtain-v0`, from pixels.

    python benchmarks/curtain.py --seeds 3

Pictures of 32 x 32, `v3_chained`, 100,000 steps, from 40,000 on at a learning rate that falls to
zero. `return` is the mean over 2,000 episodes of the trained agent, which takes the most probable
latents and actions, and `of_optimal` its share of the best there is; without the lamp no more than
.54 of it can be had. `drawn` is the share where both are drawn, as in training. For the dreams, the
agent sees the first two pictures of an episode and dreams on, open loop under random actions, until
the ball comes out. Where it does is read off the decoded picture: the brightest place of the row
below the curtain, or *nowhere* if that is not half as bright as a ball.
`tv` is the total variation between 1,000 dreams, from starts and winds drawn as in the world, and
the exact law; `tv_each` the same for start, wind and outcome jointly, where no error can cancel
another. Both are also given in units of the sampling floor, the expected total variation of 1,000
draws from the law itself. Draws `results/curtain.png`: dreamed and true frequencies by start and
wind, of the last seed. Writes JSON, and exits with 1 if a target is missed.
"""

import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from _report import RESULTS, run_tasks

from stochwm import observe, replay
from stochwm.agents import WorldSource, acting, evaluate_policy, train_dreamer, v3_chained
from stochwm.envs import Curtain

WORLD = Curtain(cell=4)
STEPS, EPISODES, COPIES, DREAMS = 100_000, 2_000, 250, 1_000
SEEN = 2  # pictures that come before a dream
CONFIG = v3_chained(imagined_steps=8, entropy=0.03, settle=(40_000, STEPS))


def measure(seed: int) -> dict[str, float]:
    """Train one agent; how well it plays, and what it dreams."""
    started = time.perf_counter()
    agent = train_dreamer(WORLD, CONFIG, steps=STEPS, seed=seed).agent
    result = {"seconds": time.perf_counter() - started}
    best = float(WORLD.optimal_value())
    result["return"] = play(agent, jax.random.key(seed), greedy=True)
    result["of_optimal"] = result["return"] / best
    result["drawn"] = play(agent, jax.random.key(seed), greedy=False) / best
    counts = dream_counts(agent.model, jax.random.key(seed))
    draw(counts)
    return result | distances(counts, np.random.default_rng(seed))


def play(agent: Any, key: Any, *, greedy: bool) -> float:
    """Mean return of the agent, without learning."""
    source = WorldSource(WORLD, COPIES)
    act, memory = acting(agent, source, greedy=greedy)
    ended = evaluate_policy(source, act, agent, episodes=EPISODES, key=key, memory=memory)
    return float(np.mean([episode.total for episode in ended]))


def dream_counts(model: Any, key: Any) -> np.ndarray:
    """How many of `DREAMS` dreams came out where, `[winds, starts, columns + 1]`; last: nowhere."""
    found = jax.device_get(_dreams(model, jax.random.split(key, DREAMS)))
    counts = np.zeros((2, len(WORLD.starts), WORLD.columns + 1))
    np.add.at(counts, found, 1)
    return counts


@eqx.filter_jit
def _dreams(model, keys):
    return jax.vmap(lambda key: _dream(model, key))(keys)


def _dream(model, key):
    """Wind, number of the start, and outcome, of one dream."""
    key_start, key_plan, key_world, key_seen, key_dream = jax.random.split(key, 5)
    emerges = WORLD.rows - 2
    plan = jax.nn.one_hot(jax.random.randint(key_plan, (emerges,), 0, 3), 3)
    first = WORLD.initial().sample(seed=key_start)
    states = jnp.stack([first, WORLD.law(first, plan[0]).sample(seed=key_world)])
    begins = jnp.arange(SEEN) == 0
    (state, _), _ = observe(model, WORLD.emit(states), plan[:SEEN], begins, key=key_seen)
    last, _ = replay(model, state, plan[SEEN - 1 :], key=key_dream, save=lambda state: None)
    shape = (WORLD.rows, WORLD.cell, WORLD.columns, WORLD.cell)
    row = model.decode(last).mean().reshape(shape)[emerges].mean((0, 2))
    column, wind = (jnp.argmax(first[i : i + n]) for i, n in _COLUMN_AND_WIND)
    outcome = jnp.where(row.max() < 255 / 2, WORLD.columns, jnp.argmax(row))
    return wind, column - WORLD.starts.start, outcome


_COLUMN_AND_WIND = ((WORLD.rows, WORLD.columns), (WORLD.rows + WORLD.columns, 2))


def law() -> np.ndarray:
    """The exact probability of each count of `dream_counts`."""
    cells = [[WORLD.outcome_law(s, wind).mean() for s in WORLD.starts] for wind in (0, 1)]
    exact = np.asarray(cells, float) / (2 * len(WORLD.starts))
    return np.concatenate([exact, np.zeros((*exact.shape[:2], 1))], axis=-1)


def distances(counts: np.ndarray, random: np.random.Generator) -> dict[str, float]:
    """Total variation between dreams and law: of the column that comes out, and of all jointly."""
    exact = law()
    draws = random.multinomial(DREAMS, exact.ravel() / exact.sum(), 1_000)
    result = {"nowhere": counts[..., -1].sum() / DREAMS}
    for name, keep in (("tv", lambda x: x.sum((-3, -2))), ("tv_each", lambda x: x)):
        drawn, true = keep(draws.reshape(-1, *exact.shape)) / DREAMS, keep(exact)
        axes = tuple(range(1, drawn.ndim))
        floor = float(np.mean(0.5 * np.abs(drawn - true).sum(axes)))
        result[name] = float(0.5 * np.abs(keep(counts) / DREAMS - true).sum())
        result[f"{name}_in_floors"] = result[name] / floor
    return result


def draw(counts: np.ndarray) -> None:
    """Bars: where dreams came out, beside the law, for each start and wind."""
    exact = law()
    figure, panels = plt.subplots(2, len(WORLD.starts), figsize=(11, 4), layout="constrained")
    places = np.arange(WORLD.columns + 1)
    for (wind, start), panel in np.ndenumerate(panels):
        dreamed, true = counts[wind, start], exact[wind, start]
        panel.bar(places - 0.2, true / true.sum(), 0.4, color="0.6", label="law")
        share = dreamed / max(dreamed.sum(), 1.0)
        panel.bar(places + 0.2, share, 0.4, color="C0", label="dreams")
        panel.set_title(f"from {WORLD.starts[start]}, wind {('left', 'right')[wind]}", fontsize=9)
        panel.set_xticks(places, [*map(str, places[:-1]), "-"])
    panels[0, 0].legend(fontsize=8)
    RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(RESULTS / "curtain.png", dpi=120)
    plt.close(figure)


TARGETS = {"of_optimal": (">=", 0.9), "tv_in_floors": ("<=", 2.0)}
TASKS = {"curtain": (measure, TARGETS)}


if __name__ == "__main__":
    sys.exit(run_tasks(__doc__.splitlines()[0], "curtain", TASKS))
