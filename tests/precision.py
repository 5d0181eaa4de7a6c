"""Double precision for comparisons with oracles."""

import jax


def x64():
    """A context in which arrays are float64; its name has moved between versions of jax."""
    enable = getattr(jax, "enable_x64", None)
    return jax.experimental.enable_x64() if enable is None else enable(True)
