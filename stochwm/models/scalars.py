"""How a network predicts one number of unknown size: a reward, a value."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distributions import symexp


class AbstractScalar(eqx.Module):
    """Turns the raw outputs of a network into a number, and says how far it is off."""

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """Raw numbers that the network has to give."""

    @abc.abstractmethod
    def mean(self, raw: Float[Array, " outputs"]) -> Float[Array, ""]:
        """The prediction."""

    @abc.abstractmethod
    def loss(self, raw: Float[Array, " outputs"], target: Float[Array, ""]) -> Float[Array, ""]:
        """What to minimise; least, on average, where the prediction is the expected target."""


class MeanSquared(AbstractScalar):
    """The number itself, learned by half the squared error (DreamerV1 and V2)."""

    @property
    def outputs(self) -> int:
        return 1

    def mean(self, raw: Float[Array, " 1"]) -> Float[Array, ""]:
        return raw[0]

    def loss(self, raw: Float[Array, " 1"], target: Float[Array, ""]) -> Float[Array, ""]:
        return 0.5 * (raw[0] - jax.lax.stop_gradient(target)) ** 2


class SymexpTwoHot(AbstractScalar):
    """A categorical over bins that lie ever farther apart (arXiv 2301.04104, "Critic learning").

    The bins are `symexp(linspace(-20, 20))`; a target is shared between its two neighbours, so that
    its expectation is right, and the loss is a cross-entropy, whose gradient does not grow with the
    target. Targets beyond the outer bins count as those.
    """

    bins: int = eqx.field(static=True, default=255)

    def __check_init__(self):
        """An odd number has a bin at 0."""
        if self.bins < 3 or self.bins % 2 == 0:
            raise ValueError(f"bins must be an odd number of at least 3, but is {self.bins}.")

    @property
    def outputs(self) -> int:
        return self.bins

    @property
    def values(self) -> Float[Array, " bins"]:
        """What each bin stands for."""
        half = symexp(jnp.linspace(-20, 0, self.bins // 2 + 1))
        return jnp.concatenate([half, -half[:-1][::-1]])

    def mean(self, raw: Float[Array, " bins"]) -> Float[Array, ""]:
        probs, middle = jax.nn.softmax(raw), self.bins // 2
        # Bins of opposite sign are added in pairs, from the small to the large: a uniform
        # prediction is exactly 0, where a plain sum of numbers up to 1e8 would leave a residue.
        pairs = probs[middle + 1 :] - probs[:middle][::-1]
        return jnp.sum(pairs * self.values[middle + 1 :])

    def loss(self, raw: Float[Array, " bins"], target: Float[Array, ""]) -> Float[Array, ""]:
        return -jnp.sum(self.two_hot(target) * jax.nn.log_softmax(raw))

    def two_hot(self, target: Float[Array, ""]) -> Float[Array, " bins"]:
        """Weights of the two bins around a target, which sum to 1."""
        values = self.values
        target = jnp.clip(jax.lax.stop_gradient(target), values[0], values[-1])
        above = jnp.clip(jnp.searchsorted(values, target, side="right"), 1, self.bins - 1)
        low, high = values[above - 1], values[above]
        share = (target - low) / (high - low)
        one_hot = lambda i: jax.nn.one_hot(i, self.bins)  # noqa: E731
        return (1 - share) * one_hot(above - 1) + share * one_hot(above)
