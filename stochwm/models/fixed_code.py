"""A codebook: vectors become one of a few codes, and the gradient goes straight through."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..distributions.choice import with_gradient_of
from ..transitions import AbstractConstant

Distance = Callable[[Float[Array, " dim"], Float[Array, "codes dim"]], Float[Array, " codes"]]
"""How far a vector is from each code; any scale will do, since only the smallest counts."""


def squared_distance(
    vector: Float[Array, " dim"], codebook: Float[Array, "codes dim"]
) -> Float[Array, " codes"]:
    """Squared Euclidean distance to each code."""
    return jnp.sum((vector - codebook) ** 2, axis=-1)


def cosine_distance(
    vector: Float[Array, " dim"], codebook: Float[Array, "codes dim"]
) -> Float[Array, " codes"]:
    """1 - cosine of the angle to each code: lengths do not count; a zero vector is at 1."""
    tiny = jnp.finfo(codebook.dtype).tiny
    lengths = jnp.linalg.norm(vector) * jnp.linalg.norm(codebook, axis=-1)
    return 1 - codebook @ vector / jnp.maximum(lengths, tiny)


class FixedCode(eqx.Module):
    """A vector quantiser with a codebook that learns (van den Oord 2017, arXiv 1711.00937).

    It says which codes there are. Which of them are in use is counted by `CodeUsage`, and
    `reset_dead` puts idle ones to use.
    """

    codebook: Float[Array, "codes dim"]
    distance: Distance = eqx.field(static=True)

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        distance: Distance = squared_distance,
        key: PRNGKeyArray,
    ):
        """Make a codebook of standard normal vectors.

        Args:
            num_codes: how many codes.
            dim: size of the vectors.
            distance: `squared_distance`, `cosine_distance` or your own.
            key: for the initial codes.

        Raises:
            ValueError: a size below 1.
        """
        for name, size in (("num_codes", num_codes), ("dim", dim)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, but is {size}.")
        self.codebook = jax.random.normal(key, (num_codes, dim))
        self.distance = distance

    def quantise(self, vector: Float[Array, " dim"]) -> tuple[Float[Array, " dim"], Int[Array, ""]]:
        """The nearest code and its number.

        The value is the code; its gradient is that of `vector`, and none reaches the codebook.
        Without this gradient the encoder would learn nothing from what is made of the code.

        Raises:
            ValueError: another shape; vmap over batch axes.
        """
        if jnp.shape(vector) != self.codebook.shape[1:]:
            raise ValueError(
                f"vector must have shape {self.codebook.shape[1:]}, but has shape "
                f"{jnp.shape(vector)}; vmap over batch axes."
            )
        fixed = jax.lax.stop_gradient((vector, self.codebook))
        index = jnp.argmin(self.distance(*fixed))
        return with_gradient_of(self.codebook[index], vector), index


def one_hot_code(vector: Float[Array, " codes"]) -> tuple[Float[Array, " codes"], Int[Array, ""]]:
    """`one-hot(argmax vector)` with the gradient of `vector`, and the argmax.

    The fixed codebook of Stochastic MuZero (Antonoglou et al. 2022, section 4): the unit vectors,
    of which the nearest is the one at the largest entry. Add `commitment_loss(vector, code)`.
    """
    index = jnp.argmax(vector)
    return with_gradient_of(jax.nn.one_hot(index, vector.shape[-1]), vector), index


class CodeLosses(NamedTuple):
    """The two pulls between a vector and its code; weigh the second by about 0.25."""

    codebook: Float[Array, ""]
    """`|sg(vector) - code|^2` moves the code."""
    commitment: Float[Array, ""]
    """`|vector - sg(code)|^2` moves the vector."""


def code_losses(code: FixedCode, vector: Float[Array, " dim"], index: Int[Array, ""]) -> CodeLosses:
    """Both losses of equation 3 of van den Oord (2017) for one vector and the code it got."""
    chosen = code.codebook[index]
    return CodeLosses(commitment_loss(chosen, vector), commitment_loss(vector, chosen))


def commitment_loss(vector: Float[Array, " dim"], target: Float[Array, " dim"]) -> Float[Array, ""]:
    """`|vector - sg(target)|^2`.

    The stop matters: the gradient of a straight-through code is that of the vector itself, so that
    without it the difference would have the gradient 0.
    """
    return jnp.sum((vector - jax.lax.stop_gradient(target)) ** 2)


class CodeUsage(AbstractConstant):
    """For how many steps each code has not been used: data, which no optimiser moves."""

    idle: Int[Array, " codes"]

    def __init__(self, num_codes: int):
        """Count from 0 for each of `num_codes` codes."""
        self.idle = jnp.zeros(num_codes, jnp.int32)

    def record(self, index: Int[Array, "*batch"]) -> "CodeUsage":
        """The counts after one more step, in which the codes `index` were used."""
        idle = (self.idle + 1).at[index].set(0)
        return eqx.tree_at(lambda usage: usage.idle, self, idle)


def reset_dead(
    code: FixedCode,
    usage: CodeUsage,
    vectors: Float[Array, "batch dim"],
    *,
    key: PRNGKeyArray,
    unused_for: int = 50,
) -> tuple[FixedCode, CodeUsage]:
    """Move each code that was idle for `unused_for` steps to one of the present vectors.

    Codes that no vector is nearest to get no gradient, and stay where they are for ever; this is
    the random restart of Dhariwal et al. (2020, arXiv 2005.00341, section 3.1). Different codes get
    different vectors while there are enough. An optimiser keeps its moments of a moved code.

    Args:
        code: the codebook.
        usage: its counts; those of moved codes start again.
        vectors: what is quantised now, `[batch, dim]`.
        key: chooses the vectors.
        unused_for: how many steps make a code dead, at least 1.

    Raises:
        ValueError: `unused_for` is below 1, or vectors of another size.
    """
    dim = code.codebook.shape[1]
    if unused_for < 1:
        raise ValueError(f"unused_for must be at least 1, but is {unused_for}.")
    if vectors.ndim != 2 or vectors.shape[0] < 1 or vectors.shape[1] != dim:
        raise ValueError(f"vectors must have shape [batch, {dim}], but have {vectors.shape}.")
    dead = usage.idle >= unused_for
    # The dead ones are counted: those that share a vector would be one code, and one of them idle.
    order = jax.random.permutation(key, vectors.shape[0])
    drawn = vectors[order[(jnp.cumsum(dead) - 1) % vectors.shape[0]]]
    codebook = jnp.where(dead[:, None], jax.lax.stop_gradient(drawn), code.codebook)
    idle = jnp.where(dead, 0, usage.idle)
    return (
        eqx.tree_at(lambda c: c.codebook, code, codebook),
        eqx.tree_at(lambda u: u.idle, usage, idle),
    )


def code_perplexity(index: Int[Array, " batch"], num_codes: int) -> Float[Array, ""]:
    """`exp` of the entropy of how often each code occurs in a batch: how many are really in use."""
    share = jnp.bincount(index, length=num_codes) / index.shape[0]
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))
