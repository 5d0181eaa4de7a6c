"""Values that come again exactly: what walls, resets and clipping leave in the data."""

from collections import Counter

import numpy as np

from ..transitions import Pins
from .views import Transitions

LEAST_SHARE, LEAST_COUNT = 0.01, 10


def find_pins(transitions: Transitions, num_components: int) -> Pins:
    """Which components to hold at which values, for `Pinned`.

    An atom is a value of one dimension that at least 1 % (and ten) of the next states take exactly;
    a pattern says which dimensions sit on which atom. Patterns as frequent as that get components,
    in proportion to how often they come, and one at least, the most frequent first. One pattern is
    free in every dimension, whether it is frequent or not, so that nothing is impossible.

    Args:
        transitions: training steps; held-out ones would leak into training.
        num_components: how many components there are, at least 1.

    Raises:
        ValueError: no component.
    """
    if num_components < 1:
        raise ValueError(f"num_components must be at least 1, but is {num_components}.")
    reached = np.asarray(transitions.next_state, np.float32)
    least = max(LEAST_COUNT, LEAST_SHARE * len(reached))
    held = np.full_like(reached, np.nan)
    for column, into in zip(reached.T, held.T, strict=True):
        values, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        into[:] = np.where(counts[inverse] >= least, values[inverse], np.nan)
    free = np.full(reached.shape[1], np.nan, np.float32).tobytes()
    counts = Counter(row.tobytes() for row in held)
    frequent = [kind for kind, count in counts.most_common() if count >= least and kind != free]
    kinds = [free, *frequent][:num_components]
    rows = [kind for kind, many in _shares(kinds, counts, num_components) for _ in range(many)]
    pins = np.frombuffer(b"".join(rows), np.float32)
    return Pins(pins.reshape(num_components, -1))


def _shares(kinds: list[bytes], counts: Counter, num_components: int) -> list[tuple[bytes, int]]:
    """One component for each pattern, and the rest where the most steps share one.

    A pattern without a free dimension is a point: a second component would add nothing.
    """
    many = dict.fromkeys(kinds, 1)
    several = [kind for kind in kinds if np.isnan(np.frombuffer(kind, np.float32)).any()]
    for _ in range(num_components - len(kinds)):
        crowded = max(several, key=lambda kind: counts[kind] / many[kind])
        many[crowded] += 1
    return list(many.items())
