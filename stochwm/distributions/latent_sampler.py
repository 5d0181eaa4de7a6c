"""Draws of a discrete latent, then of what it decodes to."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractSampler
from .categorical import OneHotCategoricals
from .checks import as_float, check_like, check_positive, check_trailing


class LatentSampler(AbstractSampler):
    """p(x) = sum_z p(z) p(x | z), with too many codes z for the sum: it can only be drawn from.

    The gradient of a draw with respect to the prior is the straight-through one of
    `OneHotCategoricals`, which is biased. It holds a network, so do not record it in a rollout.
    """

    prior: OneHotCategoricals
    decoder: Callable[..., Any]
    context: Float[Array, "*batch features"]
    shift: Float[Array, "*batch dim"]
    scale: Float[Array, "*batch dim"]

    def __init__(
        self, prior: OneHotCategoricals, decoder: Any, context: Any, shift: Any, scale: Any
    ):
        """Make a sampler of values of shape `[dim]`.

        Args:
            prior: distribution of the code, one-hot vectors `[codes]`.
            decoder: `(context, code) -> distribution` of `[dim]` before shift and scale.
            context: what the decoder is told about state and action, `[features]`.
            shift, scale: the value is `shift + scale * x` for a decoded x, `[dim]`; scale > 0.

        Raises:
            ValueError: other shapes, or values known to be impossible.
        """
        self.prior, self.decoder = prior, decoder
        self.context = as_float("context", context)
        self.shift, self.scale = as_float("shift", shift), as_float("scale", scale)
        check_trailing("shift", self.shift, (None,), "[dim]")
        check_like("scale", self.scale, "shift", self.shift)
        check_positive("scale", self.scale)

    def sample(self, *, seed: PRNGKeyArray) -> Float[Array, " dim"]:
        key_code, key_value = jax.random.split(seed)
        code = self.prior.sample(seed=key_code)
        return self.shift + self.scale * self.decoder(self.context, code).sample(seed=key_value)

    def affine(self, shift: Any, scale: Any) -> "LatentSampler":
        """The sampler of `shift + scale * value`, with `scale > 0` and shapes `[dim]`."""
        where = lambda d: (d.shift, d.scale)  # noqa: E731
        return eqx.tree_at(where, self, (shift + scale * self.shift, scale * self.scale))
