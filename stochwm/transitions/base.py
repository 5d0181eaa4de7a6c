"""What a transition is: the distribution of the next state, p(s' | s, a)."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..distributions import AbstractSampler
from .activations import silu

Network = Callable[[Float[Array, " features"]], Float[Array, " outputs"]]
"""A network of one example: `[state_size + action_size] -> [outputs]`."""


class AbstractTransition(eqx.Module):
    """p(s' | s, a). One method carries the library; loss, optimiser and data live elsewhere."""

    @abc.abstractmethod
    def __call__(self, state: PyTree[Array], action: Array) -> AbstractSampler:
        """The distribution of the next state.

        Args:
            state: one state, without a batch axis; `[state_size]` for the networks here.
            action: one action, `[action_size]`; a discrete action is one-hot.
        """


class AbstractConstant(eqx.Module):
    """A part of a model whose arrays are data, such as normaliser statistics: never trained."""


def make_network(
    network: Network | None,
    *,
    sizes: tuple[int, int],
    outputs: int,
    width: int,
    depth: int,
    key: PRNGKeyArray,
) -> Network:
    """The user's `network`, checked, or an MLP with SiLU activations.

    Raises:
        ValueError: sizes below 1, or a network that does not map `[state_size + action_size]` to
            `[outputs]`.
    """
    state_size, action_size = sizes
    for name, size, least in (
        ("state_size", state_size, 1),
        ("action_size", action_size, 0),
        ("width", width, 1),
        ("depth", depth, 0),
        ("features", outputs, 1),
    ):
        if size < least:
            raise ValueError(f"{name} must be at least {least}, but is {size}.")
    features = state_size + action_size
    if network is None:
        return eqx.nn.MLP(features, outputs, width, depth, activation=silu, key=key)
    try:
        result = eqx.filter_eval_shape(network, jax.ShapeDtypeStruct((features,), jnp.float32))
        came = str(getattr(result, "shape", type(result).__name__))
    except (TypeError, ValueError) as error:
        came = f"an error: {error}"
    if came != str((outputs,)):
        raise ValueError(
            f"network must map a vector of {features} (state_size {state_size} + action_size "
            f"{action_size}) to a vector of {outputs}, but gives {came}."
        )
    return network


def join(
    state: Float[Array, " state"], action: Float[Array, " action"], sizes: tuple[int, int]
) -> Float[Array, " features"]:
    """State and action side by side, `[state_size + action_size]`.

    Raises:
        ValueError: a shape is not what the transition was made for.
    """
    for name, value, size in zip(("state", "action"), (state, action), sizes, strict=True):
        check_shape(name, value, (size,))
    return jnp.concatenate([state, action])


def check_shape(name: str, value: Array, shape: tuple[int, ...]) -> None:
    """Refuse a state or an action of another shape.

    Raises:
        ValueError: naming both; unless axes are missing, also that batch axes are vmapped over.
    """
    came = jnp.shape(value)
    if came != shape:
        batch = "; transitions take one example: vmap over batch axes" * (len(came) >= len(shape))
        raise ValueError(f"{name} must have shape {shape}, but has shape {came}{batch}.")


def check_min_scale(min_scale: float) -> float:
    """`min_scale`, or `ValueError` when it is not positive and finite."""
    if not 0 < min_scale < float("inf"):
        raise ValueError(f"min_scale must be positive and finite, but is {min_scale}.")
    return float(min_scale)


def to_scale(raw: Array, min_scale: float) -> Array:
    """A standard deviation from an unbounded output: about 1 at 0, never below `min_scale`.

    The floor keeps the likelihood bounded: without it a component that sits on repeated targets
    drives its log-scale to minus infinity. Softplus grows linearly, so that a far target cannot
    make the scale overflow as an exponential would.
    """
    x = raw + SOFTPLUS_INVERSE_OF_1
    # Not `jax.nn.softplus`: on a CPU its log1p takes one number at a time, four times as long, and
    # keeps what it is fused with from using vectors. It tells values below 1e-7 apart; beside the
    # floor nobody sees them.
    return min_scale + jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


SOFTPLUS_INVERSE_OF_1 = 0.5413248546129181
MIN_SCALE = 1e-3
"""Default floor of predicted standard deviations, in (standardised) units of the state."""
