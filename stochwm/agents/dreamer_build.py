"""A fresh Dreamer for given spaces."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..data import FlatSpace
from ..models import (
    RSSM,
    AbstractDecoder,
    FixedScale,
    JointDecoder,
    OneHotDecoder,
    PatchDecoder,
    PatchEncoder,
    Perceptron,
    SymlogDecoder,
    SymlogEncoder,
)
from ..training import partition_trainable
from .actors import make_actor_head
from .dreamer import Dreamer, Learner, make_optimizer
from .dreamer_config import DreamerConfig

ACTOR_SCALE = 0.01  # of the initial output weights: a first policy that is all but uniform
PATCH_FEATURES = 16


def make_learner(
    observation_space: FlatSpace,
    action_space: FlatSpace,
    config: DreamerConfig,
    *,
    image: tuple[int, int, int] | None = None,
    key: PRNGKeyArray,
) -> Learner:
    """A Dreamer that has not learned anything yet, with its optimiser.

    Args:
        observation_space: flat; numbers are predicted as numbers, categories as categories.
        action_space: flat; numbers need finite bounds.
        config: the choices.
        image: `(height, width, channels)` where the observation is a picture.
        key: for the initial weights.

    Raises:
        ValueError: actions that are neither categories nor numbers with finite bounds.
    """
    # One split for all: keys made of `key_model` here could be those that the model makes of it.
    key_model, key_actor, key_critic, key_heads = jax.random.split(key, 4)
    head = make_actor_head(action_space, unimix=config.unimix)
    model = RSSM(
        action_bounds=(action_space.low, action_space.high),
        latent=config.latent,
        embedding=config.width,
        reward_scalar=config.scalar,
        deter=config.deter,
        width=config.width,
        depth=config.depth,
        blocks=config.blocks,
        prior_heads=config.prior_heads,
        horizon=config.horizon if config.soft_discount else None,
        key=key_model,
        **_observation_heads(observation_space, config, image, key_heads),
    )
    shape: dict[str, Any] = {"width": config.width, "depth": config.depth}
    actor = Perceptron(
        model.feature_size, head.outputs, **shape, output_scale=ACTOR_SCALE, key=key_actor
    )
    critic = Perceptron(
        model.feature_size, config.scalar.outputs, **shape, output_scale=0.0, key=key_critic
    )
    agent = Dreamer(model, actor, critic, head, config.scalar)
    trainable: Any = partition_trainable(agent)[0]
    opt_state = make_optimizer(config).init(trainable)
    # A copy: two leaves of what is donated must not share a buffer.
    slow = jax.tree.map(jnp.copy, critic)
    return Learner(agent, slow, opt_state, jnp.zeros(()), jnp.zeros(()), jnp.asarray(0))


def _observation_heads(
    space: FlatSpace, config: DreamerConfig, image: tuple[int, int, int] | None, key: PRNGKeyArray
) -> dict[str, Any]:
    """The encoder, and the maker of the decoder, for a space."""
    width, depth = config.width, config.depth
    if image is not None:
        patch = config.patch
        encoder = PatchEncoder(image, patch, PATCH_FEATURES, width, key=key)
        make = lambda features, key: PatchDecoder(  # noqa: E731
            features, image, patch, PATCH_FEATURES, width, key=key
        )
        return {"encoder": encoder, "make_decoder": make}
    encoder = SymlogEncoder(Perceptron(space.size, None, width, depth, key=key))
    return {"encoder": encoder, "make_decoder": partial(_make_decoder, space, config)}


def _make_decoder(
    space: FlatSpace, config: DreamerConfig, features: int, *, key: PRNGKeyArray
) -> AbstractDecoder:
    """Numbers are predicted as numbers and categories as categories."""

    def part(run: int | tuple[int, ...], key: PRNGKeyArray) -> AbstractDecoder:
        size = run if isinstance(run, int) else sum(run)
        network = Perceptron(features, size, config.width, config.depth, key=key)
        if isinstance(run, tuple):
            return OneHotDecoder(network, run)
        return SymlogDecoder(network, FixedScale(jnp.full(size, config.observation_scale)))

    runs = _runs(space)
    if len(runs) == 1:
        return part(runs[0], key)
    keys = jax.random.split(key, len(runs))
    return JointDecoder(tuple(part(run, k) for run, k in zip(runs, keys, strict=True)))


def _runs(space: FlatSpace) -> list[int | tuple[int, ...]]:
    """What follows on each other: so many numbers, or categories of these sizes."""
    runs: list[int | tuple[int, ...]] = []
    end = 0
    for start, size in space.groups:
        if start > end:
            runs.append(start - end)
        before = runs[-1] if runs else None
        if isinstance(before, tuple):
            runs[-1] = (*before, size)
        else:
            runs.append((size,))
        end = start + size
    return runs if end == space.size else [*runs, space.size - end]
