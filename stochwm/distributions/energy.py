"""The energy score: how far draws are from what happened, and from each other."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def energy_score(
    samples: Float[Array, "samples dim"], value: Float[Array, " dim"]
) -> Float[Array, ""]:
    """Fair energy score of a sample cloud against the value that came, in the value's units.

    `E|X - y| - E|X - X'| / 2`, a strictly proper score of the joint distribution (Gneiting &
    Raftery 2007, "Strictly proper scoring rules", equation 22). The second mean is over different
    samples, which makes the score unbiased in their number (Ferro 2014). Its gradient at coincident
    points is zero, not NaN.

    Args:
        samples: draws of the prediction, `[samples, dim]`, at least 2.
        value: what happened, `[dim]`.

    Raises:
        ValueError: fewer than 2 samples, or dimensions that differ.
    """
    number = samples.shape[0]
    if number < 2 or samples.shape[1:] != value.shape:
        raise ValueError(
            "samples must be [samples, dim] with at least 2 samples and the dimensions of value, "
            f"but samples has shape {samples.shape} and value {value.shape}."
        )
    apart = jnp.sum(_length(samples[:, None] - samples[None]))
    return jnp.mean(_length(samples - value)) - apart / (2 * number * (number - 1))


def _length(difference: Array) -> Array:
    squared = jnp.sum(difference**2, axis=-1)
    safe = jnp.where(squared > 0, squared, 1.0)
    return jnp.where(squared > 0, jnp.sqrt(safe), 0.0)
