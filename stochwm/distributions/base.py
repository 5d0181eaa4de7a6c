"""What a prediction is: something to sample, and usually something with a density."""

import abc
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

if TYPE_CHECKING:
    import distrax


class AbstractSampler(eqx.Module):
    """All that imagination needs of a prediction: one draw."""

    @abc.abstractmethod
    def sample(self, *, seed: PRNGKeyArray) -> PyTree[Array]:
        """Draw one value. There is no batch argument: `vmap` over seeds.

        Args:
            seed: a key (`jax.random.key(...)`), shape `()`.

        Returns:
            one value; its shape is the distribution's event shape.
        """


class Modes(eqx.Module):
    """The local maxima of a density; rows of weight 0 are padding, so that shapes are static."""

    loc: Float[Array, "modes dim"]
    """Where each mode is."""
    weight: Float[Array, " modes"]
    """Probability of the components that lead uphill to the mode; the weights sum to 1."""
    log_density: Float[Array, " modes"]
    """The log density at the mode, in nats."""


class AbstractDistribution(AbstractSampler):
    """A prediction with a density, which is also a structural equation.

    The arrays that parameterise it are the pytree; what distrax knows already is asked of the
    distrax twin, built on demand by `to_distrax` and never stored. Every method speaks about one
    value without a batch axis; `vmap` a distribution whose leaves carry leading axes.

    Spelling follows distrax. A quantity without a closed form raises `NotImplementedError` and
    points to its `*_bounds` (certified) and `*_estimate` (Monte Carlo, with a standard error).
    """

    @property
    @abc.abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one value."""

    @abc.abstractmethod
    def noise(self, *, seed: PRNGKeyArray) -> PyTree[Array]:
        """Draw the exogenous noise u of the structural equation `value = push(u)`."""

    @abc.abstractmethod
    def push(self, noise: PyTree[Array]) -> PyTree[Array]:
        """The value that the noise makes; differentiable in noise and parameters."""

    @abc.abstractmethod
    def abduct(self, value: PyTree[Array], *, key: PRNGKeyArray) -> PyTree[Array]:
        """A draw of the noise given the value it made, so that `push(abduct(x, key=key)) == x`.

        Pushing the same noise through another distribution answers "what if?": abduction, action
        and prediction of Pearl (2009, section 7.1); for choices, the Gumbel-max form of Oberst &
        Sontag (2019, arXiv 1905.05824).
        """

    @abc.abstractmethod
    def to_distrax(self) -> "distrax.Distribution":
        """The distrax twin. Use it inside the transform that built it: distrax objects leak."""

    def sample(self, *, seed: PRNGKeyArray) -> Any:
        """Draw one value; see `AbstractSampler.sample`."""
        return self.push(self.noise(seed=seed))

    def log_prob(self, value: Any) -> Float[Array, ""]:
        """Log density (log mass for atoms and categories) at one value, in nats."""
        twin: Any = self.to_distrax()
        return twin.log_prob(value)

    def mean(self) -> Any:
        """Expected value, of the event shape."""
        return self.to_distrax().mean()

    def variance(self) -> Any:
        """Variance of each dimension, of the event shape."""
        return self.to_distrax().variance()

    def covariance(self) -> Float[Array, "dim dim"]:
        """Covariance matrix of a flat value."""
        raise _unsupported(self, "covariance")

    def mode(self) -> Any:
        """The most likely value."""
        return self.to_distrax().mode()

    def modes(self) -> Modes:
        """All local maxima of the density, heaviest basin not necessarily first."""
        loc = self.mode()
        return Modes(loc[None], jnp.ones((1,)), self.log_prob(loc)[None])

    def entropy(self) -> Float[Array, ""]:
        """Entropy in nats, where a closed form exists."""
        raise _unsupported(self, "entropy")

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Certified `(lower, upper)` bounds of the entropy, in nats; equal where it is exact."""
        entropy = self.entropy()
        return entropy, entropy

    def entropy_estimate(
        self, *, key: PRNGKeyArray, num_samples: int
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Monte Carlo estimate of the entropy and its standard error, in nats."""
        log_prob = jax.vmap(self.log_prob)(_draws(self, key, num_samples))
        return _average(-log_prob, log_prob)

    def kl_divergence(self, other: "AbstractDistribution") -> Float[Array, ""]:
        """KL(self || other) in nats, where a closed form exists."""
        raise _unsupported(self, "kl_divergence", other)

    def kl_bounds(self, other: "AbstractDistribution") -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Certified `(lower, upper)` bounds of KL(self || other), in nats."""
        divergence = self.kl_divergence(other)
        return divergence, divergence

    def kl_estimate(
        self, other: "AbstractDistribution", *, key: PRNGKeyArray, num_samples: int
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Monte Carlo estimate of KL(self || other) and its standard error, in nats."""
        draws = _draws(self, key, num_samples)
        log_prob = jax.vmap(self.log_prob)(draws)
        return _average(log_prob - jax.vmap(other.log_prob)(draws), log_prob)

    def cdf(self, value: Any) -> Float[Array, " dim"]:
        """P(X_d <= value_d) of each dimension's marginal, shape `[dim]`."""
        raise _unsupported(self, "cdf")

    def cdf_limits(self, value: Any) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
        """P(X_d < value_d) and P(X_d <= value_d) of each marginal, shape `[dim]` each.

        The limits of the cdf from the left and from the right. They differ where the value is an
        atom; what is an atom up to rounding counts as one, as in `log_prob`.
        """
        cdf = self.cdf(value)
        return cdf, cdf

    def quantile(self, level: Any) -> Float[Array, " dim"]:
        """The value below which each marginal has mass `level` (a scalar or `[dim]`, in (0, 1))."""
        raise _unsupported(self, "quantile")

    def marginal(self, dims: tuple[int, ...]) -> "AbstractDistribution":
        """The distribution of some dimensions of the value, in the order given."""
        raise _unsupported(self, "marginal")

    def affine(self, shift: Any, scale: Any) -> "AbstractDistribution":
        """The distribution of `shift + scale * value`, with `scale > 0` and shapes `[dim]`."""
        raise _unsupported(self, "affine")

    def smoothed(self, scale: Any) -> "AbstractDistribution":
        """The distribution of `value + e` with `e ~ N(0, diag(scale**2))` independent of it."""
        raise _unsupported(self, "smoothed")


def _draws(sampler: AbstractSampler, key: PRNGKeyArray, num_samples: int) -> PyTree[Array]:
    if num_samples < 2:
        raise ValueError(
            f"num_samples must be at least 2 for a standard error, but is {num_samples}."
        )
    keys = jax.random.split(key, num_samples)
    draws = jax.vmap(lambda seed: sampler.sample(seed=seed))(keys)
    return jax.lax.stop_gradient(draws)


def _average(
    values: Float[Array, " samples"], log_prob: Float[Array, " samples"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean and standard error of a function of draws, with an unbiased gradient for every family.

    The draws are held fixed; what their law owes to the parameters comes back as the score-function
    term (Williams 1992, "Simple statistical gradient-following algorithms"), whose value is 0.
    """
    num_samples = values.shape[0]
    centred = jax.lax.stop_gradient(values - jnp.mean(values))
    centred = jnp.where(jnp.isfinite(centred), centred, 0.0)
    score = jnp.sum(centred * (log_prob - jax.lax.stop_gradient(log_prob))) / (num_samples - 1)
    return jnp.mean(values) + score, jnp.std(values, ddof=1) / jnp.sqrt(num_samples)


def _unsupported(
    distribution: AbstractDistribution, name: str, other: object = None
) -> NotImplementedError:
    kind = type(distribution).__name__
    against = "" if other is None else f" against {type(other).__name__}"
    hint = {
        "entropy": " Use entropy_estimate(key=..., num_samples=...), or the entropy_bounds() that "
        "mixtures have.",
        "kl_divergence": " Use kl_estimate(other, key=..., num_samples=...), or the "
        "kl_bounds(other) that mixtures of normals have.",
    }.get(name, "")
    return NotImplementedError(f"{kind} has no closed-form {name}{against}.{hint}")
