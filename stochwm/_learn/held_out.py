"""What the verbs that use held-out episodes share: which they are, and whether they are enough."""

import math

from ..data import Episodes
from .config import FRACTIONS
from .run import Run

FEW_EPISODES = 10
REUSED = (
    "Training did not see the validation episodes, but they chose the parameters that were kept: "
    "the model may look a little better on them than on new ones. The test episodes chose nothing."
)


def finished_parts(run: Run) -> dict[str, Episodes]:
    """Train, validation and test episodes of a finished run.

    Raises:
        StorageError: the run is not finished.
    """
    run.metrics  # noqa: B018, raises where the run is not finished
    return run.split(run.episodes)


def notes_on(parts: dict[str, Episodes]) -> list[str]:
    """What a reader should know of the episodes that fit something, and of those that judge it."""
    few = [
        f"There are only {parts[name].num_episodes} {name} episodes: what they say is uncertain."
        for name in ("validation", "test")
        if parts[name].num_episodes < FEW_EPISODES
    ]
    return [REUSED, *few]


def too_few(run: Run, what: str, holdout: Episodes, least: int, instead: str = "") -> ValueError:
    """The error that says how many episodes are needed, and how to get them.

    Args:
        run: whose validation episodes are too few.
        what: needs them.
        holdout: the validation episodes that there are.
        least: how many are needed.
        instead: what can be done with those that there are, a sentence.
    """
    have, config = holdout.num_episodes, run.config
    more = f"about --steps {math.ceil(config.steps * least / max(have, 1) * 1.2)}"
    if config.data is not None:
        more = f"at least {math.ceil(least / FRACTIONS[1])} recorded episodes"
    return ValueError(
        f"{what} needs at least {least} validation episodes, but the run has {have}: "
        f"{100 * FRACTIONS[1]:.0f} % of all. {f'{instead} Or learn' if instead else 'Learn'} it "
        f"again with more, {more}, or with shorter episodes."
    )
