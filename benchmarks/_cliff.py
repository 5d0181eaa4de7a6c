"""The cliff: the reward rises towards an edge that no one who came back has crossed."""

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from _calibration_worlds import Law, learn_kernel, simulate

from stochwm import imagine
from stochwm.distributions import AbstractSampler, DiagNormal
from stochwm.drift import (
    DisagreementReward,
    DriftGuard,
    FalseAlarm,
    InUnits,
    MutualInformation,
    auroc,
    epistemic_variance,
    geometric_jensen_shannon,
    total_variance,
)
from stochwm.models import Markov
from stochwm.planning import cem, discounted_return
from stochwm.training import negative_log_likelihood
from stochwm.transitions import Gaussian

EDGE, CAREFUL = 0.8, 0.4  # the cliff, and from where on a careful walker steps back
STEP, WIND, NOISE, LOSS = 0.1, 0.04, 0.02, 50.0
EPISODES, STEPS, HORIZON = 50, 30, 6
SEARCH = {"num_candidates": 48, "num_elites": 6, "num_iterations": 3}
BOX = {"action_low": [-1.0, -1.0], "action_high": [1.0, 1.0]}
PESSIMISM = -5.0  # rewards per nat


# --- the world --------------------------------------------------------------------------------
class Start(AbstractSampler):
    """Anywhere well to the left of the cliff."""

    def sample(self, *, seed):
        return jax.random.uniform(seed, (2,), minval=-0.8, maxval=jnp.array([0.0, 0.8]))


class Cliff(eqx.Module):
    """Position `[x, y]`, action: a step in [-1, 1]^2.

    `x', y' ~ N(clip(position + .1 action + .04 (sin 8y, cos 8x)), .02^2)`, clipped to |y| <= 1 and
    -1 <= x <= 2: the wind depends on the place. Who arrives at x > .8 has fallen.
    """

    @property
    def observation_space(self):
        return gym.spaces.Box(np.array([-1.2, -1.2], "f"), np.array([2.2, 1.2], "f"))

    @property
    def action_space(self):
        return gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def initial(self):
        return Start()

    def law(self, state, action):
        wind = WIND * jnp.stack([jnp.sin(8 * state[1]), jnp.cos(8 * state[0])])
        moved = state + STEP * jnp.clip(action, -1, 1) + wind
        loc = jnp.clip(moved, -1.0, jnp.array([2.0, 1.0]))
        return DiagNormal(loc, jnp.full(2, NOISE))


def progress(state, action, next_state):
    """The reward that everybody knows: positive, and rising to the right."""
    return next_state[0] + 1


def fell(next_state):
    """Whether this is beyond the cliff."""
    return (next_state[0] > EDGE).astype("float32")


def real_world() -> Markov:
    """The world with its cliff, which ends the episode at a great loss."""
    return Markov(
        Law(Cliff(), None),
        lambda state, action, next_state: (
            progress(state, action, next_state) - LOSS * fell(next_state)
        ),
        lambda state, action, next_state: 1 - fell(next_state),
    )


def careful(state, *, key):
    """Any step, but away from the cliff where it is near: data that never cross it."""
    step = jax.random.uniform(key, (2,), minval=-1.0)
    back = step.at[0].set(-jnp.abs(step[0]))
    return jnp.where(state[0] > CAREFUL, back, step)


# --- the task ---------------------------------------------------------------------------------
def cliff(seed: int) -> dict[str, float]:
    """AUROC of measures between seen and unseen; falls and real returns of three planners."""
    train, validation, holdout = (
        simulate(Cliff(), real_world(), number, seed=3 * seed + i, steps=STEPS, policy=careful)
        for i, number in enumerate((100, 15, 100))
    )
    farthest = max(part.observation[:, 0].max() for part in (train, validation, holdout))
    assert farthest < EDGE, "the data cross the cliff"
    spaces = train.observation_space, train.action_space
    rows = train.transitions(), validation.transitions()
    options = {"updates": 1_500, "decay": 1e-2}
    loss = negative_log_likelihood()
    model = Markov(learn_kernel(Gaussian, *rows, spaces, loss, seed, **options), progress)
    key = jax.random.key(50 + seed)
    promise = FalseAlarm(0.1, horizon=HORIZON)
    apart = geometric_jensen_shannon
    guard = DriftGuard.fit(model, holdout, promise=promise, measure=apart, key=key)
    planners = {
        "naive": (model, None),
        "guard": (model, guard),
        "pessimistic": (DisagreementReward(model, apart, PESSIMISM), None),
    }
    result = separation(model, holdout, seed) | {"data_x_most": float(farthest)}
    for name, (believed, watch) in planners.items():
        keys = jax.random.split(jax.random.key(90 + seed), EPISODES)
        falls, returns, x = walk(believed, watch, keys)
        result[f"falls_{name}"] = float(jnp.mean(falls))
        result[f"return_{name}"] = float(jnp.mean(returns))
        result[f"x_mean_{name}"] = float(jnp.mean(x))
    return result


def separation(model: Markov, holdout, seed: int) -> dict[str, float]:
    """AUROC of each measure: held-out states and actions, against the same beyond the cliff."""
    rows = holdout.transitions()
    rng = np.random.default_rng(seed)
    beyond = rows.state.copy()
    beyond[:, 0] = rng.uniform(EDGE, EDGE + 0.6, len(beyond))
    states, actions = np.concatenate([rows.state, beyond]), np.concatenate([rows.action] * 2)
    unseen = np.arange(len(states)) >= len(beyond)
    unit = np.std(rows.state, axis=0)
    measures = {
        "variance": InUnits(epistemic_variance, unit),
        "information": MutualInformation(key=jax.random.key(seed)),
        "jensen_shannon": geometric_jensen_shannon,
        "total_variance": InUnits(total_variance, unit),
    }

    @eqx.filter_jit
    def score(model, measures, states, actions):
        def one(pair):
            prediction = model.transition(*pair)
            return {name: measure(prediction) for name, measure in measures.items()}

        return jax.lax.map(one, (states, actions), batch_size=500)

    scores = score(model, measures, jnp.asarray(states), jnp.asarray(actions))
    return {f"auroc_{name}": auroc(scores[name], unseen) for name in measures}


@eqx.filter_jit
def walk(believed, guard, keys):
    """Whether each real episode falls, its real return, and where it was on average."""

    def act(state, *, key):
        options = {"horizon": HORIZON, "guard": guard, **BOX, **SEARCH}
        return cem(believed, state, key=key, **options).actions[0]

    def one(key):
        key_start, key_walk = jax.random.split(key)
        start = Start().sample(seed=key_start)
        future = imagine(real_world(), act, start, key=key_walk, length=STEPS)[1]
        alive = jnp.cumprod(future.discount)
        x = jnp.sum(alive * future.state[:, 0]) / jnp.maximum(jnp.sum(alive), 1)
        return alive[-1] == 0, discounted_return(future), x

    return jax.vmap(one)(keys)
