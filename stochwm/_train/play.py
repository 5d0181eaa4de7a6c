"""Let a trained agent play: how good it is, and a video of an episode."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from .._storage import write_text
from ..agents import acting, evaluate_policy
from ..agents.steps import Finished
from ..data.checks import checked_seed
from .rendered import record
from .run import AgentRun

COPIES = 8
LONGEST = 1_000  # rows of a video


class Played(NamedTuple):
    """Episodes of a trained agent, without learning."""

    title: str
    episodes: list[Finished]
    video: Path | None
    note: str
    """About the video."""

    def __str__(self) -> str:
        """A table for people."""
        lines = [self.title, "", f"{'':<10}{'mean':>10}{'sd':>10}{'lowest':>10}{'highest':>10}"]
        for name, numbers in (
            ("return", [one.total for one in self.episodes]),
            ("length", [one.length for one in self.episodes]),
        ):
            summary = (np.mean(numbers), np.std(numbers), np.min(numbers), np.max(numbers))
            lines.append(f"{name:<10}" + "".join(f"{number:>10.2f}" for number in summary))
        return "\n".join([*lines, "", self.note])


def play_agent(run: AgentRun, *, episodes: int = 10, seed: int = 0, greedy: bool = False) -> Played:
    """Play episodes with the agent of a run, and write `play/`.

    Writes `play/returns.json` and, where the environment draws itself, `play/episode.gif`, of one
    more episode.

    Args:
        run: a finished run.
        episodes: how many count.
        seed: of the episodes.
        greedy: take the most probable action in the most probable latent state, instead of drawing
            both, as in training.

    Raises:
        StorageError: the run is not finished.
        ValueError: no episodes, a seed outside [0, 2**32), or episodes that do not end.
        ImportError: matplotlib is missing (extra `plots`).
    """
    from ..report import write_gif

    checked_seed(seed)
    agent, config = run.agent, run.config
    source = run.source(max(1, min(COPIES, episodes)))
    act, memory = acting(agent, source, greedy=greedy)
    key = jax.random.key(seed)
    found = evaluate_policy(source, act, agent, episodes=episodes, key=key, memory=memory)
    folder = run.path / "play"
    folder.mkdir(exist_ok=True)
    # Not a key that `evaluate_policy` makes of it, or this would be the first episode once more.
    key_shown = jax.random.fold_in(key, 2)
    shown = record(config, agent, key=key_shown, longest=LONGEST, greedy=greedy)
    video, note = None, f"no video: {shown.why_blind}"
    if shown.frames is not None:
        video = folder / "episode.gif"
        write_gif(video, shown.frames, fps=shown.fps)
        total, steps = float(np.sum(shown.steps.reward)), len(shown.steps.reward) - 1
        note = f"video: {video} (one more episode: return {total:.4g} in {steps} steps)"
    rows = [{"return": one.total, "length": one.length} for one in found]
    write_text(
        folder / "returns.json",
        json.dumps({"seed": seed, "greedy": greedy, "episodes": rows}) + "\n",
    )
    title = f"{config.agent} on {config.env_id}: {episodes} episode{'s'[: episodes > 1]}"
    return Played(title, found, video, note)
