"""Do a model and an environment speak of the same vectors?"""

from typing import Any

import equinox as eqx
import gymnasium as gym
import jax
import jax.numpy as jnp

from ..models import AbstractFilter, AbstractWorldModel
from ..models.checks import check_world_model
from .spaces import FlatSpace, flat_space


def check_spaces(model: AbstractWorldModel, env: Any) -> None:
    """Check that a model takes the states and actions of an environment, without compiling it.

    Args:
        model: a world model that starts from a flat observation, or a filter that sees them.
        env: what has `observation_space` and `action_space`: a Gymnasium environment, `Episodes`.

    Raises:
        TypeError: no world model, or nothing that has spaces.
        ValueError: the sizes differ; the message shows both spaces.
    """
    check_world_model(model)
    if not hasattr(env, "observation_space"):
        raise TypeError(
            "an environment or Episodes must say which spaces the model is for, but a "
            f"{type(env).__name__} does not: pass whole Episodes, not their transitions()."
        )
    spaces = _flat(env.observation_space, "state"), _flat(env.action_space, "action")
    state, action = (jax.ShapeDtypeStruct((space.size,), jnp.float32) for space in spaces)

    def draw(model, state, action):
        key = jax.random.key(0)
        if isinstance(model, AbstractFilter):
            prior = model.transition(model.initial(), action)
            start = model.posterior(prior, state).sample(seed=key)
        else:
            start = model.start(state)
        return model.emission(model.transition(start, action).sample(seed=key), key=key)

    try:
        result = getattr(eqx.filter_eval_shape(draw, model, state, action), "shape", None)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(_message(spaces, str(error))) from error
    if result != state.shape:
        raise ValueError(_message(spaces, f"it predicts a next state of shape {result}"))


def _flat(space: gym.Space | FlatSpace, name: str) -> FlatSpace:
    return space if isinstance(space, FlatSpace) else flat_space(space, name)


def _message(spaces: tuple[FlatSpace, FlatSpace], why: str) -> str:
    state, action = (f"{space.size} numbers ({', '.join(space.names)})" for space in spaces)
    return (
        f"model does not fit the environment, whose observation_space encodes to {state} and whose "
        f"action_space to {action}: {why}"
    )
