"""What a model is recalibrated on must be other episodes than those it was trained on."""

import numpy as np

from ..data import Episodes


def refuse_training_episodes(holdout: Episodes, train: Episodes) -> None:
    """Raise if the hold-out holds training episodes: there, a model looks better than it is.

    An episode counts as seen if each of its transitions is among those of `train`, in whatever
    order and however they are cut into episodes. Worlds in which everything is discrete repeat
    transitions by chance: there the hold-out is refused if `train` has each of its whole episodes.

    Raises:
        ValueError: episodes that were seen, or spaces that differ.
    """
    for name in ("observation_space", "action_space"):
        if getattr(holdout, name) != getattr(train, name):
            raise ValueError(f"holdout and train must have the same {name}.")
    discrete = holdout.observation_space.discrete
    units = _whole_episodes if discrete else _transitions
    known = {unit for episode in units(train) for unit in episode}
    seen = [i for i, episode in enumerate(units(holdout)) if known.issuperset(episode)]
    if seen and (not discrete or len(seen) == holdout.num_episodes):
        raise ValueError(
            f"holdout must be other episodes than train, but {len(seen)} of its "
            f"{holdout.num_episodes} episodes are in train, the first of them episode {seen[0]}. "
            "Divide episodes before training: train, holdout = episodes.split([.8, .2], seed=0)."
        )


def _transitions(episodes: Episodes) -> list[list[bytes]]:
    rows = episodes.transitions()
    table = np.concatenate([rows.state, rows.action, rows.next_state], axis=1)
    ends = np.flatnonzero(np.diff(np.asarray(rows.episode))) + 1
    return [[row.tobytes() for row in part] for part in np.split(table, ends)]


def _whole_episodes(episodes: Episodes) -> list[list[bytes]]:
    table = np.concatenate([episodes.observation, episodes.action], axis=1)
    parts = np.split(table, np.flatnonzero(episodes.is_first)[1:])
    return [[part.tobytes()] for part in parts]
