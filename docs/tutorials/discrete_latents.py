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
# # Discrete latents against mixtures: which multimodality when
#
# Two families of this library predict several futures at once. A `MixtureDensity` lists them: K
# components with a weight each. A `DiscreteLatent` draws a *code*, G categoricals of C classes,
# and decodes it. With G = 1 the two are the same thing. With more groups they are not, and this
# page shows on a world of known law which of them to take when.

# %%
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm.data import Transitions
from stochwm.report import house_style, new_figure
from stochwm.training import fit, free_bits, negative_elbo, straight_through
from stochwm.transitions import DiscreteLatent, MixtureDensity, importance_weighted_bound

# %% [markdown]
# ## Four lamps
#
# Each of four lamps is on or off, and the action sets the odds of all of them: lamp d is lit next
# with probability `sigmoid(2 a_d)`, independently of the others. We see the lamps through a little
# noise. One step has 16 possible outcomes, and what decides between them are only four numbers.

# %%
LAMPS, NOISE = 4, 0.15
COMBINATIONS = np.array(list(itertools.product((-1.0, 1.0), repeat=LAMPS)), np.float32)


def law(action):
    """Log probability of every combination, `[..., 16]`."""
    lit = 1 / (1 + np.exp(-2 * action[..., None, :] * COMBINATIONS))
    return np.log(lit).sum(axis=-1)


def step(rows, seed):
    """Transitions of the lamps under random actions."""
    random = np.random.default_rng(seed)
    action = random.uniform(-1, 1, (rows, LAMPS)).astype(np.float32)
    lit = random.random((rows, LAMPS)) < 1 / (1 + np.exp(-2 * action))
    seen = np.where(lit, 1.0, -1.0) + NOISE * random.normal(size=(rows, LAMPS))
    zero = np.zeros(rows, np.float32)
    state = np.zeros((rows, LAMPS), np.float32)  # the lamps forget: where they were tells nothing
    return Transitions(state, action, zero, zero + 1, seen.astype(np.float32), np.arange(rows))


def true_log_density(rows):
    """Log density of what came, under the law: no model can do better on average."""
    apart = (rows.next_state[:, None] - COMBINATIONS) / NOISE
    normal = -0.5 * apart**2 - np.log(NOISE * np.sqrt(2 * np.pi))
    return np.log(np.exp(law(rows.action) + normal.sum(-1)).sum(-1))


test = step(2_000, seed=99)

# %% [markdown]
# ## Which learns it from how much data?
#
# A mixture of 8 cannot hold 16 combinations. A mixture of 16 can. So can codes of 4 groups of 2
# classes: also 16 combinations, but of 4 independent choices. Both are trained by their exact
# likelihood, since with so few codes the sum over all of them is done.


# %%
SIZE = {"width": 32, "key": jax.random.key(0)}
FAMILIES = {
    "mixture of 8": lambda: MixtureDensity(LAMPS, LAMPS, num_components=8, **SIZE),
    "mixture of 16": lambda: MixtureDensity(LAMPS, LAMPS, num_components=16, **SIZE),
    "codes, 4 x 2": lambda: DiscreteLatent(LAMPS, LAMPS, num_groups=4, num_classes=2, **SIZE),
}
AMOUNTS = (300, 1_000, 3_000)


@eqx.filter_jit
def log_density(model, rows):
    return jax.vmap(lambda r: model(r.state, r.action).log_prob(r.next_state))(rows)


def nats_above(model):
    """What the model costs above the law, in nats a step, on steps that it has not seen."""
    return float(np.mean(true_log_density(test) - log_density(model, test)))


def learn(make, rows):
    data, held_out = step(rows, seed=rows), step(rows // 4, seed=rows + 1)
    options = {"steps": 1_500, "batch_size": 128, "evaluate_every": 150, "patience": 3}
    return fit(
        make(), data, key=jax.random.key(1), validation=held_out, progress=False, **options
    ).model


models = {(name, n): learn(make, n) for name, make in FAMILIES.items() for n in AMOUNTS}
costs = {name: [nats_above(models[name, n]) for n in AMOUNTS] for name in FAMILIES}
with house_style():
    figure = new_figure(5.4, 2.8, label="Nats above the law over training steps, by family.")
    axes = figure.subplots()
    for name, cost in costs.items():
        axes.plot(AMOUNTS, cost, marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="training steps", ylabel="nats above the law")
    axes.legend()
figure

# %% [markdown]
# **What to see.** Lower is better. The mixture of 8 levels off: it has to cover two combinations
# with one component. The mixture of 16 can hold them all, but learns each weight by itself. The
# codes learn one choice a lamp, which every example tells something about, and need the least
# data.
#
# ## Do the combinations come as often as they should?

# %%
action = np.array([1.0, -1.0, 0.3, 0.0], np.float32)


@eqx.filter_jit
def share_of_each(model, key):
    """How often 4,000 draws are nearest to each combination."""
    prediction = model(jnp.zeros(LAMPS), action)
    draws = jax.vmap(lambda k: prediction.sample(seed=k))(jax.random.split(key, 4_000))
    nearest = jnp.argmin(jnp.sum((draws[:, None] - COMBINATIONS) ** 2, axis=-1), axis=-1)
    return jnp.bincount(nearest, length=len(COMBINATIONS)) / 4_000


def bars(shares):
    truth = np.exp(law(action))
    order = np.argsort(-truth)
    with house_style():
        figure = new_figure(8.2, 2.6, label="Share of each combination of lamps, by family.")
        axes = figure.subplots()
        thick = 0.8 / len(shares)
        for i, (name, share) in enumerate(shares.items()):
            axes.bar(
                np.arange(16) + (i - 0.5 * (len(shares) - 1)) * thick,
                share[order],
                thick,
                label=name,
            )
        axes.plot(np.arange(16), truth[order], "k_", markersize=14, label="law")
        words = ["".join("o" if x > 0 else "." for x in COMBINATIONS[i]) for i in order]
        axes.set_xticks(np.arange(16), words, rotation=60)
        axes.set(ylabel="share", xlabel="lamps (o: lit)")
        axes.legend()
    return figure


shares = {
    name: np.asarray(share_of_each(models[name, 3_000], jax.random.key(2))) for name in FAMILIES
}
for name, share in shares.items():
    apart = 0.5 * np.abs(share - np.exp(law(action))).sum()
    print(f"{name:<16}total variation to the law {apart:.3f}")
bars(shares)

# %% [markdown]
# **What to see.** Black marks are the law. The mixture of 16 and the codes are near. The mixture of
# 8 takes from the likeliest combinations and gives to rare ones: a component that has to stand for
# two of them is wide, and its draws fall between them too.
#
# ## When the sum can no longer be done
#
# Sixteen lamps would have 65,536 combinations. A prediction is then a sampler, and the likelihood
# is only bounded: `negative_elbo` trains with draws of a posterior, and `importance_weighted_bound`
# says what the model is worth, closer the more draws it takes. We force that on the four lamps,
# where the exact likelihood is known, to see what the bounds leave open. Two losses have a part of
# DreamerV3's: `free_bits`, by which a small divergence of posterior and prior costs nothing, and
# the straight-through gradient, which treats a drawn code as if it were its probabilities.

# %%
sampled = DiscreteLatent(LAMPS, LAMPS, num_groups=4, num_classes=2, max_components=1, **SIZE)
LOSSES = {
    "evidence bound": negative_elbo(num_samples=4),
    "with free bits": negative_elbo(free_bits(1.0, 1.0, 0.1), num_samples=4),
    "with straight-through gradient": negative_elbo(expectation=straight_through, num_samples=4),
}
rows = step(3_000, seed=3_000)


@eqx.filter_jit
def bound(model, rows, key):
    keys = jax.random.split(key, len(rows.action))
    one = lambda r, k: importance_weighted_bound(  # noqa: E731
        model, r.state, r.action, r.next_state, key=k, num_samples=64
    )
    return jax.vmap(one)(rows, keys)


for name, loss in LOSSES.items():
    options = {"steps": 1_000, "batch_size": 128, "patience": None, "progress": False}
    model = fit(sampled, rows, loss, key=jax.random.key(1), **options).model
    gap = np.mean(true_log_density(test) - bound(model, test, jax.random.key(3)))
    print(f"{name:<32}at most {gap:.3f} nats above the law")

# %% [markdown]
# **What to see.** Trained by a bound, with unbiased gradients, codes are as good as by the exact
# likelihood. Free bits make no difference here. The straight-through gradient does: it pretends
# that a code can be half of one class, for which a smooth decoder of wide densities forgives it,
# and these narrow ones do not. Dreamer, whose decoder is of the first kind, gets by with it.
#
# ## Which to take
#
# | the next state | take |
# |---|---|
# | has a few modes, or one of odd shape | `MixtureDensity`: exact; best on `Fork`, `Wet-Chicken` |
# | is made of independent choices | `DiscreteLatent` with a group each |
# | has modes that belong together | `MixtureDensity`, or one group with as many classes |
# | has more combinations than can be summed | `DiscreteLatent`, trained by a bound |
# | is a picture, or is seen only in part | `RSSM`: codes with a memory, see {doc}`dreaming` |
