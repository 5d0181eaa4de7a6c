"""What can go wrong in training."""

from typing import Any


class TrainingDiverged(RuntimeError):
    """The loss, a gradient or an update became NaN or infinite; nothing was updated with it.

    Attributes:
        step: the optimiser step at which it happened, counted from 1.
        member: the ensemble member to which it happened.
        seed: the key data of `fit`'s key; for `jax.random.key(7)` it ends in 7.
        model: the model as it was before that step.
        history: the metrics up to then.
    """

    def __init__(
        self, *, step: int, member: int, seed: tuple[int, ...], model: Any, history: list[dict]
    ):
        """Make the error; see the class for the arguments."""
        super().__init__(
            f"The loss, a gradient or an update of member {member} became NaN or infinite at step "
            f"{step} (seed {seed[-1]}). The model before that step is kept in `.model`, "
            "checkpoints before it are untouched. Look for outliers in the data, lower the "
            "learning rate, or raise min_scale."
        )
        self.step, self.member, self.seed = step, member, seed
        self.model, self.history = model, history
