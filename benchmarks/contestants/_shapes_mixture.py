"""The mixture rollout that all its contestants share."""

import numpy as np

STATE, ACTION, COMPONENTS, WIDTH, HORIZON = 8, 2, 5, 256, 15
OUTPUTS = COMPONENTS * (1 + 2 * STATE)


def layers():
    """Weights `[in, out]` of an MLP with two hidden layers."""
    rng = np.random.default_rng(0)
    widths = [STATE + ACTION, WIDTH, WIDTH, OUTPUTS]
    return [
        (rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32)
        for a, b in zip(widths[:-1], widths[1:], strict=True)
    ]


def starts(particles):
    """`[particles, state]`"""
    return np.random.default_rng(1).normal(size=(particles, STATE)).astype(np.float32)


def gains():
    """A linear policy, `[state, action]`."""
    return (0.1 * np.random.default_rng(2).normal(size=(STATE, ACTION))).astype(np.float32)
