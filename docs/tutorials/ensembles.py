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
# # Ensembles: who disagrees, and why
#
# A model can be unsure for two reasons. The world is random (*aleatoric*): more data would not
# help. Or the model has not seen enough (*epistemic*): more data would. A single network shows only
# the first kind. The members of an ensemble agree where there was data and disagree where there was
# none, and that shows the second.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm import imagine, imagine_moment_matched, imagine_ts1, imagine_tsinf
from stochwm.data import RandomPolicy, collect, standardisers
from stochwm.envs import Fork
from stochwm.models import Markov
from stochwm.report import fan_chart, house_style, new_figure
from stochwm.training import fit
from stochwm.transitions import Ensemble, MixtureDensity, Standardised

# %% [markdown]
# ## Data with a hole
#
# We drive on `stochwm/Fork-v0` and keep only the steps that begin left of the centre line, `y < 0`.


# %%
def begins_left(rows):
    return jax.tree.map(lambda x: x[rows.state[:, 0] < 0], rows)


episodes = collect("stochwm.envs:stochwm/Fork-v0", steps=8_000, seed=0, progress=False)
train, validation = episodes.split((0.85, 0.15), seed=0)
seen, held_out = begins_left(train.transitions()), begins_left(validation.transitions())
print(len(seen), "of", train.num_transitions, "training transitions begin left of the line")

# %%
scales = standardisers(seen, train.observation_space, train.action_space)


def make(key):
    return Standardised(MixtureDensity(2, 1, num_components=6, width=48, key=key), *scales)


fitted = fit(
    Ensemble(make, 5, key=jax.random.key(0)),
    seen,
    validation=held_out,
    steps=1_000,
    key=jax.random.key(1),
    progress=False,
)
model = Markov(fitted.model)

# %% [markdown]
# ## The law of total variance
#
# For a mixture over members k, Var = mean of the members' variances (aleatoric) + variance of the
# members' means (epistemic). `ensemble.each` gives all members at once.

# %%
ys = jnp.linspace(-1.4, 1.4, 57)


@eqx.filter_jit
def split_variance(y):
    members = fitted.model.each(jnp.array([y, 0.8]), jnp.zeros(1))
    mean = jax.vmap(lambda m: m.mean())(members)
    variance = jax.vmap(lambda m: m.variance())(members)
    return jnp.mean(variance, axis=0)[0], jnp.var(mean, axis=0)[0]


aleatoric, epistemic = jax.vmap(split_variance)(ys)

with house_style():
    figure = new_figure(6.6, 3.2, label="Aleatoric and epistemic variance across the road.")
    axes = figure.subplots()
    axes.axvspan(-1.4, 0.0, color="#E9EDF2", lw=0)
    axes.plot(ys, aleatoric, label="aleatoric: mean of the members' variances")
    axes.plot(ys, epistemic, label="epistemic: variance of the members' means")
    axes.set(xlabel="y (grey: where there was data)", ylabel="variance of the next y")
    axes.legend()
figure

# %% [markdown]
# **What to see.** Where there was data, the members agree (the epistemic variance is close to zero)
# although the next state is far from certain (the aleatoric variance is large: the road forks). To
# the right, where nobody has been, the epistemic variance rises. The aleatoric curve goes on
# smoothly there: the members are confident, each in something else.

# %%
unseen = float(jnp.mean(epistemic[ys > 0.5]) / jnp.mean(epistemic[ys < -0.1]))
print(f"epistemic variance beyond the data is {unseen:.0f} times that within")

# %% [markdown]
# ## Three ways to send particles through an ensemble
#
# A particle is one imagined future. The first two ways are known as trajectory sampling (TS).
#
# - **TS-1**: a particle draws a new member at each step.
# - **TS-infinity**: a particle keeps its member, so that each member's error has time to grow.
# - **Moment matching**: each prediction becomes one normal with the mixture's mean and covariance.

# %%
policy = RandomPolicy(episodes.action_space)
start = jnp.array([-0.5, 0.8])
starts = jnp.broadcast_to(start, (1_000, 2))


def cloud(propagate):
    run = eqx.filter_jit(lambda m, s, k: propagate(m, policy, s, key=k, length=15)[1].state)
    states = np.asarray(run(model, starts, jax.random.key(2)))
    return np.concatenate([np.asarray(starts)[:, None], states], axis=1)


clouds = {
    "TS-1": cloud(imagine_ts1),
    "TS-infinity": cloud(imagine_tsinf),
    "moment matching": cloud(imagine_moment_matched),
}
world = Fork()


@eqx.filter_jit
def real_future(key):
    return imagine(world, policy, start, key=key, length=15)[1].state


real = [np.asarray(real_future(key)) for key in jax.random.split(jax.random.key(3), 20)]
real = np.concatenate([np.asarray(starts)[:20, None], np.stack(real)], axis=1)
fan_chart(clouds, real, names=list(world.state_names), dims=[0])

# %% [markdown]
# **What to see.** TS-1 and TS-infinity show the same roads at first; moment matching has lost them
# and fills the space between. Later, the futures that have wandered into the unseen right half are
# at the mercy of members that know nothing about it, and the three no longer agree.
#
# Next: {doc}`Is my world model calibrated? <calibration>`
