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
# # Is my world model calibrated?
#
# A model that says "90 %" should be right nine times in ten. That is calibration, and the error of
# the mean says nothing about it. Here three models of one world have nearly the same mean error.
# One is nearly right, one is far too sure of itself, and one has the wrong shape. This page shows
# which plot tells which, and what calibration does not tell.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm.calibration import (
    Spread,
    central_level,
    consistency_band,
    diagnose_model,
    hpd_level,
    pit,
    pit_histogram,
    pit_tests,
    reliability,
)
from stochwm.data import collect, standardisers
from stochwm.envs import Fork, WetChicken
from stochwm.report import (
    coverage_by_horizon,
    joint_regions,
    pit_histograms,
    reliability_diagram,
)
from stochwm.training import fit
from stochwm.transitions import Gaussian, MixtureDensity, Standardised

# %% [markdown]
# ## Three models of a road that forks
#
# A mixture of normals and a single normal, trained on the same episodes. The third model is
# planted: `Spread(kernel, 0.5)` keeps the mean of each prediction of the mixture and halves its
# spread about it. Over-confidence comes from too little data or too much training; here we know
# that it is there. (A factor of 1 changes nothing. With it both are one program, compiled once.)

# %%
world = Fork()
episodes = collect("stochwm/Fork-v0", steps=9_000, seed=0, progress=False)
train, validation, test = episodes.split((0.7, 0.1, 0.2), seed=1)
scales = standardisers(train.transitions(), train.observation_space, train.action_space)


def train_kernel(kernel, steps):
    return fit(
        Standardised(kernel, *scales),
        train.transitions(),
        validation=validation.transitions(),
        steps=steps,
        key=jax.random.key(1),
        progress=False,
    ).model


mixture = MixtureDensity(2, 1, num_components=6, width=32, key=jax.random.key(0))
mixture = train_kernel(mixture, steps=2_500)
gaussian = train_kernel(Gaussian(2, 1, width=32, key=jax.random.key(0)), steps=1_000)
kernels = {
    "mixture": Spread(mixture, 1.0),
    "over-confident": Spread(mixture, 0.5),
    "Gaussian": gaussian,
}
print(test.num_transitions, "test transitions in", test.num_episodes, "episodes")

# %% [markdown]
# ## What the mean error does not see
#
# For each test transition: the error of the predicted mean, the *probability integral transform*
# (PIT) of each dimension, and the level of the *highest-density region* that just reaches what
# happened. The PIT is the predicted probability of a value below the one that came. The level is
# the mass of all points that the model holds at least as likely. Where predictions are right, both
# are uniform on [0, 1], whatever the distributions look like. Last, the log-likelihood, for later.


# %%
@eqx.filter_jit
def judge(kernel, rows, key):
    def one(state, action, value, key):
        prediction = kernel(state, action)
        return {
            "error": jnp.sum((prediction.mean() - value) ** 2),
            "pit": pit(prediction, value, key=key),
            "level": hpd_level(prediction, value, key=key, num_samples=200),
            "nll": -prediction.log_prob(value),
        }

    keys = jax.random.split(key, len(rows))
    return jax.vmap(one)(rows.state, rows.action, rows.next_state, keys)


rows = test.transitions()
judged = {
    name: jax.tree.map(np.asarray, judge(kernel, rows, jax.random.key(2)))
    for name, kernel in kernels.items()
}
for name, found in judged.items():
    print(f"{name:<16}error of the mean {np.sqrt(found['error'].mean()):.3f}")

# %% [markdown]
# By this number nobody could choose.
#
# ## The PIT histogram

# %%
pit_histograms(
    {name: pit_histogram(found["pit"], rows.episode) for name, found in judged.items()},
    names=world.state_names,
)

# %% [markdown]
# **What to see.** Flat is right; the grey band is where 95 % of the bars would lie if the
# predictions were right. The mixture is nearly flat. The over-confident model makes a U: what
# happened lies far too often beyond nearly all that it thought possible. The Gaussian, whose shape
# is plainly wrong, is nearly flat as well: the histogram looks at all states together, and what is
# wrong beside one road is made up for beside another.
#
# ## A p-value by episode
#
# How far from flat is too far? A test says how often a calibrated model would look as bad by
# chance. Steps of one episode may resemble each other, so that a thousand steps are not a thousand
# independent trials; a test that counts them as such finds faults in good models. All tests here
# let only whole episodes vary: the deviation of an episode keeps its sign or changes it, at random.

# %%
print(f"{'p-value':<16}{'PIT':>10}{'regions':>10}")
for name, found in judged.items():
    results = [pit_tests(found[x], rows.episode).cramer_von_mises for x in ("pit", "level")]
    print(f"{name:<16}" + "".join(f"{result.p_value:>10.3f}" for result in results))

# %% [markdown]
# A small p-value, say below 0.01, speaks against the model. A large one does not prove it right: it
# says that these episodes do not show a fault. Here the over-confident model fails both tests. The
# mixture passes the one of single dimensions; the one of regions, which sees the joint state, may
# still find that a small network and few episodes have not learned the law exactly. 0.001 is the
# smallest that can come out of a thousand random signs; with ten episodes or fewer the smallest is
# larger still.
#
# ## The reliability diagram
#
# For each nominal mass, how much of what happened lay inside? On the left in central intervals of
# each dimension, on the right in highest-density regions of the joint state.

# %%
panels = {
    "central intervals": {n: central_level(found["pit"]) for n, found in judged.items()},
    "highest-density regions": {n: found["level"] for n, found in judged.items()},
}
reliability_diagram(
    {
        title: {name: reliability(values, rows.episode) for name, values in panel.items()}
        for title, panel in panels.items()
    },
    bands={t: consistency_band(panel["mixture"], rows.episode) for t, panel in panels.items()},
)

# %% [markdown]
# **What to see.** On the diagonal promises are kept. The over-confident model is far below it: its
# intervals hold too little, and its regions of the joint state still less, since halving the spread
# about the mean has also moved the roads. The other two are close to the diagonal. What the region
# test finds fault with is small: a curve a few percent off.
#
# ## Where the regions are

# %%
state, action = jnp.array([0.0, 0.9]), jnp.array([0.0])


@eqx.filter_jit
def draw(kernel, keys):
    return jax.vmap(lambda key: kernel(state, action).sample(seed=key))(keys)


keys = jax.random.split(jax.random.key(3), 500)
real = jax.vmap(lambda key: world.law(state, action).sample(seed=key))(keys[:60])
joint_regions(
    {name: np.asarray(draw(kernel, keys)) for name, kernel in kernels.items()},
    np.asarray(real),
    names=world.state_names,
)

# %% [markdown]
# **What to see.** Large dots are 60 next states of the true law. The mixture's regions are where
# they are. The over-confident model has drawn the roads together, to where nobody drives. The
# Gaussian covers everything with one blob, the ditches included.
#
# ## What calibration does not tell
#
# The Gaussian's promises nearly hold on average, and yet it is a worse model than the mixture.
# Calibration asks whether probabilities are honest, not whether they are informative: the
# distribution of all training data, given in answer to every question, is calibrated as well. What
# sees both is a proper score.

# %%
for name, found in judged.items():
    print(f"{name:<16}negative log-likelihood {found['nll'].mean():>7.3f} nats a step")

# %% [markdown]
# So use both: a score says *which* model is better, calibration says *what* is wrong with it and
# whether its probabilities can be taken at their word.
#
# ## Many steps ahead
#
# A planner does not use one-step predictions but the particles that they add up to.
# `diagnose_model` imagines them under the actions that were really taken, and asks the same
# questions at each horizon.

# %%
diagnoses = {
    name: diagnose_model(kernels[name], test, horizons=(1, 2, 5, 10, 20), key=jax.random.key(5))
    for name in ("mixture", "over-confident")
}
coverage_by_horizon(
    {name: {row.horizon: row.coverage for row in d.horizons} for name, d in diagnoses.items()}
)

# %% [markdown]
# **What to see.** Dashes are the promise, shading is what the episodes leave uncertain. The
# over-confident model holds far too little at every horizon. The mixture keeps close to what it
# promises.

# %%
for name, diagnosis in diagnoses.items():
    print(f"{name}\n{diagnosis}\n")

# %% [markdown]
# `pit` and `serial` test single dimensions: are their PIT values uniform, and do they predict each
# other? The last four columns test the joint state: each orders whole vectors by another
# criterion and asks whether the rank of what happened is uniform among the particles. The table of
# the over-confident model is full of the smallest p-values that there are. In so many tests a value
# of a few percent is no news, also where nothing is wrong.
#
# [Recalibrating the future](recalibration) shows the repair.
#
# ## Atoms
#
# Not every law has a density. In `stochwm/WetChicken-v0` the canoe is often pushed to y = 0
# exactly: an *atom*. The cdf jumps there, and the plain PIT, the cdf at what happened, jumps
# with it. `pit` draws a uniform number within the jump instead. No training is needed to see it: we
# judge the true law itself.

# %%
river = WetChicken()
trips = collect("stochwm/WetChicken-v0", steps=3_000, seed=1, progress=False).transitions()


@jax.jit
def both_ways(state, action, value, key):
    law = river.law(state, action)
    return law.cdf(value), pit(law, value, key=key)


keys = jax.random.split(jax.random.key(7), len(trips))
plain, randomised = jax.vmap(both_ways)(trips.state, trips.action, trips.next_state, keys)
of_law = {"plain cdf": np.clip(plain, 0, 1), "randomised PIT": np.asarray(randomised)}
pit_histograms(
    {name: pit_histogram(values, trips.episode) for name, values in of_law.items()},
    names=river.state_names,
    dims=[1],
)

# %% [markdown]
# **What to see.** Both histograms are of the *true* law. The plain one would condemn it; the
# randomised one is flat. The same happens to intervals: a closed interval that ends on an atom
# holds all of it, more than its nominal mass. `central_level` of randomised PIT values does not
# have this bias.
#
# Next: [Recalibrating the future](recalibration)
