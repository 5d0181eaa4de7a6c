"""Use a network of your own, and check that your transition keeps the library's laws.

python examples/own_network.py
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp

from stochwm import imagine
from stochwm.models import Markov
from stochwm.testing import check_transition
from stochwm.transitions import MixtureDensity


class Residual(eqx.Module):
    """A small residual network from [features] to [outputs]."""

    inwards: eqx.nn.Linear
    block: eqx.nn.MLP
    outwards: eqx.nn.Linear

    def __init__(self, features, outputs, width, *, key):
        """Make the network."""
        keys = jax.random.split(key, 3)
        self.inwards = eqx.nn.Linear(features, width, key=keys[0])
        self.block = eqx.nn.MLP(width, width, width, 1, activation=jax.nn.silu, key=keys[1])
        self.outwards = eqx.nn.Linear(width, outputs, key=keys[2])

    def __call__(self, x):
        """One example, without a batch axis."""
        x = self.inwards(x)
        return self.outwards(x + self.block(x))


def main() -> None:
    """Make a transition around it, check it, imagine with it."""
    show_help = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=show_help).parse_args()
    key_network, key_transition, key_check, key_roll = jax.random.split(jax.random.key(0), 4)
    state, action, components = 3, 2, 4
    network = Residual(state + action, components * (1 + 2 * state), 32, key=key_network)
    transition = MixtureDensity(
        state, action, num_components=components, network=network, key=key_transition
    )
    check_transition(transition, jnp.zeros(state), jnp.ones(action), key=key_check)
    print("check_transition: every law holds")

    policy = lambda state, *, key: jax.random.normal(key, (action,))  # noqa: E731
    _, trajectory = imagine(Markov(transition), policy, jnp.zeros(state), key=key_roll, length=5)
    print(trajectory.state)


if __name__ == "__main__":
    main()
