"""Mixtures of normal distributions: the workhorse for multimodal futures."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import AbstractDistribution, Modes
from .bounds import entropy_bounds_of_normals, kl_bounds_of_normals
from .checks import as_float, check_finite, check_like, check_logits, check_positive, check_trailing
from .choice import choose, nan_unless
from .implicit import reparameterise_diag, reparameterise_full
from .mixture import AbstractMixture, MixtureNoise, normalised
from .modes import ascend_diag, ascend_full, merge_modes
from .normal import DiagNormal, FullNormal


class DiagNormalMixture(AbstractMixture):
    """A mixture of normals, each with independent dimensions."""

    logits: Float[Array, "*batch components"]
    loc: Float[Array, "*batch components dim"]
    scale: Float[Array, "*batch components dim"]

    def __init__(self, logits: Any, loc: Any, scale: Any):
        """Make a mixture over values of shape `[dim]`.

        Args:
            logits: unnormalised log weights, `[components]`; minus infinity switches one off.
            loc: means of the components, `[components, dim]`, in the units of the value.
            scale: standard deviations, `[components, dim]`, positive.

        Raises:
            ValueError: other shapes, or values known to be impossible.
        """
        self.logits = as_float("logits", logits)
        self.loc = as_float("loc", loc)
        self.scale = as_float("scale", scale)
        _check_mixture(self.logits, self.loc)
        check_like("scale", self.scale, "loc", self.loc)
        check_positive("scale", self.scale)

    def log_weights(self) -> Float[Array, " components"]:
        return normalised(self.logits)

    def components(self) -> DiagNormal:
        return DiagNormal(self.loc, self.scale)

    def push(self, noise: MixtureNoise) -> Float[Array, " dim"]:
        # The components' own gradient is cut, so that the implicit one is not counted twice.
        fixed = jax.lax.stop_gradient(self)
        log_weights = fixed.log_weights()
        values = fixed.loc + fixed.scale * noise.draw
        values = nan_unless(~jnp.isnan(log_weights)[:, None], values)
        # One of all values is taken, instead of one of all components: XLA computes no more than
        # what is taken, and what is taken only once. Else it would draw anew wherever a value is
        # used, and for a density once for every component.
        value = values[choose(log_weights, noise.choice)]
        return reparameterise_diag(value, self.log_weights(), self.loc, self.scale)

    def responsibilities(self, value: Any) -> Float[Array, " components"]:
        return self.log_weights() + self.components().log_prob(value)

    def to_distrax(self):
        return _mixture_twin(self)

    def modes(self) -> Modes:
        return merge_modes(self, ascend_diag(self), self.scale)

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return entropy_bounds_of_normals(self)

    def kl_bounds(self, other: AbstractDistribution) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return kl_bounds_of_normals(self, other)

    def marginal(self, dims: tuple[int, ...]) -> "DiagNormalMixture":
        part = self.components().marginal(dims)
        return DiagNormalMixture(self.logits, part.loc, part.scale)

    def affine(self, shift: Any, scale: Any) -> "DiagNormalMixture":
        return DiagNormalMixture(self.logits, shift + scale * self.loc, scale * self.scale)

    def smoothed(self, scale: Any) -> "DiagNormalMixture":
        return DiagNormalMixture(self.logits, self.loc, self.components().smoothed(scale).scale)


class FullNormalMixture(AbstractMixture):
    """A mixture of normals, each with a full covariance."""

    logits: Float[Array, "*batch components"]
    loc: Float[Array, "*batch components dim"]
    scale_tril: Float[Array, "*batch components dim dim"]

    def __init__(self, logits: Any, loc: Any, scale_tril: Any):
        """Make a mixture over values of shape `[dim]`.

        Args:
            logits: unnormalised log weights, `[components]`; minus infinity switches one off.
            loc: means of the components, `[components, dim]`, in the units of the value.
            scale_tril: lower Cholesky factors, `[components, dim, dim]`, positive diagonals.

        Raises:
            ValueError: other shapes, or values known to be impossible.
        """
        self.logits = as_float("logits", logits)
        _check_mixture(self.logits, as_float("loc", loc))
        components = FullNormal(loc, scale_tril)
        self.loc, self.scale_tril = components.loc, components.scale_tril

    def log_weights(self) -> Float[Array, " components"]:
        return normalised(self.logits)

    def components(self) -> FullNormal:
        return FullNormal(self.loc, self.scale_tril)

    def push(self, noise: MixtureNoise) -> Float[Array, " dim"]:
        # The components' own gradient is cut, so that the implicit one is not counted twice.
        value = AbstractMixture.push(jax.lax.stop_gradient(self), noise)
        tril = jnp.tril(self.scale_tril)  # entries above the diagonal are not parameters
        return reparameterise_full(value, self.log_weights(), self.loc, tril)

    def to_distrax(self):
        return _mixture_twin(self)

    def modes(self) -> Modes:
        scale = jnp.sqrt(jnp.sum(self.scale_tril**2, axis=-1))
        return merge_modes(self, ascend_full(self), scale)

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return entropy_bounds_of_normals(self)

    def kl_bounds(self, other: AbstractDistribution) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return kl_bounds_of_normals(self, other)

    def marginal(self, dims: tuple[int, ...]) -> "FullNormalMixture":
        part = self.components().marginal(dims)
        return FullNormalMixture(self.logits, part.loc, part.scale_tril)

    def affine(self, shift: Any, scale: Any) -> "FullNormalMixture":
        moved = self.components().affine(shift, scale)
        return FullNormalMixture(self.logits, moved.loc, moved.scale_tril)

    def smoothed(self, scale: Any) -> "FullNormalMixture":
        wider = jax.vmap(lambda component: component.smoothed(scale))(self.components())
        return FullNormalMixture(self.logits, wider.loc, wider.scale_tril)


def _check_mixture(logits: Array, loc: Array) -> None:
    check_trailing("logits", logits, (None,), "[components]")
    check_trailing("loc", loc, (None, None), "[components, dim]")
    if loc.shape[:-1] != logits.shape:
        raise ValueError(
            f"loc must have shape [components, dim] with {logits.shape[-1]} components like "
            f"logits of shape {logits.shape}, but has shape {loc.shape}."
        )
    check_logits("logits", logits)
    check_finite("loc", loc)


def _mixture_twin(mixture: DiagNormalMixture | FullNormalMixture):
    import distrax

    return distrax.MixtureSameFamily(
        distrax.Categorical(logits=mixture.logits), mixture.components().to_distrax()
    )
