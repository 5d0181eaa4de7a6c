"""Model, critic or policy: what is at fault where Dreamer does not act best on the lake?

    python benchmarks/lake_faults.py --seeds 1

Trains the agents of `chance.py` on slippery FrozenLake, the same at a constant learning rate
(`restless`), and others of more entropy and a longer horizon (`exploring`), and works out
by the exact law what share of the optimal value in 100 steps there is in

policy      the most probable actions, on average over the histories of each state
improved    the best actions by the values that the law gives to its policy: would better values of
            its own help?
lookahead   the best actions by one step in the learned model and the critic's value after it
model       the best plan for the learned model (value iteration), the critic and the policy aside

and `wrong` by how much the learned next state is off (total variation), for the action that each
state likes most and for the others. All of it is seen in 20 copies of 150 rows of play with drawn
actions, 64 draws a state and action. Has no targets; writes JSON.
"""

import dataclasses
import sys
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _report import run_tasks
from chance import CALM, COPIES, ENV_ID, Law, lake

from stochwm import observe
from stochwm.agents import acting, make_source, train_dreamer, v3_chained

ROWS, DRAWS = 150, 64


def measure(config: Any, steps: int, seed: int) -> dict[str, float]:
    """Train one agent, and find its faults."""
    return faults(train_dreamer(ENV_ID, config, steps=steps, seed=seed).agent, config.gamma)


def faults(agent: Any, gamma: float) -> dict[str, float]:
    """What is named above. A state that was never seen takes action 0."""
    law, source = lake(), make_source(ENV_ID, COPIES)
    act, memory = acting(agent, source)
    key = jax.random.key(0)
    *_, rows, _ = source.collect(act, agent, memory, source.start(0), key=key, length=ROWS)
    rows = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
    seen = _looked_ahead(agent, rows, jax.random.split(key, COPIES), gamma)
    state, inside = np.argmax(rows.observation, -1), ~np.asarray(rows.is_last)
    each = [(state == s) & inside for s in range(len(law.first))]
    known = np.array([at.any() for at in each])
    mean = lambda x: np.stack([x[at].mean(0) if at.any() else 0 * x[0, 0] for at in each])  # noqa: E731
    policy, following, onward, reward, ahead = (mean(np.asarray(x, float)) for x in seen)
    off = 0.5 * np.abs(following - law.next).sum(-1)[known]
    liked = policy[known] == policy[known].max(1, keepdims=True)
    share = lambda score: worth(law, score.argmax(1)) / law.optimal_value()  # noqa: E731
    return {
        "policy": share(policy),
        "improved": share(scores(law.reward, law.next * law.goes_on, gamma, policy)),
        "lookahead": share(ahead),
        "model": share(scores(reward, onward, gamma)),
        "wrong, liked": off[liked].mean(),
        "wrong, others": off[~liked].mean(),
    }


def scores(
    reward: np.ndarray, onward: np.ndarray, gamma: float, policy: np.ndarray | None = None
) -> np.ndarray:
    """Discounted value of each action, `[state, action]`, before a policy, or before the best.

    `onward` is the probability of the next state and that the episode goes on there.
    """
    score = reward
    for _ in range(3_000):
        value = score.max(1) if policy is None else (policy * score).sum(1)
        score = reward + gamma * onward @ value
    return score


def worth(law: Law, action: np.ndarray) -> float:
    """Expected return of an action for each state, in as many steps as an episode has."""
    value, every = np.zeros(len(law.first)), np.arange(len(law.first))
    for _ in range(law.longest):
        value = (law.reward + (law.next * law.goes_on) @ value)[every, action]
    return float(law.first @ value)


@eqx.filter_jit
def _looked_ahead(agent, rows, keys, gamma):
    """For each row: the policy, and of each action what the model says comes next.

    The next state, that and whether the episode goes on, the reward, and the value of all that.
    """

    def along(rows, key):
        def record(prior, posterior, state):
            def drawn(action, key):
                after = agent.model.transition(state, action).sample(seed=key)
                seen = agent.model.decode(after).mean()
                goes_on = agent.model.discount(state, action, after)
                reward = agent.model.reward(state, action, after)
                return seen, goes_on * seen, reward, reward + gamma * goes_on * agent.value(after)

            # A key of its own for each state, whose recurrent part is as good as unique.
            number = jax.lax.bitcast_convert_type(state.deter[0], jnp.uint32)
            draws = jax.random.split(jax.random.fold_in(key, number), DRAWS)
            each = jax.vmap(jax.vmap(drawn, (None, 0)), (0, None))(jnp.eye(4), draws)
            return agent.policy(state).mean(), *jax.tree.map(lambda x: x.mean(1), each)

        _, filtered = observe(
            agent.model, rows.observation, rows.action, rows.is_first, key=key, record=record
        )
        return filtered.aux

    return jax.lax.map(lambda row: along(*row), (rows, keys))


TASKS = {
    "lake": (partial(measure, CALM, 100_000), {}),
    "restless": (partial(measure, dataclasses.replace(CALM, settle=None), 100_000), {}),
    "exploring": (partial(measure, v3_chained(entropy=0.01, exploration=0.2), 60_000), {}),
}


if __name__ == "__main__":
    sys.exit(run_tasks(__doc__.splitlines()[0], "lake_faults", TASKS))
