"""How good an agent is: returns of whole episodes, without learning."""

import jax
from jaxtyping import PRNGKeyArray, PyTree

from .source import AbstractSource, Act
from .steps import Finished, Running, episode_returns

CHUNK = 64  # rows between looks at what has ended


def evaluate_policy(
    source: AbstractSource,
    act: Act,
    agent: PyTree,
    *,
    episodes: int,
    key: PRNGKeyArray,
    memory: PyTree = None,
    longest: int = 100_000,
) -> list[Finished]:
    """Return and length of exactly `episodes` episodes, from fresh starts.

    Each copy of the environment contributes its first `episodes / num_envs` episodes (the first
    `episodes % num_envs` copies one more). The first ones to end, whichever copy they are from,
    would be the short ones.

    Args:
        source: where to act. Its copies are started anew.
        act: how the agent acts (see `source`); one that takes the mode of its policy evaluates the
            greedy agent.
        agent: what `act` acts for.
        episodes: how many, at least 1.
        key: of the starts and of all draws.
        memory: of the copies, before their first observation: leading axis `[envs]`, or None.
        longest: rows of each copy after which this gives up, rounded up to a multiple of 64.

    Raises:
        ValueError: no episode or no row is asked for, or the episodes do not end.
    """
    for name, number in (("episodes", episodes), ("longest", longest)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, but is {number}.")
    found: list[list[Finished]] = [[] for _ in range(source.num_envs)]
    quota = [episodes // len(found) + (i < episodes % len(found)) for i in range(len(found))]
    running = Running.begin(source.num_envs)
    key_start, key = jax.random.split(key)
    place = source.start(int(jax.random.bits(key_start, dtype="uint32")))
    for chunk in range(-(-longest // CHUNK)):
        memory, place, steps, _ = source.collect(
            act, agent, memory, place, key=jax.random.fold_in(key, chunk), length=CHUNK
        )
        ended, running = episode_returns(steps, running)
        for one in ended:
            found[one.env].append(one)
        kept = [one for mine, n in zip(found, quota, strict=True) for one in mine[:n]]
        if len(kept) == episodes:
            return kept
    raise ValueError(
        f"{len(kept)} of {episodes} episodes ended in {longest} rows of {source.num_envs} "
        "environments; put a limit on their length, or raise longest."
    )
