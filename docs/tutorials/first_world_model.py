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
# # Your first multimodal world model
#
# A vehicle drives towards a fork. The same steering, from the same place, sometimes takes the left
# road and sometimes the right one. What should a world model predict?
#
# This tutorial collects data from `stochwm/Fork-v0`, fits two models to it, and shows why one of
# them cannot be right however long it trains.

# %%
import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from stochwm import imagine
from stochwm.calibration import evaluate, mode_report
from stochwm.data import RandomPolicy, collect, standardisers
from stochwm.models import Markov
from stochwm.report import fan_chart, filmstrip, one_step_scatter
from stochwm.training import fit
from stochwm.transitions import Ensemble, Gaussian, MixtureDensity, Standardised

# %% [markdown]
# ## The world
#
# The bundled worlds are Gymnasium environments *and* exact laws: `world.law(state, action)` is the
# true distribution of the next state. A learned model can therefore be held against the truth.

# %%
env = gymnasium.make("stochwm.envs:stochwm/Fork-v0", render_mode="rgb_array")
world = env.unwrapped.world
env.reset(seed=1)
frames = [env.render()]
for _ in range(3):
    env.step(np.array([0.3], np.float32))
    frames.append(env.render())
filmstrip(frames, [f"step {i}" for i in range(4)])

# %% [markdown]
# Four steps with the same steering. The shaded roads are as wide as they are likely.
#
# ## Data
#
# 6,000 random transitions. The split is by *episode*: two steps of one episode are not independent,
# so a split by step would let the test set leak into training. The statistics that standardise the
# networks' inputs come from the training part alone.

# %%
episodes = collect("stochwm/Fork-v0", steps=6_000, seed=0, progress=False)
train, validation, test = episodes.split((0.8, 0.1, 0.1), seed=0)
scales = standardisers(train.transitions(), train.observation_space, train.action_space)
print(episodes.num_episodes, "episodes;", test.num_transitions, "transitions are held out")

# %% [markdown]
# ## Two ensembles
#
# Both have five members of the same size. One predicts a mixture of eight normals, the other a
# single normal. All members of an ensemble train in one vmapped step, each on its own bootstrap
# resample of the data.


# %%
def train_ensemble(kind, **options):
    def make(key):
        return Standardised(kind(2, 1, width=64, key=key, **options), *scales)

    ensemble = Ensemble(make, 5, key=jax.random.key(0))
    fitted = fit(
        ensemble,
        train.transitions(),
        validation=validation.transitions(),
        steps=1_000,
        key=jax.random.key(1),
        progress=False,
    )
    return Markov(fitted.model)


mixture = train_ensemble(MixtureDensity, num_components=8)
gaussian = train_ensemble(Gaussian)

# %% [markdown]
# ## One step: the modes
#
# A thousand next states from one state and action.

# %%
state, action = jnp.array([0.0, 0.9]), jnp.array([0.0])


@eqx.filter_jit
def draw(model, keys):
    return jax.vmap(lambda key: model.transition(state, action).sample(seed=key))(keys)


keys = jax.random.split(jax.random.key(2), 1_000)
sources = {"true law": world, "mixture": mixture, "Gaussian": gaussian}
one_step_scatter(
    {name: np.asarray(draw(model, keys)) for name, model in sources.items()},
    names=world.state_names,
)

# %% [markdown]
# **What to see.** The law has a clump for each road. The mixture draws from the same clumps. The
# Gaussian has the right mean and the right variance, and puts much of its mass in between, where no
# vehicle ever is.

# %%
rows = test.transitions()
report = mode_report(
    mixture.transition,
    world.law,
    rows.state[:200],
    rows.action[:200],
    tolerance=0.25 * np.std(rows.next_state - rows.state, axis=0),
    key=jax.random.key(3),
)
print(f"modes found: {report.recall:.0%}; weights off by {report.weight_error:.3f} on average")

# %% [markdown]
# ## Many steps: imagination
#
# `imagine` rolls one future; `vmap` over keys makes a thousand, in one compiled call.

# %%
policy = RandomPolicy(episodes.action_space)


@eqx.filter_jit
def futures(model, keys):
    def one(key):
        return imagine(model, policy, state, key=key, length=20)[1].state

    return jax.vmap(one)(keys)


def with_start(cloud):
    start = np.broadcast_to(np.asarray(state), (len(cloud), 1, 2))
    return np.concatenate([start, np.asarray(cloud)], axis=1)


clouds = {name: with_start(futures(sources[name], keys)) for name in ("mixture", "Gaussian")}
real = with_start(futures(world, keys[:20]))
fan_chart(clouds, real, names=list(world.state_names))

# %% [markdown]
# **What to see.** Lines are 20 real futures, shading is the density of 1,000 imagined ones. The
# mixture's futures run along the roads; the Gaussian's also run where no road is.
#
# ## Scores
#
# Negative log-likelihood (`nll`, nats a step) judges the one-step density, and the energy score the
# whole cloud at each horizon; for both, lower is better. The intervals come from resampling
# episodes.

# %%
for name in ("mixture", "Gaussian"):
    print(name)
    print(evaluate(sources[name], test, horizons=(1, 5, 20), key=jax.random.key(4)), "\n")
entropy = jnp.mean(jax.vmap(world.entropy)(jnp.asarray(rows.state), jnp.asarray(rows.action)))
print(f"entropy of the law, the best nll that any model can reach: {entropy:.3f}")

# %% [markdown]
# The energy scores are close: they are dominated by *where* the futures are, and a Gaussian with
# the right mean is not bad at that. The log-likelihood sees the difference: it asks how probable
# the model found what really happened.
#
# Next: [Ensembles: who disagrees, and why](ensembles).
