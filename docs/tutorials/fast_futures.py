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
# # A thousand futures fast: vmap, ensembles, devices
#
# One imagined future says little about a random world; a thousand say what can happen and how
# often. This page shows what a thousand cost, and four things that make them cheap: one compiled
# call, an ensemble whose particles are split over its members, all cores as devices, and chunks.
#
# Times on this page were taken while it was built, on whatever machine that was: look at ratios.

# %%
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import stochwm
from stochwm import imagine, imagine_particles, imagine_ts1, imagine_tsinf
from stochwm.models import Markov
from stochwm.report import house_style, new_figure
from stochwm.transitions import Ensemble, Gaussian, Standardised, Standardiser

# %% [markdown]
# JAX sees a CPU as one device. `use_host_devices` turns its cores into devices; it has to be called
# before JAX computes anything, so it stands at the top of a program. The command line does it by
# itself.

# %%
devices = stochwm.use_host_devices(2)
print(devices, "devices")

# %% [markdown]
# The model: five untrained networks of the size that is common for MuJoCo's half-cheetah. What they
# predict does not matter here, only what it costs.

# %%
STATE, ACTION, LENGTH = 17, 6, 15


def make(key):
    unit = lambda size, scale: Standardiser(jnp.zeros(size), scale * jnp.ones(size))  # noqa: E731
    kernel = Gaussian(STATE, ACTION, width=200, depth=4, key=key)
    return Standardised(kernel, unit(STATE, 1.0), unit(ACTION, 1.0), unit(STATE, 0.1))


model = Markov(Ensemble(make, 5, key=jax.random.key(0)))
start = jnp.zeros(STATE)


def policy(state, *, key):
    return jnp.tanh(state[:ACTION])


def seconds(run, *inputs):
    """The median of five runs, after one that compiles."""
    taken = []
    for _ in range(6):
        begin = time.perf_counter()
        jax.block_until_ready(run(*inputs))
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken[1:]))


# %% [markdown]
# ## One call
#
# `imagine` is one future of one state. `jax.vmap` makes it a thousand and `eqx.filter_jit` one
# compiled program, so that the networks multiply matrices instead of vectors.


# %%
@eqx.filter_jit
def one_future(model, key):
    return imagine(model, policy, start, key=key, length=LENGTH)[1].state


@eqx.filter_jit
def many_futures(model, keys):
    return jax.vmap(lambda key: imagine(model, policy, start, key=key, length=LENGTH)[1].state)(
        keys
    )


keys = jax.random.split(jax.random.key(1), 1_000)
alone, together = seconds(one_future, model, keys[0]), seconds(many_futures, model, keys)
print(f"a future costs {1_000 * alone / together:.0f} times less in a call of 1,000")

# %% [markdown]
# ## One member a particle
#
# That call still does five times the work: to draw from the ensemble's mixture it evaluates all
# members for every particle. Three functions take many start states at once. `imagine_particles`
# does what the call above did. `imagine_ts1` hands a particle to one random member at each step,
# which is the same law; `imagine_tsinf` lets it keep its member. Both split the particles over the
# members and evaluate each member on its share alone.


# %%
def timed(propagate, particles, **options):
    states = jnp.broadcast_to(start, (particles, STATE))

    @eqx.filter_jit
    def run(model, states, key):
        return propagate(model, policy, states, key=key, length=LENGTH, **options)[1].state

    return seconds(run, model, states, jax.random.key(2))


ways = {
    "every member": (imagine_particles, {}),
    "TS-1": (imagine_ts1, {}),
    "TS-infinity": (imagine_tsinf, {}),
    f"TS-infinity, {devices} devices": (imagine_tsinf, {"devices": devices}),
}
particles = [100, 1_000, 5_000]
cost = {
    name: [timed(propagate, number, **options) / number for number in particles]
    for name, (propagate, options) in ways.items()
}

# %%
with house_style():
    figure = new_figure(7, 4, label="microseconds a future against futures in a call")
    axes = figure.subplots()
    for name, per_future in cost.items():
        axes.loglog(particles, 1e6 * np.array(per_future), marker="o", label=name)
    axes.set(xlabel="futures in one call", ylabel="microseconds a future")
    axes.legend()
figure

# %% [markdown]
# **What to see.** All lines fall at first: fixed costs are shared by more futures. The gap between
# the upper line and the others is the work of four members that nobody asked for. Two devices are
# lower still where the machine has two free cores.

# %%
for name, per_future in cost.items():
    print(f"{name:<26}{cost['every member'][1] / per_future[1]:>6.1f} times as fast, 1,000 futures")

# %% [markdown]
# ## The same futures, whatever the layout
#
# Every particle has its own key, so neither the number of devices nor the size of the chunks
# changes what it imagines, but for the last digits: some CPUs sum a matrix product in another order
# when it has another number of rows.


# %%
def futures(**layout):
    states = jnp.broadcast_to(start, (1_000, STATE))
    run = eqx.filter_jit(imagine_tsinf)
    return run(model, policy, states, key=jax.random.key(3), length=LENGTH, **layout)[1].state


one, spread = futures(), futures(devices=devices, chunk=200)
same = np.isclose(one, spread, rtol=1e-3, atol=1e-3).mean()
print(f"equal: {same:.1%} of all numbers; to the bit: {np.array_equal(one, spread)}")
assert same > 0.99

# %% [markdown]
# ## Memory that does not grow
#
# A device takes `chunk` particles at a time, 16,384 if you do not say. Hidden layers of a million
# particles would need gigabytes; so they need as much as those of one chunk. Pass `save=` to keep
# less of each state than the whole.


# %%
def temporary_megabytes(chunk):
    arrays, static = eqx.partition(model, eqx.is_array)

    @jax.jit
    def run(arrays, states, key):
        options = {"key": key, "length": LENGTH, "chunk": chunk, "save": lambda state: None}
        return imagine_tsinf(eqx.combine(arrays, static), policy, states, **options)[0]

    states = jax.ShapeDtypeStruct((100_000, STATE), jnp.float32)
    compiled = run.lower(arrays, states, jax.random.key(0)).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


for chunk in (100_000, 16_384, 2_048):
    print(f"chunk {chunk:>7,}: {temporary_megabytes(chunk):>6.0f} MB beside arguments and results")

# %% [markdown]
# What was measured, and against what, is on the page {doc}`../performance`.
