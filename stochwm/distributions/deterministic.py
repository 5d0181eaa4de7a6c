"""A prediction without randomness."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .base import AbstractDistribution
from .checks import as_float, as_level, check_event, check_finite


class Deterministic(AbstractDistribution):
    """All mass on one value, which may be any pytree of arrays."""

    loc: PyTree[Array]

    def __init__(self, loc: Any):
        """Make a prediction that is certain.

        Args:
            loc: the value, an array or a pytree of arrays, in its own units.

        Raises:
            ValueError: an empty pytree or values known to be not finite, `TypeError` for leaves
                that are not numeric.
        """
        if not jax.tree.leaves(loc):
            raise ValueError(f"loc must hold at least one array, but is {loc!r}.")
        for leaf in jax.tree.leaves(loc):
            check_finite("loc", as_float("loc", leaf))
        self.loc = jax.tree.map(jnp.asarray, loc)

    @property
    def event_shape(self) -> Any:
        return jax.tree.map(jnp.shape, self.loc)

    def noise(self, *, seed: PRNGKeyArray) -> Float[Array, " 0"]:
        return jnp.zeros((0,))

    def push(self, noise: Float[Array, " 0"]) -> PyTree[Array]:
        return self.loc

    def abduct(
        self, value: PyTree[Array], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " 0"]:
        return jnp.zeros((0,))

    def to_distrax(self):
        """The twin of a single array `loc`."""
        import distrax

        return distrax.Independent(distrax.Deterministic(self.loc), jnp.ndim(self.loc))

    def log_prob(self, value: Any) -> Float[Array, ""]:
        """Log mass: 0 at `loc`, minus infinity elsewhere."""
        jax.tree.map(lambda a, b: check_event(a, jnp.shape(b)), value, self.loc)
        equal = jax.tree.map(lambda a, b: jnp.all(a == b), value, self.loc)
        return jnp.where(jnp.all(jnp.stack(jax.tree.leaves(equal))), 0.0, -jnp.inf)

    def mean(self) -> PyTree[Array]:
        return self.loc

    def variance(self) -> PyTree[Array]:
        return jax.tree.map(jnp.zeros_like, self.loc)

    def covariance(self) -> Float[Array, "dim dim"]:
        return jnp.zeros((jnp.size(self.loc),) * 2)

    def mode(self) -> PyTree[Array]:
        return self.loc

    def entropy(self) -> Float[Array, ""]:
        return jnp.zeros(())

    def kl_divergence(self, other: AbstractDistribution) -> Float[Array, ""]:
        """KL against a distribution of atoms: minus its log mass at `loc`."""
        if not isinstance(other, Deterministic):
            return super().kl_divergence(other)
        return -other.log_prob(self.loc)

    def cdf(self, value: Any) -> Float[Array, " dim"]:
        check_event(value, jnp.shape(self.loc))
        return (value >= self.loc).astype(self.loc.dtype)

    def cdf_limits(self, value: Any) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
        return (value > self.loc).astype(self.loc.dtype), self.cdf(value)

    def quantile(self, level: Any) -> Float[Array, " dim"]:
        as_level(level)
        return self.loc

    def affine(self, shift: Any, scale: Any) -> "Deterministic":
        return Deterministic(jax.tree.map(lambda x: shift + scale * x, self.loc))

    def smoothed(self, scale: Any) -> AbstractDistribution:
        from .normal import DiagNormal

        return DiagNormal(self.loc, jnp.asarray(scale) * jnp.ones_like(self.loc))
