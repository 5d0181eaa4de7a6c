"""Let a trained agent dream an episode, beside how it really went."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .._learn.worlds import bundled_world
from .._storage import save_tree
from ..agents import Beside, Dreamer, Steps, dream_beside
from ..data.checks import checked_seed
from .rendered import as_frames, record
from .run import AgentRun

LEVELS = (0.05, 0.5, 0.95)
DRAWN = 4  # dreams as pictures
TOLD = 16  # numbers of an observation in the table
FPS = 5.0


class DreamtBeside(NamedTuple):
    """Dreams of an episode, the episode, and where their pictures are."""

    title: str
    names: tuple[str, ...]
    """Of the entries of an observation."""
    groups: tuple[tuple[int, int], ...]
    """`(start, size)` of each one-hot block of an observation."""
    real: Steps
    dreams: Beside
    video: Path

    def __str__(self) -> str:
        """A table for people."""
        first, last = self.dreams.seen, len(self.real.reward) - 1
        lines = [self.title, "", f"{'':<30}{'real':>10}{'5 %':>10}{'median':>10}{'95 %':>10}"]
        for step in sorted({first, (first + last) // 2, last}):
            left = ~self.dreams.over[:, step]
            share = f"{100 * left.mean():.0f} % of dreams go on" if not left.all() else ""
            lines.append(f"step {step}, {step - first + 1} dreamt{', ' if share else ''}{share}")
            lines += self._at(step, left)
        total = np.where(self.dreams.over, 0.0, self.dreams.reward)[:, first:].sum(axis=1)
        real = float(np.sum(self.real.reward[first:]))
        lines += ["", _row("sum of dreamt rewards", real, total)]
        lines += ["", f"video: {self.video}", f"its last frame: {self.video.with_suffix('.png')}"]
        return "\n".join(lines)

    def _at(self, step: int, left: np.ndarray) -> list[str]:
        """The observation at a step, among dreams that are left."""
        cloud, real = self.dreams.observation[left, step], self.real.observation[step]
        if not left.any():
            return []
        lines, inside = [], set()
        for start, size in self.groups:
            share = cloud[:, start : start + size].mean(axis=0)
            truth, most = int(np.argmax(real[start : start + size])), int(np.argmax(share))
            lines.append(
                f"  real: {self.names[start + truth]}, in {100 * share[truth]:.0f} % of dreams; "
                f"most dreams: {self.names[start + most]} ({100 * share[most]:.0f} %)"
            )
            inside |= set(range(start, start + size))
        numbers = [d for d in range(len(self.names)) if d not in inside]
        if len(numbers) <= TOLD:  # not those of a picture
            lines += [_row(f"  {self.names[d]}", float(real[d]), cloud[:, d]) for d in numbers]
        return lines


def dream_agent(
    run: AgentRun, *, seen: int = 5, length: int = 50, dreams: int = 1_000, seed: int = 0
) -> DreamtBeside:
    """Dream an episode of a run's Dreamer, beside how it really went, and write `dream/`.

    The agent plays one episode. Its model is shown the first observations, and dreams the rest
    under the actions that were really taken. Writes `dream/dream.gif` (pictures where observations
    are pictures or a bundled world draws them, and charts), its last frame `dream/dream.png`, and
    the arrays in `dream/arrays`.

    Args:
        run: a finished run of Dreamer.
        seen: observations that the model is shown; fewer where the episode is shorter.
        length: steps that it then dreams, if the episode is as long.
        dreams: how many.
        seed: of the episode and of the dreams.

    Raises:
        StorageError: the run is not finished.
        ValueError: an agent without a model, or numbers out of range.
        ImportError: matplotlib is missing (extra `plots`).
    """
    from ..report import dream_video, write_gif, write_png

    for name, number in (("seen", seen), ("length", length), ("dreams", dreams)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, but is {number}.")
    checked_seed(seed)
    agent, config = run.agent, run.config
    if not isinstance(agent, Dreamer):
        raise ValueError(
            f"the run in {str(run.path)!r} is of {config.agent}, which has no model to dream with. "
            "`stochwm train dreamer ENV_ID` trains an agent that has."
        )
    key = jax.random.key(seed)
    episode = record(config, agent, key=key, longest=seen + length)
    steps, source = episode.steps, run.source(1)
    key_dreams = jax.random.fold_in(key, 2)  # the episode was drawn with 0 and 1, as a split is
    seen = min(seen, len(steps.reward) - 1)
    found = dream_beside(agent.model, steps, seen=seen, dreams=dreams, key=key_dreams)
    world = bundled_world(config)
    space, drawable = source.observation_space, world if _drawable(world) else None
    names = space.names if drawable is None else drawable.state_names
    left = np.where(found.over[..., None], np.nan, found.observation)
    told = (None, None) if source.image is not None else (left, steps.observation)
    number = len(steps.reward) - seen
    counts = _count(number, "step"), _count(seen, "real observation")
    title = f"{config.env_id}: {_count(dreams, 'dream')} of {counts[0]}, after {counts[1]}"
    frames = dream_video(
        told,
        (np.where(found.over, np.nan, found.reward), steps.reward),
        (found.ended, len(steps.reward) - 1 if steps.is_terminal[-1] else None),
        seen=seen,
        names=list(names),
        one_hot=space.one_hot,
        frames=_pictures(found, episode.frames, drawable, source.image),
        title=title,
    )
    folder = run.path / "dream"
    folder.mkdir(exist_ok=True)
    write_gif(folder / "dream.gif", frames, fps=FPS)
    write_png(folder / "dream.png", frames[-1])
    arrays = {"dreams": found._asdict() | {"seen": seen}, "real": vars(steps)}
    save_tree(folder / "arrays", arrays, {"names": list(names)})
    return DreamtBeside(title, tuple(names), space.groups, steps, found, folder / "dream.gif")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s'[: number != 1]}"


def _drawable(world: Any) -> bool:
    """Whether a world can draw what is observed of it."""
    return world is not None and world.fully_observed


def _pictures(
    dreams: Beside, real: np.ndarray | None, world: Any, image: tuple[int, int, int] | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames of a few dreams and the real ones, where both can be drawn."""
    shown = _held(dreams.observation[:DRAWN], dreams.over[:DRAWN])
    if real is not None and image is not None:
        return as_frames(shown, image), real
    if real is None or world is None:
        return None
    return np.stack([[world.render(state) for state in dream] for dream in shown]), real


def _held(dreams: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Dreams that are over stay at their last observation."""
    last = np.argmax(over, axis=1) - 1
    held = dreams.copy()
    for i in np.flatnonzero(over.any(axis=1)):
        held[i, over[i]] = dreams[i, last[i]]
    return held


def _row(name: str, real: float, values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, LEVELS)
    return f"{name:<30}{real:>10.3f}{low:>10.3f}{middle:>10.3f}{high:>10.3f}"
