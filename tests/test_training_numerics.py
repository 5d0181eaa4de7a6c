"""Mixture training must not blow up: outliers, repeated targets, fifty seeds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from stochwm.distributions import AbstractSampler
from stochwm.training import TrainingDiverged, fit
from stochwm.transitions import AbstractTransition, Ensemble, MixtureDensity
from tests.cases_models import line_data

SEEDS, STEPS = 50, 200


def hard_data():
    """Unit-scale data with targets up to 1e4 standard deviations off, and repeated ones."""
    rng = np.random.default_rng(0)
    data = line_data(512)
    target = data.next_state.copy()
    target[rng.choice(512, 40, replace=False)] *= 10 ** rng.uniform(1, 4, size=(40, 1))
    target[rng.choice(512, 4, replace=False), 0] = [1e4, -1e4, 1e4, -1e4]
    target[rng.choice(512, 150, replace=False)] = 0.5
    return eqx.tree_at(lambda d: d.next_state, data, target.astype("float32"))


def train(make):
    return fit(
        Ensemble(make, SEEDS, key=jax.random.key(0)),
        hard_data(),
        key=jax.random.key(1),
        steps=STEPS,
        batch_size=64,
        evaluate_every=100,
        progress=False,
    )


def test_fifty_seeds_survive_outliers_and_repeated_targets():
    make = lambda key: MixtureDensity(1, 1, num_components=3, width=8, depth=1, key=key)  # noqa: E731
    fitted = train(make)
    leaves = jax.tree.leaves(eqx.filter(fitted.model, eqx.is_array))
    assert leaves[0].shape[0] == SEEDS
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    losses = [row["loss"] for row in fitted.history]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


class NaiveMixture(AbstractSampler):
    logits: Array
    loc: Array
    scale: Array

    def sample(self, *, seed):
        return self.loc[0]

    def log_prob(self, value):
        """The log of a sum of densities, which is minus infinity a few deviations off."""
        z = (value - self.loc) / self.scale
        density = jnp.prod(jnp.exp(-0.5 * z**2) / (self.scale * jnp.sqrt(2 * jnp.pi)), axis=-1)
        return jnp.log(jnp.sum(jax.nn.softmax(self.logits) * density))


class Naive(AbstractTransition):
    """As most mixture density networks on the web: exponential scales, no floor, no log-sum-exp."""

    network: eqx.nn.MLP

    def __init__(self, key):
        self.network = eqx.nn.MLP(2, 9, 8, 1, activation=jax.nn.silu, key=key)

    def __call__(self, state, action):
        out = self.network(jnp.concatenate([state, action])).reshape(3, 3)
        return NaiveMixture(out[:, 0], out[:, 1:2], jnp.exp(out[:, 2:]))


def test_the_data_are_hard_enough_to_break_a_naive_mixture():
    with pytest.raises(TrainingDiverged):
        train(Naive)
