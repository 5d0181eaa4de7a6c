"""What every mixture shares, whatever its components are."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .base import AbstractDistribution
from .checks import as_level
from .choice import abduct_choice, choose, nan_unless

BISECTIONS = 50  # halves a float32 bracket until it cannot shrink


class MixtureNoise(eqx.Module):
    """The exogenous noise of a mixture: what chooses the component, and what it draws."""

    choice: Array
    draw: PyTree[Array]


class AbstractMixture(AbstractDistribution):
    """A weighted mixture of distributions of one family, stacked on a leading axis.

    A draw chooses one component and draws from it alone; drawing every component and selecting
    costs K times as much.
    """

    @abc.abstractmethod
    def log_weights(self) -> Float[Array, " components"]:
        """Normalised log weights, in nats."""

    @abc.abstractmethod
    def components(self) -> AbstractDistribution:
        """The components: one distribution whose leaves have a leading components axis."""

    def component(self, index: Any) -> AbstractDistribution:
        """Component number `index`."""
        return take(self.components(), index)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return take(self.components(), 0).event_shape

    def noise(self, *, seed: PRNGKeyArray) -> MixtureNoise:
        key_choice, key_draw = jax.random.split(seed)
        gumbel = jax.random.gumbel(key_choice, self.log_weights().shape)
        return MixtureNoise(gumbel, self.component(0).noise(seed=key_draw))

    def push(self, noise: MixtureNoise) -> Any:
        log_weights = self.log_weights()
        index = choose(log_weights, noise.choice)
        value = self.component(index).push(noise.draw)
        return nan_unless(~jnp.isnan(log_weights[index]), value)

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> MixtureNoise:
        key_index, key_choice, key_draw = jax.random.split(key, 3)
        index = jax.random.categorical(key_index, self.responsibilities(value))
        choice = abduct_choice(self.log_weights(), index, key=key_choice)
        return MixtureNoise(choice, self.component(index).abduct(value, key=key_draw))

    def responsibilities(self, value: Any) -> Float[Array, " components"]:
        """Log probability of each component given the value, unnormalised, in nats."""
        return self.log_weights() + over_components(
            lambda component: component.log_prob(value), self.components()
        )

    def log_prob(self, value: Any) -> Float[Array, ""]:
        return logsumexp(self.responsibilities(value))

    def weights(self) -> Float[Array, " components"]:
        """Weights of the components; they sum to 1."""
        return jnp.exp(self.log_weights())

    def mean(self) -> Any:
        return self._average(lambda component: component.mean())

    def variance(self) -> Any:
        mean = self.mean()
        return self._average(lambda c: c.variance() + (c.mean() - mean) ** 2)

    def covariance(self) -> Float[Array, "dim dim"]:
        mean = self.mean()

        def about_the_mean(component):
            shift = component.mean() - mean
            return component.covariance() + jnp.outer(shift, shift)

        return self._average(about_the_mean)

    def cdf(self, value: Any) -> Float[Array, " dim"]:
        return self._average(lambda component: component.cdf(value))

    def cdf_limits(self, value: Any) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
        limits = self._average(lambda component: jnp.stack(component.cdf_limits(value)))
        return limits[0], limits[1]

    def quantile(self, level: Any) -> Float[Array, " dim"]:
        """The marginal quantiles by bisection, `[dim]`, with the gradient of the exact ones."""
        return _quantile(self, as_level(level) * jnp.ones(self.event_shape))

    def mode(self) -> Any:
        modes = self.modes()
        return modes.loc[jnp.argmax(jnp.where(modes.weight > 0, modes.log_density, -jnp.inf))]

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The choice adds between nothing and the entropy of the weights (Cover & Thomas 2006)."""
        lower, upper = over_components(lambda c: jnp.stack(c.entropy_bounds()), self.components()).T
        weights, log_weights = self.weights(), self.log_weights()
        of_choice = -jnp.sum(weights * jnp.where(weights > 0, log_weights, 0.0))
        return jnp.sum(weights * lower), jnp.sum(weights * upper) + of_choice

    def _average(self, function) -> Any:
        return jnp.tensordot(self.weights(), over_components(function, self.components()), axes=1)


@eqx.filter_jit
def _quantile(mixture: AbstractMixture, level: Float[Array, " dim"]) -> Float[Array, " dim"]:
    fixed = jax.lax.stop_gradient(mixture)
    per_component = over_components(lambda c: c.quantile(level), fixed.components())
    low, high = jnp.min(per_component, axis=0), jnp.max(per_component, axis=0)

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        below = fixed.cdf(middle) < level
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    _, root = jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))
    # d root = -dF / p at the root: one Newton step whose value is taken back again.
    density = jnp.diagonal(jax.jacfwd(fixed.cdf)(root))
    step = (level - mixture.cdf(root)) / jnp.maximum(density, jnp.finfo(root.dtype).tiny)
    left, right = fixed.cdf_limits(root)
    at_atom = right > left  # which a level that changes a little does not leave
    return root + jnp.where(at_atom, 0.0, step - jax.lax.stop_gradient(step))


def normalised(logits: Array) -> Float[Array, " components"]:
    """Log weights of one mixture, whose exponentials sum to 1.

    Raises:
        ValueError: logits of a stack: weights and components would be broadcast silently.
    """
    if logits.ndim != 1:
        raise ValueError(
            f"logits of one mixture have shape [components], but these have shape "
            f"{list(logits.shape)}: eqx.filter_vmap the method over the stack."
        )
    return jax.nn.log_softmax(logits)


def over_components(function, components: PyTree) -> Any:
    """Apply `function` to each of the stacked components; results gain a leading axis."""
    return eqx.filter_vmap(function)(components)


def take(stacked: PyTree, index: Any) -> Any:
    """Entry `index` of every array's leading axis."""
    return jax.tree.map(lambda x: x[index] if eqx.is_array(x) else x, stacked)
