"""What the library knows about its bundled worlds."""

import gymnasium

from .. import envs as envs  # registers the bundled worlds


def describe_worlds() -> list[tuple[str, str]]:
    """Id and one-line description of every bundled world."""
    rows = []
    for env_id in sorted(gymnasium.registry):
        if env_id.startswith("stochwm/"):
            env = gymnasium.make(env_id)
            world = getattr(env.unwrapped, "world", env.unwrapped)
            rows.append((env_id, (type(world).__doc__ or "").strip().splitlines()[0]))
            env.close()
    return rows
