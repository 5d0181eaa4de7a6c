# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
# %% [markdown]
# # How long can I trust a dream?
#
# A world model goes on imagining for as long as it is asked to, also where it knows nothing. Here a
# model is asked for something that it has hardly seen, and it answers without a word of doubt. Then
# a guard watches it: a flag inside the rollout, with a stated rate of false alarms, which cuts each
# imagined future where the members of the ensemble no longer agree.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm import imagine
from stochwm.data import collect, standardisers
from stochwm.drift import DriftGuard, FalseAlarm, energy_distance, split_variance, total_variance
from stochwm.envs import Fork, render_video
from stochwm.models import Markov
from stochwm.report import (
    fan_chart,
    filmstrip,
    roc_curves,
    trusted_horizon_histogram,
    uncertainty_ribbons,
)
from stochwm.training import fit
from stochwm.transitions import Ensemble, MixtureDensity, Standardised

# %% [markdown]
# ## A driver who keeps to the left
#
# All episodes of the training data are by one driver on `stochwm/Fork-v0`, who steers left and is
# seldom seen on the right. A third
# of the episodes is held out, for the guard.


# %%
class Steer(eqx.Module):
    """Steers at random between `low` and `low + 1`."""

    low: jax.Array

    def __call__(self, state, *, key):
        return self.low + jax.random.uniform(key, (1,))


HABITS = {"as in the data": Steer(jnp.array(-1.0)), "to the right": Steer(jnp.array(0.0))}
driver = HABITS["as in the data"]
episodes = collect("stochwm/Fork-v0", driver, steps=6_000, seed=0, progress=False)
train, holdout = episodes.split((0.65, 0.35), seed=0)
scales = standardisers(train.transitions(), train.observation_space, train.action_space)


def make(key):
    return Standardised(MixtureDensity(2, 1, num_components=4, width=32, key=key), *scales)


ensemble = fit(
    Ensemble(make, 3, key=jax.random.key(0)),
    train.transitions(),
    steps=500,
    key=jax.random.key(1),
    progress=False,
).model
model, world = Markov(ensemble), Fork()
print(f"{np.mean(train.observation[:, 0] > 1):.1%} of the data is on the rightmost road")

# %% [markdown]
# ## The failure: a dream of the other side
#
# From the same start, 20 steps with the driver's habit, and 20 steps to the right.

# %%
LENGTH, START = 20, jnp.array([0.0, 0.8])


@eqx.filter_jit
def futures(model, policy, keys, guard=None, record=lambda *_: None):
    options = {"length": LENGTH, "guard": guard, "record": record}
    return jax.vmap(lambda key: imagine(model, policy, START, key=key, **options)[1])(keys)


def from_start(states):
    return np.concatenate([np.broadcast_to(START, (len(states), 1, 2)), states], axis=1)


def uncertainty(state, action, prediction, next_state):
    split = split_variance(prediction)
    return jnp.sqrt(jnp.diagonal(split.epistemic)), jnp.sqrt(jnp.diagonal(split.aleatoric))


keys = jax.random.split(jax.random.key(2), 300)
free = {name: futures(model, h, keys, record=uncertainty) for name, h in HABITS.items()}
real = futures(world, HABITS["to the right"], keys[:24])
dreamt = {"model": from_start(free["to the right"].state)}
fan_chart(dreamt, from_start(real.state), names=list(world.state_names), dims=[0])

# %% [markdown]
# **What to see.** Really (lines) the driver is mostly on the two roads to the right, and there is
# nothing beyond 1.8. The model, which has hardly been there, keeps many of its futures on the left
# and sends others off the road. Nothing in a picture of its futures alone gives that away.
#
# ## The repair: a guard
#
# The members learned from different resamples of the same data. Where there were data they agree,
# elsewhere each goes its own way. `DriftGuard` watches how far their predicted means are apart, and
# stops trusting a future at a threshold. `fit` finds it on held-out *episodes*, so that a promise
# holds: of futures from a random step of a new episode of this driver, under the actions that the
# driver took there, at most 5 % are flagged within 20 steps. That takes 19 episodes or more.

# %%
promise = FalseAlarm(0.05, horizon=LENGTH)
guard = DriftGuard.fit(model, holdout, promise=promise, key=jax.random.key(3), num_particles=8)
watched = {name: futures(model, habit, keys, guard) for name, habit in HABITS.items()}
horizons = {name: np.asarray(w.trusted_horizon()) for name, w in watched.items()}
print(f"{holdout.num_episodes} held-out episodes, threshold {float(guard.threshold):.3g}")
trusted_horizon_histogram(horizons, length=LENGTH)

# %% [markdown]
# **What to see.** The dreams of the driver's habit are trusted to the end, but for a few:
# false alarms, of which the promise allows some from random starts. The dreams to the right end
# after a few steps. From there on the reward and the discount of a watched future are 0, so that
# returns, values and plans end at the trusted horizon by themselves.
#
# ## One dream, cut
#
# With the same key the watched future and the bare one are the same until the cut.

# %%
chosen = int(np.argsort(horizons["to the right"], kind="stable")[150])
states = from_start(free["to the right"].state)[chosen, :12]
filmstrip(
    list(render_video(world, states)),
    ["start", *(f"step {i}" for i in range(1, 12))],
    trusted=1 + int(horizons["to the right"][chosen]),
)

# %% [markdown]
# ## What the guard saw

# %%
epistemic, aleatoric = free["to the right"].aux
uncertainty_ribbons(
    epistemic, aleatoric, names=list(world.state_names), trusted=horizons["to the right"]
)

# %% [markdown]
# **What to see.** Violet is disagreement: small for most steps, large in the futures that have left
# the data, and for the speed as large as chance. Yellow is chance, and of the position it is by far
# the larger part: the road forks at random, from the first step on. A flag on the sum of both would
# see the forks and little else.
#
# ## Is it a good flag?
#
# The law of this world is known, so the truth is too: at each step of dreams of both kinds, how
# far is the model's one-step prediction from the law, as an energy distance between draws? The
# third that is worst counts as wrong. (Not the error of what really came: in a random world that is
# large where the world is random.)


# %%
@eqx.filter_jit
def judge(model, world, states, actions, keys):
    def one(state, action, key):
        prediction = model.transition(state, action)
        draws = lambda p: jax.vmap(lambda k: p.sample(seed=k))(jax.random.split(key, 100))  # noqa: E731
        clouds = jnp.stack([draws(prediction), draws(world.transition(state, action))])
        scores = {"guard": guard.measure(prediction), "total variance": total_variance(prediction)}
        return energy_distance(clouds, fair=False), scores

    return jax.lax.map(lambda row: one(*row), (states, actions, keys))


both = [from_start(f.state[:20])[:, :-1] for f in free.values()]
states = jnp.asarray(np.concatenate(both).reshape(-1, 2))
actions = jnp.concatenate([f.action[:20] for f in free.values()]).reshape(-1, 1)
keys = jax.random.split(jax.random.key(4), len(states))
distance, scores = judge(model, world, states, actions, keys)
wrong = np.asarray(distance > jnp.quantile(distance, 2 / 3))
steps = np.tile(np.arange(LENGTH), len(states) // LENGTH)
roc_curves({**scores, "steps so far": steps}, wrong)

# %% [markdown]
# **What to see.** Each curve is a flag at all its thresholds: what it finds of the wrong steps
# (upwards) against what it flags for nothing (to the right). The area under it (AUROC) is 1 for a
# flag that is never wrong and 0.5 for one that knows nothing. The usual remedy, to stop after so
# many steps, is "steps so far". Uncertainty of every kind is "total variance".
#
# ## What the flag cannot see
#
# The guard looks at the members, never at the world. Say that the road has iced over since: all
# random deviations are five times as large. Every member has learned the dry road, so all make the
# same error, and they agree about it.

# %%
on_ice, _ = judge(model, Fork(noise=5.0), states, actions, keys)
usual = slice(0, 20 * LENGTH)  # the driver's habit
print(f"habit, dry road: energy distance {float(distance[usual].mean()):.3f}")
print(f"habit, on ice:   energy distance {float(on_ice[usual].mean()):.3f}")
print(f"trusted for {np.median(horizons['as in the data']):.0f} steps in either case")

# %% [markdown]
# An error that all members share looks like knowledge: a world that has changed, a family of
# distributions that cannot bend to the truth, a variable that nobody measured.
# [Known unknowns](uncertainty) shows the second. Against it there is the other promise,
# `Coverage`, which asks how often what really came was outside the model's regions; it needs some
# 60 held-out episodes, and those must be of the world as it is now. `Calibration` sees clouds that
# are too wide as well.
#
# For a run of `stochwm learn`, `stochwm drift RUN` does all this and adds it to the report;
# `--promise` takes the others.
#
# Next: {doc}`discrete_latents`, or {doc}`dreaming`, where an agent learns in such dreams.
