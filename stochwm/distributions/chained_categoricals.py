"""Categoricals drawn one after the other: a discrete latent whose parts agree with each other."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution
from .categorical import OneHotCategoricals
from .checks import as_event, as_float, check_trailing
from .unimix import unimix

EPSILON = 1e-5  # added to the mean square, so that no hidden layer is divided by zero


class ChainedCategoricals(AbstractDistribution):
    """p(z) = prod_g p(z_g | z_<g): G categoricals of C classes, each of which knows those before.

    A value is flat, as that of `OneHotCategoricals`. With a hidden layer of `width` units,

        logits_g = bias_g + weight_g @ silu(rms_norm(context + sum_{j<g} seen_j[z_j]))

    which is the neural autoregressive distribution estimator (Uria et al. 2016, arXiv 1605.02226,
    section 2) for classes instead of bits. So it can say "these two go together", which independent
    categoricals cannot. Moments and marginals have no closed form: draw samples.
    """

    context: Float[Array, "*batch width"]
    seen: Float[Array, "*batch others classes width"]
    weight: Float[Array, "*batch groups classes width"]
    bias: Float[Array, "*batch groups classes"]
    mix: float = eqx.field(static=True)

    def __init__(self, context: Any, seen: Any, weight: Any, bias: Any, mix: float = 0.0):
        """Make a distribution of values of shape `[groups * classes]`.

        Args:
            context: the hidden layer before anything is drawn, `[width]`.
            seen: what a drawn class adds to it, `[groups - 1, classes, width]`: after the last one
                nothing is drawn.
            weight, bias: from the hidden layer to the logits of a group, `[groups, classes, width]`
                and `[groups, classes]`.
            mix: uniform part of every conditional, see `unimix`.

        Raises:
            ValueError: shapes that do not match.
        """
        self.context, self.seen = as_float("context", context), as_float("seen", seen)
        self.weight, self.bias = as_float("weight", weight), as_float("bias", bias)
        self.mix = mix
        check_trailing("bias", self.bias, (None, None), "[groups, classes]")
        check_trailing("context", self.context, (None,), "[width]")
        (groups, classes), width = self.bias.shape[-2:], self.context.shape[-1]
        check_trailing(
            "seen", self.seen, (groups - 1, classes, width), "[groups - 1, classes, width]"
        )
        check_trailing("weight", self.weight, (groups, classes, width), "[groups, classes, width]")

    @property
    def event_shape(self) -> tuple[int, ...]:
        groups, classes = self.bias.shape[-2:]
        return (groups * classes,)

    def given(self, value: Any) -> OneHotCategoricals:
        """p(z_g | z_<g) of every group, the groups before it being those of `value`.

        Its log mass at the value is that of the chain. For z ~ q with independent groups the mean
        of `q.kl_divergence(chain.given(z))` is KL(q || chain), and so is that of its gradient with
        respect to the chain. With respect to q it is not, where z is held fixed: q also decides
        which z the later groups are compared at, and that part is missing.
        """
        rows = as_event(value, self.event_shape).reshape(self.bias.shape)
        added = jnp.cumsum(jnp.einsum("gc,gcw->gw", rows[:-1], self.seen), axis=0)
        hidden = self._hidden(self.context + jnp.pad(added, ((1, 0), (0, 0))))
        logits = self.bias + jnp.einsum("gw,gcw->gc", hidden, self.weight)
        groups, classes = self.bias.shape
        return unimix(OneHotCategoricals(logits.reshape(-1), (classes,) * groups), self.mix)

    def noise(self, *, seed: PRNGKeyArray) -> Float[Array, " dim"]:
        """Gumbel noise, `[dim]`."""
        return jax.random.gumbel(seed, self.event_shape, self.bias.dtype)

    def push(self, noise: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """Group after group; gradients go straight through, as in `OneHotCategoricals`."""

        def draw(before, group):
            seen, weight, bias, noise = group
            logits = bias + weight @ self._hidden(before)
            drawn = unimix(OneHotCategoricals(logits), self.mix).push(noise)
            return before + drawn @ seen, drawn

        seen = jnp.pad(self.seen, ((0, 1), (0, 0), (0, 0)))
        groups = (seen, self.weight, self.bias, noise.reshape(self.bias.shape))
        return jax.lax.scan(draw, self.context, groups)[1].reshape(-1)

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> Float[Array, " dim"]:
        return self.given(value).abduct(value, key=key)

    def log_prob(self, value: Any) -> Float[Array, ""]:
        return self.given(value).log_prob(value)

    def to_distrax(self):
        raise NotImplementedError("ChainedCategoricals has no distrax twin.")

    def mean(self) -> Any:
        raise _draw_samples("mean")

    def variance(self) -> Any:
        raise _draw_samples("variance")

    def mode(self) -> Any:
        raise _draw_samples("mode")

    def _hidden(self, before: Float[Array, "*groups width"]) -> Float[Array, "*groups width"]:
        size = jnp.sqrt(jnp.mean(before**2, axis=-1, keepdims=True) + EPSILON)
        return jax.nn.silu(before / size)


def _draw_samples(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"ChainedCategoricals has no closed-form {name}: average over samples (vmap over seeds)."
    )
