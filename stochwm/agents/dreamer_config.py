"""All choices of a Dreamer, and how often it learns."""

import dataclasses
import math
from collections.abc import Callable

import optax

from ..models import UNIT_SQUARES, AbstractLatent, AbstractScalar
from ..training import Divergence
from .numbers import check_numbers, check_shares
from .slow_critic import SlowCritic

ROUNDING = 1e-9  # 0.1 * 10 must not count as a little less than 1
CHUNK = 8  # rows between updates: a call of the compiled update costs as much as some of these


@dataclasses.dataclass(frozen=True)
class DreamerConfig:
    """All choices of an agent; presets are functions that return one.

    Attributes:
        latent: what the drawn part of a state is.
        deter: size of the recurrent part of a state.
        width: hidden units a layer, of all networks.
        depth: hidden layers of the heads, the actor and the critic.
        blocks: diagonal blocks of the recurrent cell.
        prior_heads: how many predict the next latent; with several a `DriftGuard` can watch them.
        patch: side of the patches that a picture is cut into, in pixels.
        scalar: how reward and value are predicted.
        observation_scale: standard deviation, after symlog, that errors of observed numbers are
            held against; `UNIT_SQUARES` is the papers' squared error. Pixels have that always.
        divergence: what holds posterior and prior together, see `stochwm.training.kl`.
        horizon: the discount factor is `1 - 1 / horizon`.
        soft_discount: whether the discount head learns that factor, too (V3).
        lambda_: of the returns.
        imagined_steps: length of a dream, H.
        starts_per_sequence: dreams begin at so many of the last states of each sequence; at least 2
            with a `replay_critic`, which learns from the real steps between them.
        dynamics_gradient: whether the actor learns by the gradient of the returns through the
            dream (V1), or by REINFORCE (V2 and V3).
        normalise_returns: whether advantages are divided by the range of returns, if above 1 (V3).
        entropy: weight of the actor's entropy, in units of (normalised) return a nat.
        unimix: uniform part of a discrete policy.
        exploration: share of actions that are drawn uniformly while experience is collected; dreams
            have none.
        slow_critic: what a slowly following critic is for.
        replay_critic: weight of the critic's loss on real rewards.
        optimizer: makes the optimiser of a `Dreamer` from the learning rate.
        learning_rate: of the world model; the optimiser says what the others learn at.
        settle: steps of the environment, `(from, to)`, in which all learning rates fall linearly to
            zero; None: they never do. At a constant rate a model keeps moving about the law, most
            where it has seen least. After `to` nothing is learned.
        batch_size: sequences that are replayed for an update.
        sequence_length: their rows.
        train_ratio: replayed steps for each step of the environment.
        num_envs: environments that are stepped side by side.
        prefill: steps of random actions before the first update.
        capacity: steps that the replay holds.
    """

    latent: AbstractLatent
    divergence: Divergence
    scalar: AbstractScalar
    slow_critic: SlowCritic
    optimizer: Callable[[float], optax.GradientTransformation]
    learning_rate: float = 4e-4
    settle: tuple[int, int] | None = None
    deter: int = 128
    width: int = 64
    depth: int = 2
    blocks: int = 1
    prior_heads: int = 1
    patch: int = 8
    observation_scale: float = UNIT_SQUARES
    horizon: float = 333.0
    soft_discount: bool = True
    lambda_: float = 0.95
    imagined_steps: int = 15
    starts_per_sequence: int = 8
    dynamics_gradient: bool = False
    normalise_returns: bool = True
    entropy: float = 3e-4
    unimix: float = 0.01
    exploration: float = 0.0
    replay_critic: float = 0.3
    batch_size: int = 16
    sequence_length: int = 16
    train_ratio: float = 128.0
    num_envs: int = 4
    prefill: int = 512
    capacity: int = 100_000

    def __post_init__(self):
        """Refuse impossible numbers before anything is collected."""
        counts = ("deter", "width", "blocks", "prior_heads", "patch", "imagined_steps")
        counts += ("batch_size", "num_envs", "capacity", "horizon")
        check_numbers(self, **dict.fromkeys(counts, 1), depth=0, learning_rate=0, replay_critic=0)
        check_shares(self, "lambda_", "unimix")
        scale = self.observation_scale
        if not 0 < scale < math.inf:
            raise ValueError(f"observation_scale must be positive and finite, but is {scale}.")
        least = 2 if self.replay_critic > 0 else 1
        if min(self.starts_per_sequence, self.sequence_length) < least:
            raise ValueError(
                f"starts_per_sequence and sequence_length must be at least {least}"
                f"{' (or replay_critic 0): it learns from steps between starts' * (least > 1)}, "
                f"but are {self.starts_per_sequence} and {self.sequence_length}."
            )

    @property
    def gamma(self) -> float:
        """The discount factor of a step."""
        return 1 - 1 / self.horizon

    @property
    def steps_per_chunk(self) -> int:
        """Steps of the environment between updates, all copies together."""
        return CHUNK * self.num_envs

    @property
    def updates_per_chunk(self) -> int:
        """After a chunk that is learned after: one number, and so one program."""
        return max(1, math.ceil(self._asked - ROUNDING))

    @property
    def _asked(self) -> float:
        """Updates that the train ratio asks for, a chunk."""
        return self.steps_per_chunk * self.train_ratio / (self.batch_size * self.sequence_length)

    def _learned_after(self, chunks: int) -> int:
        """After how many of the first chunks there are updates: enough for the train ratio."""
        return math.floor(chunks * min(1.0, self._asked / self.updates_per_chunk) + ROUNDING)

    def learns_after(self, chunk: int) -> bool:
        """Whether there are updates after a chunk: told by its number, as a resumed run has it."""
        due = self._learned_after(chunk + 1) > self._learned_after(chunk)
        return due and (chunk + 1) * self.steps_per_chunk >= self.prefill

    def updates_by(self, steps: int) -> int:
        """Updates in so many steps of the environment: none before the last of the prefill."""
        silent = -(-self.prefill // self.steps_per_chunk) - 1
        chunks = max(silent, steps // self.steps_per_chunk)
        return (self._learned_after(chunks) - self._learned_after(silent)) * self.updates_per_chunk
