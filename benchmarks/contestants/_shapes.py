"""What all contestants of a contest share: the sizes of the work, and weights from one seed."""

import numpy as np

SIZES = {"halfcheetah": (17, 6), "cartpole": (4, 1)}
MEMBERS, WIDTH, DEPTH, HORIZON = 5, 200, 4, 15


def layers(outputs: int, task: str, members: int = MEMBERS, seed: int = 0):
    """Weights `[members, in, out]` and biases `[members, 1, out]` of an ensemble of MLPs."""
    rng = np.random.default_rng(seed)
    widths = [sum(SIZES[task]), *[WIDTH] * DEPTH, outputs]
    made = []
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        scale = 1 / np.sqrt(fan_in)
        weight = scale * rng.normal(size=(members, fan_in, fan_out))
        made.append((weight.astype(np.float32), np.zeros((members, 1, fan_out), np.float32)))
    return made


def starts(particles: int, task: str) -> np.ndarray:
    """Start states `[particles, state]`."""
    size = SIZES[task][0]
    return np.random.default_rng(1).normal(size=(particles, size)).astype(np.float32)


def gains(task: str) -> np.ndarray:
    """A linear policy `action = tanh(state @ gains)`, `[state, action]`."""
    return (0.1 * np.random.default_rng(2).normal(size=SIZES[task])).astype(np.float32)


def flops(particles: int, task: str, outputs: int, horizon: int = HORIZON) -> float:
    """Multiplications and additions of the network's products in a whole rollout."""
    widths = [sum(SIZES[task]), *[WIDTH] * DEPTH, outputs]
    macs = sum(a * b for a, b in zip(widths[:-1], widths[1:], strict=True))
    return 2.0 * particles * horizon * macs
