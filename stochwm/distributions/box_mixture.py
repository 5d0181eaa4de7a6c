"""Mixtures of boxes: bounded chance with atoms, as clipping and resets make it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from .base import Modes
from .checks import as_dims, as_float, as_level, check_logits, check_trailing
from .mixture import AbstractMixture, MixtureNoise, normalised
from .uniform_box import UniformBox, as_blur, bisect, check_corners


class BoxMixture(AbstractMixture):
    """A mixture of uniform distributions over boxes, whose sides may have length zero (atoms).

    Densities refer to length in continuous dimensions and to the counting measure at atoms: a
    value that an atom explains gets the log mass of the atom, and boxes with fewer atom dimensions
    around it have measure zero there. With blur in every dimension this is an ordinary density.

    A draw has no gradient in the logits where mass moves between atoms: differentiating a sample
    with respect to them raises, instead of giving zero in silence. Corners and blur have the
    pathwise gradient.
    """

    logits: Float[Array, "*batch components"]
    low: Float[Array, "*batch components dim"]
    high: Float[Array, "*batch components dim"]
    blur: Float[Array, "*batch dim"]

    def __init__(self, logits: Any, low: Any, high: Any, blur: Any = 0.0):
        """Make a mixture over values of shape `[dim]`.

        Args:
            logits: unnormalised log weights, `[components]`; minus infinity switches one off.
            low, high: opposite corners, `[components, dim]`, in the units of the value,
                `low <= high`; equal in a dimension means an atom there.
            blur: standard deviation of normal noise that is added to every draw, `[dim]` or a
                scalar, not negative.

        Raises:
            ValueError: other shapes, or values known to be impossible.
        """
        self.logits = as_float("logits", logits)
        self.low, self.high = as_float("low", low), as_float("high", high)
        check_trailing("logits", self.logits, (None,), "[components]")
        check_logits("logits", self.logits)
        check_trailing("low", self.low, (None, None), "[components, dim]")
        self.blur = as_blur(blur, self.low[..., 0, :])
        check_corners(self.low, self.high, self.blur, (None, None), "[components, dim]")
        if self.low.shape[:-1] != self.logits.shape:
            raise ValueError(
                f"low must have shape [components, dim] with {self.logits.shape[-1]} components "
                f"like logits of shape {self.logits.shape}, but has shape {self.low.shape}."
            )

    def log_weights(self) -> Float[Array, " components"]:
        return normalised(self.logits)

    def components(self) -> UniformBox:
        blur = jnp.broadcast_to(self.blur[..., None, :], self.low.shape)
        return UniformBox(self.low, self.high, blur)

    def push(self, noise: MixtureNoise) -> Float[Array, " dim"]:
        guarded = BoxMixture(_without_gradient(self.logits), self.low, self.high, self.blur)
        return AbstractMixture.push(guarded, noise)

    def responsibilities(self, value: Any) -> Float[Array, " components"]:
        """Log probability of each component given the value, unnormalised, in nats.

        Among the components that can make the value, those with the most atoms have all of it.
        """
        joint = AbstractMixture.responsibilities(self, value)
        atoms = jnp.sum(self.components().atoms(), axis=-1)
        most = jnp.max(jnp.where(joint > -jnp.inf, atoms, 0))
        return jnp.where((atoms < most) & ~jnp.isnan(joint), -jnp.inf, joint)

    def to_distrax(self):
        """The twin of boxes with a volume and no blur; NaN where that is not known while tracing.

        Raises:
            NotImplementedError: atoms and blur.
        """
        import distrax

        choice = distrax.Categorical(logits=self.logits)
        return distrax.MixtureSameFamily(choice, self.components().to_distrax())

    def mode(self) -> Float[Array, " dim"]:
        """The centre of the heaviest box: densities of atoms and of intervals do not compare."""
        return self.components().mean()[jnp.argmax(self.logits)]

    def modes(self) -> Modes:
        """Each box is a plateau: its centre, its weight, and the log density at the centre."""
        centre = self.components().mean()
        return Modes(centre, self.weights(), jax.vmap(self.log_prob)(centre))

    def entropy(self) -> Float[Array, ""]:
        """Entropy in nats, where any two boxes are identical or meet in a set of measure zero.

        It adds the entropy of mass at atoms and of density elsewhere: the expected value of
        `-log_prob`. NaN where boxes turn out to overlap or to be blurred while tracing.

        Raises:
            NotImplementedError: where boxes are known to overlap or to be blurred.
        """
        exact, entropy = self._disjoint_entropy()
        if not isinstance(exact, Tracer) and not bool(exact):
            return super().entropy()
        return jnp.where(exact, entropy, jnp.nan)

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Certified up to the quadrature of blurred sides (1e-4 each); equal where exact."""
        exact, entropy = self._disjoint_entropy()
        lower, upper = AbstractMixture.entropy_bounds(self)
        return jnp.where(exact, entropy, lower), jnp.where(exact, entropy, upper)

    def quantile(self, level: Any) -> Float[Array, " dim"]:
        """The smallest values whose marginal cdf reaches `level`, `[dim]`.

        At an atom the gradient is that of the atom's place; elsewhere that of the exact quantile.
        """
        level = as_level(level) * jnp.ones(self.event_shape)
        fixed = jax.lax.stop_gradient(self)
        reach = jnp.where(fixed.blur > 0, fixed.blur * ndtri(jax.lax.stop_gradient(level)), 0.0)
        low, high = jnp.min(fixed.low, axis=0) + reach, jnp.max(fixed.high, axis=0) + reach
        root = _bisect_marginals(fixed, jax.lax.stop_gradient(level), low, high)
        at_atom = self.components().atoms() & (self.weights() > 0)[:, None]
        return _with_gradient(self, fixed, root, level, at_atom)

    def marginal(self, dims: tuple[int, ...]) -> "BoxMixture":
        """The distribution of some dimensions of the value, in the order given."""
        index = as_dims(dims, self.low.shape[-1])
        low, high = self.low[..., index], self.high[..., index]
        return BoxMixture(self.logits, low, high, self.blur[..., index])

    def affine(self, shift: Any, scale: Any) -> "BoxMixture":
        moved = self.components().affine(shift, scale)
        return BoxMixture(self.logits, moved.low, moved.high, scale * self.blur)

    def smoothed(self, scale: Any) -> "BoxMixture":
        blur = jnp.sqrt(self.blur**2 + jnp.asarray(scale) ** 2)
        return BoxMixture(self.logits, self.low, self.high, blur)

    def _disjoint_entropy(self) -> tuple[Array, Float[Array, ""]]:
        """Whether the closed form holds, and its value."""
        components, weights = self.components(), self.weights()
        atoms = components.atoms()
        same, meet = _compare(self.low, self.high, atoms)
        both = (weights > 0)[:, None] & (weights > 0)[None]
        exact = jnp.all(self.blur <= 0) & ~jnp.any(both & meet & ~same)
        mass = jnp.maximum(same @ weights, jnp.finfo(weights.dtype).tiny)
        sides = jnp.log(jnp.where(atoms, 1.0, self.high - self.low))
        surprise = jnp.sum(jnp.where(self.blur > 0, 0.0, sides), axis=-1) - jnp.log(mass)
        return exact, jnp.sum(jnp.where(weights > 0, weights * surprise, 0.0))


def _compare(low, high, atoms):
    """Which boxes are identical, and which meet in a set of positive measure, `[K, K]` each."""

    def pairs(relation, *arrays):
        return relation(*(x for a in arrays for x in (a[:, None], a[None])))

    same_sides = pairs(lambda a, b, c, d: (a == b) & (c == d), low, high)
    same_kind = pairs(lambda a, b: a == b, atoms)
    overlap = pairs(lambda a, b, c, d: jnp.minimum(c, d) > jnp.maximum(a, b), low, high)
    meets = same_kind & jnp.where(atoms[:, None], same_sides, overlap)
    return jnp.all(same_sides, axis=-1), jnp.all(meets, axis=-1)


@jax.custom_jvp
def _without_gradient(logits: Array) -> Array:
    return logits


def _refuse(primals, tangents):
    if not isinstance(tangents[0], jax.custom_derivatives.SymbolicZero):
        raise NotImplementedError(
            "A BoxMixture sample has no gradient in its logits (mass jumps between boxes). Use the "
            "gradient of log_prob (score function), or stop_gradient on what feeds the logits."
        )
    return primals[0], jnp.zeros_like(primals[0])


_without_gradient.defjvp(_refuse, symbolic_zeros=True)


@eqx.filter_jit  # eagerly, every call would compile its loop again
def _bisect_marginals(mixture, level, low, high):
    return bisect(mixture.cdf, level, low, high)


def _with_gradient(mixture, fixed, root, level, at_atom):
    """`root` with the implicit gradient of the quantile, or the place of the atom it sits on."""
    slack = 2 * jnp.finfo(root.dtype).eps * jnp.maximum(jnp.abs(root), 1.0)
    on = at_atom & (jnp.abs(fixed.low - root) <= slack)
    place = jnp.sum(jnp.where(on, mixture.low, 0.0), axis=0) / jnp.maximum(jnp.sum(on, axis=0), 1)
    _, density = jax.jvp(fixed.cdf, (root,), (jnp.ones_like(root),))
    # d root = -dF / p at the root: one Newton step whose value is taken back again.
    step = (level - mixture.cdf(root)) / jnp.where(density > 0, density, jnp.inf)
    return jnp.where(jnp.any(on, axis=0), place, root + (step - jax.lax.stop_gradient(step)))
