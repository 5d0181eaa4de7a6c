"""Cross-validation by episode: preprocessing, training and evaluation, fold by fold."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..data import Episodes
from .card_text import aligned, number, title
from .evaluate import evaluate
from .holdout import refuse_training_episodes
from .leaks import refuse_held_out_statistics, refuse_pieces
from .scorecard import Scorecard


class FoldScore(NamedTuple):
    """One score over folds."""

    metric: str
    horizon: int
    mean: float
    """Of the folds, each with equal weight."""
    spread: float
    """Standard deviation between folds; NaN of a single one."""
    folds: int
    """In how many folds it could be scored."""
    of: str = "model"


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What each fold says, and all together.

    Attributes:
        cards: one card a fold, of models made from the episodes outside it.
        held_out: the episodes of each fold.
        notes: what to know before believing the numbers.
    """

    cards: tuple[Scorecard, ...]
    held_out: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> tuple[FoldScore, ...]:
        """Each score over the folds in which it is known."""
        values: dict[tuple[str, int, str], list[float]] = {}
        for card in self.cards:
            for score in card.scores:
                values.setdefault((score.metric, score.horizon, score.of), []).append(score.value)
        return tuple(
            FoldScore(metric, horizon, float(np.mean(x)), _spread(x), len(x), of)
            for (metric, horizon, of), x in values.items()
        )

    def get(self, metric: str, horizon: int = 1, *, of: str = "model") -> FoldScore:
        """One row. `KeyError` when there is none; the message lists what there is."""
        for row in self.summary:
            if (row.metric, row.horizon, row.of) == (metric, horizon, of):
                return row
        have = [(row.metric, row.horizon, row.of) for row in self.summary]
        raise KeyError(f"no score {metric!r} at horizon {horizon} of {of!r}; there are {have}")

    def __str__(self) -> str:
        """A table for people."""
        rows = self.summary
        sources = list(dict.fromkeys(row.of for row in rows))
        cells = {(row.metric, row.horizon, row.of): _cell(row, len(self.cards)) for row in rows}
        table = [["metric", "steps ahead", *map(title, sources)]]
        for metric, horizon in dict.fromkeys((row.metric, row.horizon) for row in rows):
            found = [cells.get((metric, horizon, of), "") for of in sources]
            table.append([metric, str(horizon), *found])
        lines = [*aligned(table), "", f"mean +- standard deviation over {len(self.cards)} folds"]
        lines += [f"note: {note}" for note in self.notes]
        for i, card in enumerate(self.cards):
            lines += [f"skipped in fold {i}: {reason}" for reason in card.skipped]
        return "\n".join(lines)


def cross_validate(
    make: Callable[..., Any],
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    folds: int = 5,
    **options: Any,
) -> CrossValidation:
    """Make a model from all episodes but those of a fold, score it on these, for each fold.

    `make(train, *, key) -> model` holds everything that learns from data: normalisers, pins,
    training with its validation episodes (`train.split`), recalibration. It gets copies of the
    training episodes and nothing else. Then three leaks are looked for: episodes that are pieces of
    one (before anything is made), held-out episodes that are in the training part as well, and
    constants of a model that are statistics of held-out episodes, from a normaliser fitted outside
    `make`. What these checks cannot see is what leaves no trace: a network that was trained on all
    episodes elsewhere, choices that were made by looking at them, pieces with a gap between them.

    Args:
        make: makes a model, or a transition, from training episodes; the same key in each fold.
        episodes: whole episodes.
        key: divides the episodes, trains and scores.
        folds: how many, at least 2; each episode is held out in one.
        **options: of `evaluate`, such as `horizons` and `metrics`, but `train`, which is given.

    Returns:
        A `CrossValidation`, with a note where all folds have the same model.

    Raises:
        ValueError: fewer than 2 folds or more than episodes, a leak, or as `evaluate`.
    """
    if not 2 <= folds <= episodes.num_episodes:
        raise ValueError(
            f"folds must be from 2 to the number of episodes, {episodes.num_episodes}, but is "
            f"{folds}."
        )
    refuse_pieces(episodes)
    key_folds, key_make, key_score = jax.random.split(key, 3)
    order = np.asarray(jax.random.permutation(key_folds, episodes.num_episodes))
    held_out = [np.sort(part) for part in np.array_split(order, folds)]
    cards, models = [], []
    for part in held_out:
        rest = np.setdiff1d(order, part)
        train, test = episodes.select(rest), episodes.select(part)
        refuse_training_episodes(test, train)
        models.append(make(episodes.select(rest), key=key_make))
        refuse_held_out_statistics(models[-1], train, test)
        cards.append(evaluate(models[-1], test, key=key_score, train=train, **options))
    parts = tuple(tuple(part.tolist()) for part in held_out)
    return CrossValidation(tuple(cards), parts, _notes(models))


def _notes(models: list[Any]) -> tuple[str, ...]:
    learns = bool(jax.tree.leaves(eqx.filter(models[0], eqx.is_inexact_array)))
    if not learns or not bool(eqx.tree_equal(*models)):
        return ()
    return (
        "make gave the same model in each fold, so it does not learn from the episodes that it is "
        "given; if the model was fitted elsewhere on these episodes, its scores are too good.",
    )


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _cell(row: FoldScore, folds: int) -> str:
    spread = "" if np.isnan(row.spread) else f" +- {number(row.spread)}"
    fewer = "" if row.folds == folds else f" ({row.folds} folds)"
    return f"{number(row.mean)}{spread}{fewer}"
