"""A fresh Dreamer for given spaces."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..data import FlatSpace
from ..models import (
    RSSM,
    FixedScale,
    OneHotDecoder,
    PatchDecoder,
    PatchEncoder,
    Perceptron,
    SymlogDecoder,
    SymlogEncoder,
)
from ..training import partition_trainable
from .actors import make_actor_head
from .dreamer import Dreamer, DreamerConfig, Learner

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
        observation_space: flat; categories are predicted as such where all of it is discrete.
        action_space: flat; numbers need finite bounds.
        config: the choices.
        image: `(height, width, channels)` where the observation is a picture.
        key: for the initial weights.

    Raises:
        ValueError: actions that are neither categories nor numbers with finite bounds.
    """
    key_model, key_actor, key_critic = jax.random.split(key, 3)
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
        **_observation_heads(observation_space, config, image, jax.random.fold_in(key_model, 1)),
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
    opt_state = config.optimizer().init(trainable)
    # A copy: two leaves of what is donated must not share a buffer.
    slow = jax.tree.map(jnp.copy, critic)
    return Learner(agent, slow, opt_state, jnp.zeros(()), jnp.zeros(()), jnp.asarray(0))


def _observation_heads(
    space: FlatSpace, config: DreamerConfig, image: tuple[int, int, int] | None, key: PRNGKeyArray
) -> dict[str, Any]:
    """The encoder, and the maker of the decoder, for a space."""
    width, depth, size = config.width, config.depth, space.size
    if image is not None:
        patch = config.patch
        encoder = PatchEncoder(image, patch, PATCH_FEATURES, width, key=key)
        make = lambda features, key: PatchDecoder(  # noqa: E731
            features, image, patch, PATCH_FEATURES, width, key=key
        )
        return {"encoder": encoder, "make_decoder": make}
    network = partial(Perceptron, outputs=size, width=width, depth=depth)
    if space.discrete:
        sizes = tuple(size for _, size in space.groups)
        make = lambda features, key: OneHotDecoder(network(features, key=key), sizes)  # noqa: E731
    else:
        scale = FixedScale(jnp.full(size, config.observation_scale))
        make = lambda features, key: SymlogDecoder(network(features, key=key), scale)  # noqa: E731
    encoder = SymlogEncoder(Perceptron(size, None, width, depth, key=key))
    return {"encoder": encoder, "make_decoder": make}
