"""What a world of known law is."""

import abc

import equinox as eqx
import gymnasium as gym
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ..distributions import AbstractDistribution, AbstractSampler
from ..models import AbstractWorldModel


class AbstractWorld(AbstractWorldModel):
    """A simulator whose next-state distribution is known exactly.

    It is a world model like the learned ones, so imagination, calibration and planning take it as
    it is, and `WorldEnv(world)` is the same world as a Gymnasium environment. States and actions
    are the flat float32 encodings of the two spaces: boxes as they are, categories as one-hot
    vectors. Nothing has a batch axis.
    """

    max_episode_steps: eqx.AbstractClassVar[int | None]
    """Where the registered environment truncates episodes; None: they end by themselves."""

    @property
    @abc.abstractmethod
    def observation_space(self) -> gym.Space:
        """The space of what `emit` shows; its flat encoding is `[observation]`."""

    @property
    @abc.abstractmethod
    def action_space(self) -> gym.Space:
        """The space of actions; its flat encoding is `[action]`."""

    @property
    @abc.abstractmethod
    def state_names(self) -> tuple[str, ...]:
        """What each entry of a flat state means, with its unit where it has one."""

    @property
    def state_space(self) -> gym.Space:
        """The space of states; its flat encoding is `[state]`. By default what is observed."""
        return self.observation_space

    @property
    def fully_observed(self) -> bool:
        """Whether an observation is the state, so that `law` predicts the next observation."""
        return True

    def emit(
        self, state: Float[Array | np.ndarray, " state"]
    ) -> Float[Array | np.ndarray, " observation"]:
        """What is observed of a state, `[observation]`; by default all of it."""
        return state

    @property
    def noise_convention(self) -> tuple[float, ...]:
        """Standard deviations `[state]` of the noise that scores add to next states.

        Not zero where the law has atoms, at which a log density has no upper bound. Train and
        score on `next_state + N(0, diag(noise_convention**2))`, whose law is `target_law`.
        """
        return (0.0,) * len(self.state_names)

    @abc.abstractmethod
    def initial(self) -> AbstractSampler:
        """The distribution of the first state, `[state]`."""

    @abc.abstractmethod
    def law(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AbstractDistribution:
        """The exact distribution of the next state, `[state]`."""

    @abc.abstractmethod
    def entropy(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> Float[Array, ""]:
        """Entropy of the law in nats: the best negative log-likelihood that any model can reach."""

    @abc.abstractmethod
    def render(self, state: Float[np.ndarray, " state"]) -> UInt8[np.ndarray, "height width 3"]:
        """A picture of the state, drawn on the host."""

    def transition(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AbstractDistribution:
        """The law: what a learned model approximates, this one knows."""
        return self.law(state, action)

    def target_law(
        self, state: Float[Array, " state"], action: Float[Array, " action"]
    ) -> AbstractDistribution:
        """The law of the next state with the noise of `noise_convention` added."""
        law = self.law(state, action)
        if not any(self.noise_convention):
            return law
        return law.smoothed(jnp.asarray(self.noise_convention, "float32"))
