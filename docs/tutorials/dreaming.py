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
# # Dreaming to act: Dreamer on a stochastic world
#
# Dreamer learns a world model from what it lives through, and learns to act in what the model
# dreams. On this page it learns `Doors`, a world in which the right plan does not exist: chance
# decides which door is open *after* one has gone in, so one has to look and then choose.

# %%

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm import imagine, observe
from stochwm.agents import train_dreamer, v3_tiny
from stochwm.envs import Doors
from stochwm.report import filmstrip, house_style, new_figure
from stochwm.training import free_bits

# %% [markdown]
# ## The world
#
# In the lobby of a stage, action 0 is safe and pays 0.6; any other leads into the hall, where one
# of the doors, each as likely as the others, is seen to be open. Taking it pays 1, any other 0.
# Now and then a stage begins in the hall.

# %%
world = Doors(stages=1, doors=3)
cells = np.eye(len(world.state_names), dtype=np.float32)
shown = [world.cell(0), world.cell(0, 1), world.cell(0, 3), len(cells) - 1]
filmstrip([world.render(cells[i]) for i in shown], [world.state_names[i] for i in shown])

# %% [markdown]
# Going in and then looking is worth 1 a stage. A plan that is made beforehand gets 1/3 from the
# hall, less than the safe 0.6: whoever plans without looking stays in the lobby.
#
# ## Training
#
# `v3_tiny()` is DreamerV3 at the size of a CPU, and here it is made smaller still. Two choices are
# not the paper's. The weight of the policy's entropy, 3e-4 there, is made for returns of tens and
# hundreds; here the best is 1, and it is 0.02. And the paper leaves one nat a step free: what the
# prior fails to predict costs nothing up to there. Which of three doors opens is log 3 = 1.1 nats,
# so that next to nothing of the chance would be learned; here 0.1 nats are free.

# %%
config = v3_tiny(
    entropy=0.02,
    deter=32,
    width=32,
    depth=1,
    imagined_steps=5,
    batch_size=16,
    sequence_length=8,
    train_ratio=64,
    horizon=20.0,
    learning_rate=1e-3,
    divergence=free_bits(0.1, dyn=1.0, rep=0.1),
)
trained = train_dreamer(world, config, steps=4_000, seed=0, log_every=320, progress=False)
rows = [row for row in trained.history if row["mean_return"] is not None]

with house_style():
    figure = new_figure(5.4, 2.8, label="Return of an episode over steps of the world.")
    axes = figure.subplots()
    axes.plot([r["env_steps"] for r in rows], [r["mean_return"] for r in rows], label="Dreamer")
    always_safe = world.stages * (0.7 * 0.6 + 0.3)
    axes.axhline(world.stages, color="k", lw=0.8, ls="--", label="best")
    axes.axhline(always_safe, color="k", lw=0.8, ls=":", label="safe in every lobby")
    axes.set(xlabel="steps of the world", ylabel="return", ylim=(0, None))
    axes.legend(loc="lower right")
figure

# %% [markdown]
# **What to see.** The first episodes are random. Then the agent learns what to do in a hall, and
# once halls are worth more than 0.6 it goes in: the curve passes the dotted line, which nobody
# passes without looking. It ends at the best return or a little below, since it goes on trying
# things.
#
# ## What does it dream?
#
# We show the model a lobby, go in, and dream 1,000 times: which door is open? The decoder turns
# each dream into something we can read.

# %%
agent, model = trained.agent, trained.agent.model
go_in, lobby = jnp.eye(world.doors)[1], jnp.asarray(cells[world.cell(0)])


@eqx.filter_jit
def halls(model, key):
    """1,000 dreams of the step into the hall, decoded `[1000, cells]`."""
    key_seen, key_dream = jax.random.split(key)
    seen = observe(model, lobby[None], go_in[None], jnp.array([True]), key=key_seen)[1]
    state = jax.tree.map(lambda x: x[0], seen.state)
    dreams = jax.vmap(lambda k: model.transition(state, go_in).sample(seed=k))(
        jax.random.split(key_dream, 1_000)
    )
    return jax.vmap(lambda s: model.decode(s).mean())(dreams), dreams


decoded, dreams = halls(model, jax.random.key(0))
names = ["lobby", *(f"door {k}" for k in range(world.doors)), "elsewhere"]
first = np.asarray(decoded)[:, : world.doors + 1].mean(axis=0)
dreamt = np.append(first, 1 - first.sum())
truth = np.array([0.0, *[1 / world.doors] * world.doors, 0.0])

policies = np.asarray(jax.vmap(lambda s: agent.policy(s).mean())(dreams))
taken = np.stack(
    [policies[np.asarray(decoded)[:, 1 + k] > 0.5].mean(axis=0) for k in range(world.doors)]
)

with house_style():
    figure = new_figure(8.2, 2.8, label="Doors that dreams find open, and what the agent does.")
    left, right = figure.subplots(1, 2)
    left.bar(np.arange(len(names)), dreamt, color="C0", label="1,000 dreams")
    left.plot(np.arange(len(names)), truth, "k_", markersize=22, label="law")
    left.set_xticks(np.arange(len(names)), names)
    left.set(ylabel="share", title="what is dreamt after going in")
    left.margins(y=0.3)  # room for the legend
    left.legend(loc="upper right", ncols=2)
    drawn = right.imshow(taken, vmin=0, vmax=1, cmap="Blues")
    right.set(title="what the agent then does", xlabel="door taken", ylabel="door open")
    right.set_xticks(range(world.doors))
    right.set_yticks(range(world.doors))
    figure.colorbar(drawn, ax=right, label="probability")
figure

# %% [markdown]
# **What to see.** On the left each door is open in some of the dreams, and no dream shows anything
# else: a model that predicts one future could not say that. The shares are only roughly those of
# the law. Latent models learn *what* can happen sooner than *how often*, and acting needs the first
# more; whoever needs the odds measures them, as here. On the right the agent, in each dream, takes
# the door that this dream shows. That is closed-loop acting, learned inside dreams alone.
#
# ## How good are dreams at telling returns?
#
# Policies are improved by what dreams promise. So they should promise what comes.


# %%
@eqx.filter_jit
def dreamt_returns(agent, key):
    """Returns of 500 dreams of an episode from the lobby, under the agent's own policy."""
    key_seen, key_dreams = jax.random.split(key)
    action = jnp.zeros((1, world.doors))
    seen = observe(agent.model, lobby[None], action, jnp.array([True]), key=key_seen)[1]
    start = jax.tree.map(lambda x: x[0], seen.state)

    def policy(state, *, key):
        return agent.policy(state).sample(seed=key)

    def one(key):
        future = imagine(agent.model, policy, start, key=key, length=5)[1]
        alive = jnp.concatenate([jnp.ones(1), jnp.cumprod(future.discount)[:-1]])
        return jnp.sum(alive * future.reward)

    return jax.vmap(one)(jax.random.split(key_dreams, 500))


returns = np.asarray(dreamt_returns(agent, jax.random.key(1)))
print(f"dreamt return  {returns.mean():.2f} +- {returns.std() / np.sqrt(len(returns)):.2f}")
print(f"lived return   {rows[-1]['mean_return']:.2f}")

# %% [markdown]
# The two are close, and so the dream can be trusted for as long as it was asked here. How to find
# out until when that holds is what {doc}`drift` is about.
#
# ## Your own world
#
# `train_dreamer` takes any registered Gymnasium id, a function that makes an environment, or a
# world of known law, with discrete or bounded continuous actions, and vectors, categories or
# pictures to look at. `PRESETS` has DreamerV1 and V2 as well; {doc}`../api/agents` lists equations
# beside names.
