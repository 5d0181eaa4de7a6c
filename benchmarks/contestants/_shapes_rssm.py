"""What all contestants of the RSSM contest share: DreamerV3's sizes, and weights from one seed."""

from typing import NamedTuple

import numpy as np

PARTICLES, HORIZON = 1024, 15
GROUPS, BLOCKS, ACTIONS, BINS = 32, 8, 6, 255
MIX, EPSILON, UPDATE_BIAS = 0.01, 1e-5, -1.0
"""Uniform part of every categorical, of a norm's denominator, and bias of the update gate."""


class Size(NamedTuple):
    """What differs between `size1m` and `size12m` of DreamerV3 (arXiv 2301.04104 and its code)."""

    deter: int
    hidden: int
    classes: int

    @property
    def stoch(self) -> int:
        """Entries of a latent."""
        return GROUPS * self.classes

    @property
    def block(self) -> int:
        """Entries of a block of the recurrent state."""
        return self.deter // BLOCKS


SIZES = {"size1m": Size(512, 64, 4), "size12m": Size(2048, 256, 16)}


def layers(size: Size) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of the weights, `[inputs, outputs]` or `[blocks, inputs, outputs]`, by part."""
    hidden, features = size.hidden, size.deter + size.stoch
    return {
        "embed": [(size.deter, hidden), (size.stoch, hidden), (ACTIONS, hidden)],
        "mix": [(BLOCKS, size.block + 3 * hidden, size.block)],
        "gates": [(BLOCKS, size.block, 3 * size.block)],
        "prior": [(size.deter, hidden), (hidden, hidden), (hidden, size.stoch)],
        "actor": [(features, hidden), (hidden, hidden), (hidden, hidden), (hidden, ACTIONS)],
        "reward": [(features, hidden), (hidden, BINS)],
        "discount": [(features, hidden), (hidden, 1)],
    }


def weights(size: Size, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Weights by part; biases are 0 and the scales of norms are 1."""
    rng = np.random.default_rng(seed)
    draw = lambda shape: (rng.normal(size=shape) / np.sqrt(shape[-2])).astype(np.float32)  # noqa: E731
    return {part: [draw(shape) for shape in shapes] for part, shapes in layers(size).items()}


def starts(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Start states: recurrent `[particles, deter]` and one-hot `[particles, stoch]`."""
    rng = np.random.default_rng(1)
    deter = np.tanh(rng.normal(size=(PARTICLES, size.deter))).astype(np.float32)
    index = rng.integers(size.classes, size=(PARTICLES, GROUPS))
    return deter, np.eye(size.classes, dtype=np.float32)[index].reshape(PARTICLES, -1)


def bins() -> np.ndarray:
    """What the bins of the reward stand for."""
    half = np.linspace(-20, 20, BINS)
    return (np.sign(half) * np.expm1(np.abs(half))).astype(np.float32)


def parameters(size: Size, parts: tuple[str, ...] = ("embed", "mix", "gates", "prior")) -> int:
    """How many weights parts have; by default the recurrent model alone."""
    return int(sum(np.prod(shape) for part in parts for shape in layers(size)[part]))


def flops(size: Size) -> float:
    """Multiplications and additions of all products in a whole dream."""
    return 2.0 * PARTICLES * HORIZON * parameters(size, tuple(layers(size)))
