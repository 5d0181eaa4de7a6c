"""Products of one-hot categoricals: discrete states and discrete latents."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution, Modes
from .checks import as_event, as_float, as_level, check_logits, check_trailing
from .choice import abduct_choice, choose, nan_unless, with_gradient_of


class OneHotCategoricals(AbstractDistribution):
    """G independent categoricals; a value is their one-hot vectors, concatenated flat.

    A flat value is what an encoder, a network input and a flattened Gymnasium observation are, and
    it lets the groups differ in size. Samples carry the straight-through gradient, that of the
    probabilities (Bengio et al. 2013, arXiv 1308.3432; Hafner et al. 2021, arXiv 2010.02193): a
    documented, biased estimator, exact for functions that are linear in the one-hot vectors.
    """

    logits: Float[Array, "*batch dim"]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, logits: Any, sizes: tuple[int, ...] | None = None):
        """Make a distribution of values of shape `[dim]`.

        Args:
            logits: unnormalised log probabilities, `[dim]`, group after group.
            sizes: number of classes of each group; they sum to `dim`. Default: one group.

        Raises:
            ValueError: shapes that do not match or logits known to be impossible.
        """
        self.logits = as_float("logits", logits)
        check_trailing("logits", self.logits, (None,), "[dim]")
        dim = self.logits.shape[-1]
        self.sizes = (dim,) if sizes is None else tuple(int(size) for size in sizes)
        if min(self.sizes, default=0) < 1 or sum(self.sizes) != dim:
            raise ValueError(
                f"sizes must be positive and sum to the {dim} entries of logits, but are {sizes}."
            )
        check_logits("logits", self.to_groups(self.logits, fill=-np.inf))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape[-1:]

    def to_groups(self, value: Array, fill: float = 0.0) -> Float[Array, "*batch groups classes"]:
        """A flat value with one row a group, `[groups, classes]`; short rows are padded."""
        groups, classes = len(self.sizes), max(self.sizes)
        if groups * classes == value.shape[-1]:
            return value.reshape(*value.shape[:-1], groups, classes)
        rows, columns = self._positions()
        padded = jnp.full((*value.shape[:-1], groups, classes), fill, value.dtype)
        return padded.at[..., rows, columns].set(value)

    def to_flat(self, grouped: Array) -> Float[Array, "*batch dim"]:
        """The inverse of `to_groups`."""
        dim = sum(self.sizes)
        if grouped.shape[-2] * grouped.shape[-1] == dim:
            return grouped.reshape(*grouped.shape[:-2], dim)
        return grouped[(..., *self._positions())]

    def log_probs(self) -> Float[Array, "*batch dim"]:
        """Normalised log probabilities, flat `[dim]`, in nats."""
        columns = self.to_groups(self.logits, fill=-jnp.inf).mT
        return self.to_flat(jax.nn.log_softmax(columns, axis=-2).mT)

    def noise(self, *, seed: PRNGKeyArray) -> Float[Array, "*batch dim"]:
        return jax.random.gumbel(seed, self.logits.shape, self.logits.dtype)

    def push(self, noise: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        # Groups last, where a CPU takes several at once: of four classes each, in half the time.
        logits = self.to_groups(self.logits, fill=-jnp.inf).mT
        top = jax.lax.stop_gradient(jnp.max(logits, axis=-2, keepdims=True))
        # From the top, large logits cost the noise no digits; NaN and infinite ones give NaN.
        index = choose(logits - top, self.to_groups(noise).mT, axis=-2)
        hard = jax.nn.one_hot(index, max(self.sizes), dtype=logits.dtype, axis=-2)
        drawn = self.to_flat(nan_unless(jnp.isfinite(top), hard).mT)
        return with_gradient_of(drawn, self.mean())

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        value = as_event(value, self.event_shape)
        padded = self.to_groups(self.log_probs(), fill=-jnp.inf)
        index = jnp.argmax(self.to_groups(value, fill=-jnp.inf), axis=-1)
        keys = jax.random.split(key, len(self.sizes))
        gumbel = jax.vmap(lambda w, i, k: abduct_choice(w, i, key=k))(padded, index, keys)
        return self.to_flat(gumbel)

    def to_distrax(self):
        """The twin over values of shape `[groups, classes]`; see `to_groups`."""
        import distrax

        logits = self.to_groups(self.logits, fill=-jnp.inf)
        return distrax.Independent(distrax.OneHotCategorical(logits=logits), 1)

    def log_prob(self, value: Any) -> Float[Array, "*batch"]:
        value = as_event(value, self.event_shape)
        # 0 * -inf: a class that is impossible and did not happen says nothing.
        log_probs = self.log_probs()
        silent = (value == 0) & (log_probs == -jnp.inf)
        return jnp.sum(value * jnp.where(silent, 0.0, log_probs), axis=-1)

    def mean(self) -> Float[Array, "*batch dim"]:
        return jnp.exp(self.log_probs())

    def variance(self) -> Float[Array, "*batch dim"]:
        probs = self.mean()
        return probs * (1 - probs)

    def covariance(self) -> Float[Array, "dim dim"]:
        probs = self.mean()
        group = jnp.repeat(jnp.arange(len(self.sizes)), np.asarray(self.sizes))
        within = group[:, None] == group[None]
        return jnp.diag(probs) - jnp.where(within, jnp.outer(probs, probs), 0.0)

    def mode(self) -> Float[Array, "*batch dim"]:
        grouped = self.to_groups(self.logits, fill=-jnp.inf)
        hard = jax.nn.one_hot(jnp.argmax(grouped, axis=-1), max(self.sizes))
        return self.to_flat(hard)

    def modes(self) -> Modes:
        """Every class of a single group, with its probability.

        Raises:
            NotImplementedError: several groups: their modes are all combinations.
        """
        if len(self.sizes) > 1:
            raise NotImplementedError(
                f"modes() lists every outcome, and {len(self.sizes)} groups have "
                f"{int(np.prod(self.sizes))} of them. Use mode(), or a single group."
            )
        return Modes(jnp.eye(self.logits.shape[-1]), self.mean(), self.log_probs())

    def entropy(self) -> Float[Array, "*batch"]:
        probs, log_probs = self.mean(), self.log_probs()
        return -jnp.sum(probs * jnp.where(probs > 0, log_probs, 0.0), axis=-1)

    def kl_divergence(self, other: AbstractDistribution) -> Float[Array, "*batch"]:
        if not isinstance(other, OneHotCategoricals) or other.sizes != self.sizes:
            return super().kl_divergence(other)
        probs, ratio = self.mean(), self.log_probs() - other.log_probs()
        return jnp.sum(probs * jnp.where(probs > 0, ratio, 0.0), axis=-1)

    def cdf(self, value: Any) -> Float[Array, "*batch dim"]:
        """Each entry is 0 or 1: P(entry <= value), `[dim]`."""
        value = as_event(value, self.event_shape)
        return jnp.where(value < 0, 0.0, jnp.where(value < 1, 1 - self.mean(), 1.0))

    def cdf_limits(self, value: Any) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
        cdf = self.cdf(value)
        left = jnp.where(value <= 0, 0.0, jnp.where(value <= 1, 1 - self.mean(), 1.0))
        return left, cdf

    def quantile(self, level: Any) -> Float[Array, "*batch dim"]:
        return (as_level(level) > 1 - self.mean()).astype(self.logits.dtype)

    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        rows = np.repeat(np.arange(len(self.sizes)), self.sizes)
        columns = np.concatenate([np.arange(size) for size in self.sizes])
        return rows, columns
