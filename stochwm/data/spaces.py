"""What is known about a flat vector that encodes an element of a Gymnasium space."""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces as gs
from jaxtyping import Float32

from .leaves import blocks, categories, leaves, size_of


@dataclasses.dataclass(frozen=True)
class FlatSpace:
    """What is known about a flat vector: bounds, one-hot blocks and names. Hashable, JSON-able.

    Attributes:
        size: number of entries D.
        low: D lower bounds, `-inf` where there is none; 0 in one-hot blocks.
        high: D upper bounds, `inf` where there is none; 1 in one-hot blocks.
        groups: `(start, size)` of each one-hot block, in order.
        names: D names for people, such as `state[0]`, `position.x`, `cell=3`.

    Raises:
        ValueError: lengths differ from `size`, a bound is NaN or inverted, blocks overlap or stick
            out.
    """

    size: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    groups: tuple[tuple[int, int], ...]
    names: tuple[str, ...]

    def __post_init__(self):
        """Check that the parts fit together."""
        if self.size < 1:
            raise ValueError(f"a flat space needs at least one entry, got size={self.size}")
        for field in ("low", "high", "names"):
            if len(getattr(self, field)) != self.size:
                raise ValueError(
                    f"{field} has {len(getattr(self, field))} entries, expected size={self.size}"
                )
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not low <= high:
                raise ValueError(f"bounds of {name} are [{low}, {high}], expected low <= high")
        end = 0
        for start, size in self.groups:
            if start < end or size < 1 or start + size > self.size:
                raise ValueError(
                    f"one-hot block (start={start}, size={size}) overlaps another or leaves "
                    f"[0, {self.size})"
                )
            end = start + size

    @property
    def discrete(self) -> bool:
        """Whether every entry lies in a one-hot block."""
        return sum(size for _, size in self.groups) == self.size

    @property
    def one_hot(self) -> tuple[bool, ...]:
        """For each entry, whether it lies in a one-hot block."""
        inside = {i for start, size in self.groups for i in range(start, start + size)}
        return tuple(i in inside for i in range(self.size))

    def to_json(self) -> dict[str, Any]:
        """A dict that strict JSON can hold: infinite bounds become the strings "inf" and "-inf"."""
        fields = dataclasses.asdict(self)
        for bound in ("low", "high"):
            fields[bound] = [x if np.isfinite(x) else str(x) for x in fields[bound]]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "FlatSpace":
        """The inverse of `to_json`.

        Raises:
            ValueError: a field is missing, unknown, or does not fit the others.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != names:
            raise ValueError(f"a flat space has the fields {sorted(names)}, got {sorted(fields)}")
        return cls(
            size=int(fields["size"]),
            low=tuple(float(x) for x in fields["low"]),
            high=tuple(float(x) for x in fields["high"]),
            groups=tuple((int(start), int(size)) for start, size in fields["groups"]),
            names=tuple(str(name) for name in fields["names"]),
        )


def flat_space(space: gym.Space, name: str = "state") -> FlatSpace:
    """Describe the flat encoding of a Gymnasium space.

    Args:
        space: Box (any shape, any real dtype), Discrete, MultiDiscrete, MultiBinary, or Dict or
            Tuple of these, nested as you like.
        name: what the value is called in the names of entries; the keys of a Dict replace it.

    Raises:
        TypeError: the space is, or holds, something else (Text, Graph, Sequence, OneOf).
    """
    low, high, groups, names = [], [], [], []
    for label, leaf in leaves(space, name):
        for start, size in blocks(leaf):
            groups.append((len(names) + start, size))
        bounds = _bounds(leaf)
        low.extend(bounds[0])
        high.extend(bounds[1])
        names.extend(_names(leaf, label))
    return FlatSpace(len(names), tuple(low), tuple(high), tuple(groups), tuple(names))


def out_of_bounds(space: FlatSpace, flat: Float32[np.ndarray, " size"]) -> str | None:
    """Say in words which entry of a flat vector is not finite or leaves its bounds, if any does."""
    low, high = np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)
    bad = np.flatnonzero(~(np.isfinite(flat) & (low <= flat) & (flat <= high)))
    if not bad.size:
        return None
    i = bad[0]
    return f"{space.names[i]} = {flat[i]:g}, expected a value in [{low[i]:g}, {high[i]:g}]"


def _bounds(leaf: gym.Space) -> tuple[list[float], list[float]]:
    if isinstance(leaf, gs.Box):
        return [float(x) for x in leaf.low.ravel()], [float(x) for x in leaf.high.ravel()]
    return [0.0] * size_of(leaf), [1.0] * size_of(leaf)


def _names(leaf: gym.Space, label: str) -> list[str]:
    shape = leaf.shape or ()
    cells = [f"{label}[{','.join(map(str, i))}]" if i else label for i in np.ndindex(*shape)]
    if not isinstance(leaf, (gs.Discrete, gs.MultiDiscrete)):
        return cells
    sizes, starts = categories(leaf)
    return [
        f"{cell}={start + k}"
        for cell, size, start in zip(cells, sizes, starts, strict=True)
        for k in range(size)
    ]
