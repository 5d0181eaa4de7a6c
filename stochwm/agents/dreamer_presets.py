"""DreamerV1, V2 and V3 as choices of one engine, at sizes for a CPU."""

from collections.abc import Hashable
from typing import Any

import jax
import optax

from ..models import CategoricalLatent, ChainedLatent, MeanSquared, NormalLatent, SymexpTwoHot
from ..training import balanced_kl, free_bits
from .clipping import clip_by_input_norm
from .dreamer import Dreamer
from .dreamer_config import DreamerConfig
from .slow_critic import SlowCritic


def v3_tiny(**changes) -> DreamerConfig:
    """DreamerV3 (arXiv 2301.04104) with 8 x 8 latents and some 0.25 million parameters.

    A learning rate ten times that of the paper, for networks a hundred times smaller. Errors of
    observed numbers count fifty times as much: the angle of a pole, a tenth of a radian, is else
    worth less than the nat that it costs to tell it, and CartPole is not learned on every seed.

    For thousands of steps instead of millions, values may rise sooner: they look 100 steps ahead
    and not 333, the slow critic follows ten times as fast and draws the critic a tenth as much, and
    each step is replayed 192 times.
    """
    choices = {
        "latent": CategoricalLatent(8, 8),
        "divergence": free_bits(1.0, dyn=1.0, rep=0.1),
        "scalar": SymexpTwoHot(),
        "slow_critic": SlowCritic(0.2, pull=0.1),
        "optimizer": laprop,
        "observation_scale": 0.1,
        "horizon": 100.0,
        "train_ratio": 192.0,
    }
    return DreamerConfig(**(choices | changes))


def v3_chained(**changes) -> DreamerConfig:
    """`v3_tiny` for worlds where chance decides: its dreams are as random as what it saw.

    Each group of the latent is drawn in the light of those before (`ChainedLatent`): groups drawn
    each by itself do not agree, and decode to states that do not exist. Of a free nat, a tenth: a
    nat is more than the likelier outcomes cost (-ln p), and of these the prior would learn no more.
    Steps are replayed a sixth as often: the recurrent state knows the past by heart, and learns
    the accidents of a step that it sees too often as if they followed from it. Horizon and slow
    critic are those of the paper.
    """
    choices = {
        "latent": ChainedLatent(CategoricalLatent(8, 8)),
        "divergence": free_bits(0.1, dyn=1.0, rep=0.1),
        "slow_critic": SlowCritic(0.02, pull=1.0),
        "horizon": 333.0,
        "learning_rate": 1e-3,
        "train_ratio": 32.0,
    }
    return v3_tiny(**(choices | changes))


def v2_tiny(**changes) -> DreamerConfig:
    """DreamerV2 (arXiv 2010.02193): KL balancing, squared errors, a target critic, REINFORCE.

    Errors of observed numbers count fifty times as much, as in `v3_tiny`. For continuous actions
    the paper's actor learns through the dream: `v2_tiny(dynamics_gradient=True)`.
    """
    choices = {
        "latent": CategoricalLatent(8, 8, mix=0.0),
        "divergence": balanced_kl(0.8),
        "scalar": MeanSquared(),
        "slow_critic": SlowCritic(every=100, bootstraps=True),
        "optimizer": three_adams,
        "learning_rate": 1e-3,
        "observation_scale": 0.1,
        "horizon": 100.0,
        "soft_discount": False,
        "normalise_returns": False,
        "entropy": 1e-3,
        "unimix": 0.0,
        "replay_critic": 0.0,
    }
    return DreamerConfig(**(choices | changes))


def v1_tiny(**changes) -> DreamerConfig:
    """DreamerV1 (arXiv 1912.01603): normal latents, and an actor that learns through the dream.

    Errors of observed numbers count fifty times as much, as in `v3_tiny`: else an observation tells
    less than the three free nats, and the prior learns nothing. Steps are replayed about as often
    as in the paper (100 updates on 50 x 50 each 1,000 steps).
    """
    choices = {
        "latent": NormalLatent(30),
        "divergence": free_bits(3.0, dyn=0.5, rep=0.5),
        "scalar": MeanSquared(),
        "slow_critic": SlowCritic(),
        "optimizer": three_adams,
        "learning_rate": 1e-3,
        "train_ratio": 256.0,
        "observation_scale": 0.1,
        "horizon": 100.0,
        "soft_discount": False,
        "dynamics_gradient": True,
        "normalise_returns": False,
        "entropy": 1e-3,
        "unimix": 0.0,
        "replay_critic": 0.0,
    }
    return DreamerConfig(**(choices | changes))


PRESETS = {"v3-tiny": v3_tiny, "v3-chained": v3_chained, "v2-tiny": v2_tiny, "v1-tiny": v1_tiny}
"""By the name that the command line takes."""


def laprop(learning_rate: float, warmup: int = 100) -> optax.GradientTransformation:
    """LaProp (Ziyin et al. 2020, arXiv 2002.04839) after a form of DreamerV3's adaptive clipping.

    Gradients are first divided by their running size and then averaged: Adam does it the other way
    round, and is upset by a gradient that was small for long. See `clip_by_input_norm`.

    Args:
        learning_rate: after the warm-up.
        warmup: updates in which it rises from 0; 0 for none.

    Raises:
        ValueError: a negative warm-up.
    """
    if warmup < 0:
        raise ValueError(f"warmup must be at least 0 updates, but is {warmup}.")
    # Of a schedule of no steps optax makes its first value for ever.
    rate = optax.linear_schedule(0.0, learning_rate, warmup) if warmup else learning_rate
    steps = optax.chain(
        # In the root, a floor of 1e-20 would be one of 1e-10 for gradients.
        optax.scale_by_rms(decay=0.999, eps=1e-20, eps_in_sqrt=False, bias_correction=True),
        optax.ema(0.9, debias=True),
        optax.scale_by_learning_rate(rate),
    )
    # Elementwise from here on: one long vector costs less than sixty small arrays.
    return optax.chain(clip_by_input_norm(0.3), optax.flatten(steps))


def three_adams(
    learning_rate: float, model: float = 1.0, actor: float = 0.4, critic: float = 0.4
) -> optax.GradientTransformation:
    """Adam for each part with its share of the learning rate, clipped at a norm of 100 (V1, V2)."""
    shares = {"model": model, "actor": actor, "critic": critic}
    parts: dict[Hashable, Any] = {
        part: optax.flatten(
            optax.chain(
                optax.clip_by_global_norm(100.0), optax.adam(share * learning_rate, eps=1e-5)
            )
        )
        for part, share in shares.items()
    }
    return optax.multi_transform(parts, _part_of)


def _part_of(agent: Dreamer) -> Dreamer:
    """The name of the part that each parameter belongs to."""
    named = lambda part, name: jax.tree.map(lambda _: name, part)  # noqa: E731
    return Dreamer(
        named(agent.model, "model"),
        named(agent.actor, "actor"),
        named(agent.critic, "critic"),
        agent.actor_head,
        agent.scalar,
    )
