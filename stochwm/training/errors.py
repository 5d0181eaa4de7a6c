"""What can go wrong in training."""

from typing import Any


class TrainingDiverged(RuntimeError):
    """The loss, a gradient or an update was NaN or infinite too many times in a row.

    Nothing was updated with it.

    Attributes:
        step: the optimiser step at which `fit` gave up, counted from 1.
        member: the ensemble member to which it happened.
        seed: the key data of `fit`'s key; for `jax.random.key(7)` it ends in 7.
        bad_steps: how many steps of this member were not finite, in a row.
        model: the last good model: this member as it was before those steps, the others as they
            are at the end of the same chunk of `evaluate_every` steps.
        history: the metrics up to then.
    """

    def __init__(
        self,
        *,
        step: int,
        member: int,
        seed: tuple[int, ...],
        bad_steps: int = 1,
        model: Any,
        history: list[dict],
    ):
        """Make the error; see the class for the arguments."""
        times = "" if bad_steps == 1 else f", the last of {bad_steps} such steps in a row"
        super().__init__(
            f"The loss, a gradient or an update of member {member} became NaN or infinite at step "
            f"{step}{times} (seed {seed[-1]}). The last good model is kept in `.model`, "
            "checkpoints before it are untouched. Look for outliers in the data, lower the "
            "learning rate, or raise min_scale."
        )
        self.step, self.member, self.seed, self.bad_steps = step, member, seed, bad_steps
        self.model, self.history = model, history
