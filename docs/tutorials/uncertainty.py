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
# # Known unknowns: epistemic against aleatoric in multimodal worlds
#
# A prediction can be uncertain because the world is random (*aleatoric*: more data would not help)
# or because the model does not know (*epistemic*: more data would). One number for both misleads.
# The usual way to tell them apart looks at means, and in a world with several modes that misleads
# as well. This page shows both failures, what sees more, and what nothing of this kind can see.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stochwm.data import collect, standardisers
from stochwm.distributions import DiagNormalMixture, UniformMixture
from stochwm.drift import (
    MutualInformation,
    cdf_disagreement,
    energy_distance,
    epistemic_variance,
    split_information,
    split_variance,
    total_variance,
)
from stochwm.envs import Fork
from stochwm.report import house_style, new_figure, roc_curves
from stochwm.training import fit
from stochwm.transitions import Ensemble, Gaussian, MixtureDensity, Standardised

# %% [markdown]
# ## The first failure: one number
#
# We drive on a road that forks at random and keep only the steps that begin left of the centre
# line. Two ensembles learn from them: of mixtures, and, for later, of single normals.


# %%
episodes = collect("stochwm/Fork-v0", steps=6_000, seed=0, progress=False)
rows = episodes.transitions()
seen = jax.tree.map(lambda x: x[rows.state[:, 0] < 0], rows)
scales = standardisers(seen, episodes.observation_space, episodes.action_space)


def learn(kernel, **options):
    make = lambda key: Standardised(kernel(2, 1, width=32, key=key, **options), *scales)  # noqa: E731
    ensemble = Ensemble(make, 3, key=jax.random.key(0))
    return fit(ensemble, seen, steps=500, key=jax.random.key(1), progress=False).model


mixtures, normals = learn(MixtureDensity, num_components=4), learn(Gaussian)
ys = np.linspace(-1.5, 1.5, 200)
at = jnp.stack([jnp.asarray(ys), jnp.full(200, 0.8)], axis=1)


@eqx.filter_jit
def judge(ensemble, states):
    """Numbers about the predictions, and how far they are from the law."""
    information = MutualInformation(key=jax.random.key(2), num_samples=64)

    def one(state, key):
        prediction, law = ensemble(state, jnp.zeros(1)), Fork().law(state, jnp.zeros(1))
        draws = lambda p: jax.vmap(lambda k: p.sample(seed=k))(jax.random.split(key, 200))  # noqa: E731
        return {
            "total variance": total_variance(prediction),
            "variance of means": epistemic_variance(prediction),
            "information": information(prediction),
            "distance to the law": energy_distance(
                jnp.stack([draws(prediction), draws(law)]), fair=False
            ),
        }

    keys = jax.random.split(jax.random.key(3), len(states))
    return jax.lax.map(lambda row: one(*row), (states, keys))


def across_the_road(found, names):
    with house_style():
        figure = new_figure(8.2, 2.5, label=f"{', '.join(names)} across the road.")
        for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
            axes.axvspan(-1.5, 0.0, color="#E9EDF2", lw=0)
            for label, numbers in found.items():
                axes.plot(ys, numbers[name], label=label)
            axes.set(title=name, xlabel="y (grey: data)", ylim=(0, None))
        if len(found) > 1:
            axes.legend()
    return figure


judged = {"mixtures": judge(mixtures, at), "single normals": judge(normals, at)}
NAMES = ("total variance", "variance of means", "distance to the law")
across_the_road({"mixtures": judged["mixtures"]}, NAMES)

# %% [markdown]
# **What to see.** On the right is what we want to know: where is the prediction wrong? Beyond the
# data, and hardly within. On the left, the variance of the prediction is large everywhere, since
# the road forks everywhere; it hardly changes where the errors begin. In the middle is the part of
# that variance which is the members' disagreement: next to nothing within the data, larger beyond.
#
# The law of total variance takes them apart: the variance of the mixture is the mean of the
# members' variances (aleatoric) plus the variance of their means (epistemic).

# %% [markdown]
# ## The second failure: equal means
#
# Two members about one next state. The first says: left or right. The second says: somewhere around
# the middle. They could hardly disagree more, and yet their means and variances are the same.

# %%
logits, locs = jnp.zeros((2, 2)), jnp.array([[[-1.0], [1.0]], [[0.0], [0.0]]])
scales_of = jnp.array([[[0.1], [0.1]], [[1.005], [1.005]]])
two = UniformMixture(DiagNormalMixture(logits, locs, scales_of))

values = jnp.linspace(-3, 3, 301)[:, None]


@eqx.filter_jit
def density(member):
    return jnp.exp(jax.vmap(member.log_prob)(values))


densities = [density(jax.tree.map(lambda x, i=i: x[i], two.members)) for i in range(2)]
with house_style():
    figure = new_figure(5.2, 2.4, label="Two densities of equal mean and variance.")
    axes = figure.subplots()
    for height, label in zip(densities, ("member 1", "member 2"), strict=True):
        axes.plot(values[:, 0], height, label=label)
    axes.set(xlabel="next state", ylabel="density", ylim=(0, None))
    axes.legend()
figure


# %%
@eqx.filter_jit
def ways(prediction):
    information = split_information(prediction, key=jax.random.key(4), num_samples=500)
    return split_variance(prediction), information, cdf_disagreement(prediction)


variance, information, gap = ways(two)
total = float((variance.epistemic + variance.aleatoric)[0, 0])
print(f"epistemic variance  {float(variance.epistemic[0, 0]):.3f} of {total:.3f}")
print(f"mutual information  {float(information.epistemic):.3f} of at most {np.log(2):.3f} nats")
print(f"  certified         {float(information.lower):.3f} to {float(information.upper):.3f}")
print(f"cdf disagreement    {float(gap):.3f}")

# %% [markdown]
# **What to see.** By variance all is chance, and nothing is unknown. The mutual information between
# member and outcome, the entropy of the mixture minus the mean entropy of the members, sees the
# difference: how much would it tell to know which member is right? So does `cdf_disagreement`,
# which has a closed form for mixtures and is in the units of the state. For a world with several
# modes take one of these.
#
# ## Which finds what is wrong?
#
# States from all over the road, at all speeds. The third whose predictions are farthest from the
# law counts as wrong.

# %%
low, high = np.array([-1.5, 0.2]), np.array([1.5, 1.1])
anywhere = jnp.asarray(np.random.default_rng(0).uniform(low, high, (200, 2)), jnp.float32)
found = judge(mixtures, anywhere)
wrong = np.asarray(found["distance to the law"] > np.quantile(found["distance to the law"], 2 / 3))
scores = {name: found[name] for name in ("total variance", "variance of means", "information")}
roc_curves(scores, wrong)

# %% [markdown]
# **What to see.** Each curve is a number, at all thresholds that one could set for it: which share
# of the wrong predictions exceeds the threshold (upwards), and which share of the right ones (to
# the right). The farther a curve is to the top left, the better the number tells them apart. The
# area under it (AUROC, in the legend) is the chance that a wrong prediction has the larger number.
# Both measures of disagreement do it well; the total variance, chance included, does it worst. Here
# the means move too where the members disagree. Where only modes do, as above, the variance of
# means is left with nothing.
#
# ## What none of them can see
#
# Now the ensemble of single normals. A normal cannot fork. So every member covers the roads *and*
# the ditches between them, and all do it in the same way.

# %%
across_the_road(judged, ("variance of means", "information", "distance to the law"))

# %%
within = ys < -0.1
for label, numbers in judged.items():
    means = {name: float(np.mean(np.asarray(n)[within])) for name, n in numbers.items()}
    told = f"information {means['information']:.3f} nats, "
    print(f"{label:<16}{told}distance to the law {means['distance to the law']:.3f}")

# %% [markdown]
# **What to see.** Within the data the normals are farther from the law than the mixtures, and they
# disagree *less*. *An error that all members share looks like knowledge.* Disagreement measures
# what more data of this kind would change. It does not see a family that is too stiff, a world that
# has changed since, or a variable that nobody measured.
#
# What sees those is a comparison with what really happened, {doc}`calibration`, and the
# promise `Coverage` of a guard. {doc}`drift` puts such a guard into the
# rollout.
