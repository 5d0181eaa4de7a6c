"""The baseline of every forecast: nothing changes."""

from jaxtyping import Array, Float

from ..distributions import Deterministic
from ..transitions import AbstractTransition


class Persistence(AbstractTransition):
    """Predicts that the next state is the state."""

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> Deterministic:
        return Deterministic(state)
