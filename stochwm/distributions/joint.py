"""Independent parts side by side in one flat vector."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution, Modes
from .checks import as_event, as_float


class Joint(AbstractDistribution):
    """A product of independent distributions; a value is their values, concatenated flat.

    This is how numbers and categories share one vector, as in the flat encoding of a Gymnasium
    `Dict` space: densities of the numbers and masses of the categories multiply.
    """

    parts: tuple[AbstractDistribution, ...]

    def __init__(self, parts: Sequence[Any]):
        """Make a distribution of values of shape `[dim]`, the sum of the sizes of the parts.

        Args:
            parts: distributions of flat values, in the order of their entries.

        Raises:
            TypeError: a part that is not a distribution.
            ValueError: no part at all, or one whose values are not flat.
        """
        self.parts = tuple(parts)
        if not self.parts:
            raise ValueError("parts must hold at least one distribution, but is empty.")
        for i, part in enumerate(self.parts):
            if not isinstance(part, AbstractDistribution):
                raise TypeError(
                    f"parts[{i}] must be a distribution with a density, but is a "
                    f"{type(part).__name__}."
                )
            if len(part.event_shape) != 1:
                raise ValueError(
                    f"parts[{i}] must have flat values of shape [dim], but their shape is "
                    f"{part.event_shape}."
                )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (sum(self._sizes()),)

    def split(self, value: Array) -> list[Array]:
        """The entries of each part, for `value` of shape `[..., dim]`."""
        return jnp.split(value, np.cumsum(self._sizes())[:-1], axis=-1)

    def noise(self, *, seed: PRNGKeyArray) -> tuple[Any, ...]:
        return tuple(part.noise(seed=key) for part, key in self._keyed(seed))

    def push(self, noise: tuple[Any, ...]) -> Float[Array, "*batch dim"]:
        return self._side_by_side(
            part.push(drawn) for part, drawn in zip(self.parts, noise, strict=True)
        )

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> tuple[Any, ...]:
        values = self.split(as_event(value, self.event_shape))
        return tuple(
            part.abduct(x, key=k) for (part, k), x in zip(self._keyed(key), values, strict=True)
        )

    def to_distrax(self):
        """The twin, whose values are the tuple that `split` makes."""
        import distrax

        return distrax.Joint(tuple(part.to_distrax() for part in self.parts))

    def log_prob(self, value: Any) -> Float[Array, ""]:
        values = self.split(as_event(value, self.event_shape))
        return _total(part.log_prob(x) for part, x in zip(self.parts, values, strict=True))

    def mean(self) -> Float[Array, " dim"]:
        return self._side_by_side(part.mean() for part in self.parts)

    def variance(self) -> Float[Array, " dim"]:
        return self._side_by_side(part.variance() for part in self.parts)

    def covariance(self) -> Float[Array, "dim dim"]:
        return block_diag(*(part.covariance() for part in self.parts))

    def mode(self) -> Float[Array, " dim"]:
        return self._side_by_side(part.mode() for part in self.parts)

    def modes(self) -> Modes:
        """Every combination of modes of the parts."""
        first, *others = (part.modes() for part in self.parts)
        for other in others:
            first = _combined(first, other)
        return first

    def entropy(self) -> Float[Array, ""]:
        return _total(part.entropy() for part in self.parts)

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        lower, upper = zip(*(part.entropy_bounds() for part in self.parts), strict=True)
        return _total(lower), _total(upper)

    def kl_divergence(self, other: AbstractDistribution) -> Float[Array, ""]:
        if not isinstance(other, Joint) or other._sizes() != self._sizes():
            return super().kl_divergence(other)
        pairs = zip(self.parts, other.parts, strict=True)
        return _total(mine.kl_divergence(its) for mine, its in pairs)

    def kl_bounds(self, other: AbstractDistribution) -> tuple[Float[Array, ""], Float[Array, ""]]:
        if not isinstance(other, Joint) or other._sizes() != self._sizes():
            return super().kl_bounds(other)
        pairs = zip(self.parts, other.parts, strict=True)
        lower, upper = zip(*(mine.kl_bounds(its) for mine, its in pairs), strict=True)
        return _total(lower), _total(upper)

    def cdf(self, value: Any) -> Float[Array, " dim"]:
        values = self.split(as_event(value, self.event_shape))
        return self._side_by_side(p.cdf(x) for p, x in zip(self.parts, values, strict=True))

    def cdf_limits(self, value: Any) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
        values = self.split(as_event(value, self.event_shape))
        limits = [p.cdf_limits(x) for p, x in zip(self.parts, values, strict=True)]
        left, right = zip(*limits, strict=True)
        return self._side_by_side(left), self._side_by_side(right)

    def quantile(self, level: Any) -> Float[Array, " dim"]:
        return self._side_by_side(p.quantile(x) for p, x in self._with("level", level))

    def affine(self, shift: Any, scale: Any) -> "Joint":
        moves = zip(self._with("shift", shift), self._with("scale", scale), strict=True)
        return Joint([part.affine(by, times) for (part, by), (_, times) in moves])

    def smoothed(self, scale: Any) -> "Joint":
        return Joint([part.smoothed(width) for part, width in self._with("scale", scale)])

    def _sizes(self) -> list[int]:
        return [part.event_shape[0] for part in self.parts]

    def _keyed(self, key: PRNGKeyArray):
        return zip(self.parts, jax.random.split(key, len(self.parts)), strict=True)

    def _with(self, name: str, value: Any):
        """Each part with its share of a scalar or `[dim]` argument."""
        entries = jnp.broadcast_to(as_float(name, value), self.event_shape)
        return zip(self.parts, self.split(entries), strict=True)

    def _side_by_side(self, values) -> Array:
        return jnp.concatenate(list(values), axis=-1)


def _total(values) -> Float[Array, ""]:
    return jnp.sum(jnp.stack(list(values)), axis=0)


def _combined(a: Modes, b: Modes) -> Modes:
    rows = len(a.weight), len(b.weight)
    loc = [
        jnp.broadcast_to(a.loc[:, None], (*rows, a.loc.shape[-1])),
        jnp.broadcast_to(b.loc[None], (*rows, b.loc.shape[-1])),
    ]
    return Modes(
        jnp.concatenate(loc, axis=-1).reshape(rows[0] * rows[1], -1),
        jnp.outer(a.weight, b.weight).reshape(-1),
        (a.log_density[:, None] + b.log_density[None]).reshape(-1),
    )
