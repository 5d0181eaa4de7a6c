"""A next state of which one part is known exactly and the other is drawn."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .base import AbstractSampler


class LatentState(eqx.Module):
    """The state of a latent world model (Hafner et al. 2019, arXiv 1811.04551)."""

    deter: PyTree[Array]
    """What follows from the past with certainty: a recurrent state, a window of frames."""
    stoch: PyTree[Array]
    """What was drawn: a latent code, tokens, the newest frame."""


class LatentStateDistribution(AbstractSampler):
    """Distribution of a `LatentState`: `deter` is given, `stoch` is a sampler of its own.

    Densities are those of the drawn part, so `log_prob`, `entropy` and `kl_divergence` exist
    exactly where `stoch` has them.
    """

    deter: PyTree[Array]
    stoch: AbstractSampler

    def sample(self, *, seed: PRNGKeyArray) -> LatentState:
        return LatentState(self.deter, self.stoch.sample(seed=seed))

    def noise(self, *, seed: PRNGKeyArray) -> Any:
        """Noise of the drawn part."""
        return self._density("noise").noise(seed=seed)

    def push(self, noise: Any) -> LatentState:
        """The state that the noise makes."""
        return LatentState(self.deter, self._density("push").push(noise))

    def abduct(self, value: LatentState, *, key: PRNGKeyArray) -> Any:
        """A draw of the noise given the state it made."""
        return self._density("abduct").abduct(value.stoch, key=key)

    def log_prob(self, value: LatentState) -> Float[Array, ""]:
        """Log density of the drawn part, in nats."""
        return self._density("log_prob").log_prob(value.stoch)

    def mean(self) -> LatentState:
        """The state with its drawn part at the mean."""
        return LatentState(self.deter, self._density("mean").mean())

    def mode(self) -> LatentState:
        """The state with its drawn part at the mode."""
        return LatentState(self.deter, self._density("mode").mode())

    def entropy(self) -> Float[Array, ""]:
        """Entropy of the drawn part, in nats."""
        return self._density("entropy").entropy()

    def kl_divergence(self, other: "LatentStateDistribution") -> Float[Array, ""]:
        """KL between the drawn parts, in nats."""
        return self._density("kl_divergence").kl_divergence(other.stoch)

    def _density(self, name: str) -> Any:
        if not hasattr(self.stoch, name):
            raise NotImplementedError(
                f"{name} needs a stoch part with a density, but {type(self.stoch).__name__} can "
                "only be sampled."
            )
        return self.stoch
