"""The prediction of an ensemble: an equal-weight mixture of what its members predict."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from .base import AbstractDistribution, AbstractSampler, Modes
from .categorical import OneHotCategoricals
from .mixture import AbstractMixture, MixtureNoise, over_components, take
from .normal import DiagNormal, FullNormal
from .normal_mixture import DiagNormalMixture, FullNormalMixture


class UniformMixture(AbstractMixture):
    """K stacked distributions of one family, each with probability 1/K.

    A draw chooses a member, then draws from it. The noise names the member, so that a
    counterfactual stays with the member that explained what happened. Members that can only be
    sampled give a mixture that can only be sampled.
    """

    members: AbstractSampler

    def __init__(self, members: Any):
        """Make a mixture of `members`, whose array leaves share a leading axis K.

        Raises:
            TypeError: what is not a distribution, `ValueError` when the leading axes differ or
                there is no array.
        """
        if not isinstance(members, AbstractSampler):
            raise TypeError(
                "members must be one distribution with stacked arrays, but is a "
                f"{type(members).__name__}; stack a list with jax.tree.map(lambda *x: "
                "jnp.stack(x), *members)."
            )
        leaves = jax.tree.leaves(eqx.filter(members, eqx.is_array))
        sizes = {leaf.shape[:1] for leaf in leaves}
        if len(sizes) != 1 or sizes == {()}:
            raise ValueError(
                "members must be one stacked distribution whose arrays share a leading member "
                f"axis, but their shapes are {[leaf.shape for leaf in leaves]}."
            )
        if isinstance(members, AbstractDistribution) and take(members, 0).event_shape == ():
            raise ValueError(
                "members must have a leading member axis, but their shapes are "
                f"{[leaf.shape for leaf in leaves]}, as of a single distribution."
            )
        self.members = members

    @property
    def num_members(self) -> int:
        """How many members, K."""
        return jax.tree.leaves(eqx.filter(self.members, eqx.is_array))[0].shape[0]

    def log_weights(self) -> Float[Array, " components"]:
        self._check_single()
        return jnp.full((self.num_members,), -jnp.log(self.num_members))

    def components(self) -> Any:
        return self.members

    def sample(self, *, seed: PRNGKeyArray) -> Any:
        self._check_single()
        key_member, key_draw = jax.random.split(seed)
        index = jax.random.randint(key_member, (), 0, self.num_members)
        return take(self.members, index).sample(seed=key_draw)

    def noise(self, *, seed: PRNGKeyArray) -> MixtureNoise:
        self._check_single()
        key_member, key_draw = jax.random.split(seed)
        index = jax.random.randint(key_member, (), 0, self.num_members)
        return MixtureNoise(index, self.component(index).noise(seed=key_draw))

    def push(self, noise: MixtureNoise) -> Any:
        return self.component(noise.choice).push(noise.draw)

    def abduct(self, value: Any, *, key: PRNGKeyArray) -> MixtureNoise:
        key_member, key_draw = jax.random.split(key)
        index = jax.random.categorical(key_member, self.responsibilities(value))
        return MixtureNoise(index, self.component(index).abduct(value, key=key_draw))

    def flatten(self) -> AbstractDistribution:
        """The same distribution as one mixture (or categorical) instead of a mixture of them.

        Raises:
            NotImplementedError: members that no family of one level can hold.
        """
        m = self.members
        if isinstance(m, DiagNormal):
            return DiagNormalMixture(jnp.zeros(m.loc.shape[:-1]), m.loc, m.scale)
        if isinstance(m, FullNormal):
            return FullNormalMixture(jnp.zeros(m.loc.shape[:-1]), m.loc, m.scale_tril)
        if isinstance(m, DiagNormalMixture):
            logits = _merge(jax.nn.log_softmax(m.logits), 1)
            return DiagNormalMixture(logits, _merge(m.loc, 2), _merge(m.scale, 2))
        if isinstance(m, FullNormalMixture):
            logits = _merge(jax.nn.log_softmax(m.logits), 1)
            return FullNormalMixture(logits, _merge(m.loc, 2), _merge(m.scale_tril, 3))
        if isinstance(m, OneHotCategoricals) and len(m.sizes) == 1:
            probs = jnp.mean(m.mean(), axis=-2)
            possible = probs > 0  # twice, for a gradient without NaN
            log_probs = jnp.log(jnp.where(possible, probs, 1.0))
            return OneHotCategoricals(jnp.where(possible, log_probs, -jnp.inf), m.sizes)
        raise NotImplementedError(
            f"A mixture of {type(m).__name__} has no single-level form; its samples, log_prob, "
            "moments and entropy_estimate are available."
        )

    def to_distrax(self):
        if not isinstance(self.members, OneHotCategoricals):
            return self.flatten().to_distrax()
        import distrax

        choice = distrax.Categorical(logits=jnp.zeros(self.members.logits.shape[:-1]))
        return distrax.MixtureSameFamily(choice, self.members.to_distrax())

    def modes(self) -> Modes:
        return self.flatten().modes()

    def entropy(self) -> Float[Array, ""]:
        """Exact where the members are single categoricals."""
        if isinstance(self.members, OneHotCategoricals) and len(self.members.sizes) == 1:
            return self.flatten().entropy()
        return super().entropy()

    def entropy_bounds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        if isinstance(self.members, _FLATTENED):
            return self.flatten().entropy_bounds()
        return super().entropy_bounds()

    def kl_divergence(self, other: AbstractDistribution) -> Float[Array, ""]:
        """Exact where the members are single categoricals."""
        if isinstance(self.members, OneHotCategoricals) and len(self.members.sizes) == 1:
            return self.flatten().kl_divergence(_flat(other))
        return super().kl_divergence(other)

    def kl_bounds(self, other: AbstractDistribution) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return self.flatten().kl_bounds(_flat(other))

    def marginal(self, dims: tuple[int, ...]) -> "UniformMixture":
        return UniformMixture(over_components(lambda c: c.marginal(dims), self.members))

    def affine(self, shift: Any, scale: Any) -> "UniformMixture":
        return UniformMixture(over_components(lambda c: c.affine(shift, scale), self.members))

    def smoothed(self, scale: Any) -> "UniformMixture":
        return UniformMixture(over_components(lambda c: c.smoothed(scale), self.members))

    def _check_single(self) -> None:
        """Refuse a stack of mixtures, whose outer axis would pass for the member axis.

        Only where arrays are concrete: that is where the mistake is made, and tracing stays quick.
        """
        members = self.members
        leaves = jax.tree.leaves(eqx.filter(members, eqx.is_array))
        if isinstance(leaves[0], Tracer) or not isinstance(members, AbstractDistribution):
            return
        one: Any = take(members, 0)  # whose event of a certain prediction is all of it
        draw = eqx.filter_eval_shape(lambda d: d.sample(seed=jax.random.key(0)), one)
        if getattr(draw, "shape", one.event_shape) != one.event_shape:
            raise ValueError(
                f"members of one mixture have one leading axis, but their shapes are "
                f"{[leaf.shape for leaf in leaves]}: eqx.filter_vmap the method over the stack."
            )


def _flat(other: AbstractDistribution) -> AbstractDistribution:
    return other.flatten() if isinstance(other, UniformMixture) else other


_FLATTENED = (DiagNormal, FullNormal, DiagNormalMixture, FullNormalMixture)


def _merge(stacked: Array, ndim: int) -> Array:
    """Join the member axis and the component axis; the last `ndim` axes begin with the latter."""
    axis = stacked.ndim - ndim - 1
    return stacked.reshape(*stacked.shape[:axis], -1, *stacked.shape[axis + 2 :])
