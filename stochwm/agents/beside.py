"""A dream beside what really happened: open loop, under the actions that were really taken."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .._rollout import observe, replay
from ..distributions import AbstractDistribution, Joint, OneHotCategoricals
from ..models import AbstractFilter
from .steps import Steps


class Beside(NamedTuple):
    """Dreams beside the episode that they began in; row t is row t of the episode."""

    observation: Float[np.ndarray, "dreams time observation"]
    """Decoded: drawn where it is categories, the median elsewhere."""
    reward: Float[np.ndarray, "dreams time"]
    """Predicted on arrival; in the rows that were shown, what was received."""
    ended: Bool[np.ndarray, "dreams time"]
    """True from the row at which a dream ended."""
    seen: int
    """Rows that the model was shown; what follows is dreamt."""

    @property
    def over(self) -> Bool[np.ndarray, "dreams time"]:
        """True from the row after the one at which a dream ended: nothing of it is left."""
        return np.pad(self.ended, ((0, 0), (1, 0)))[:, :-1]


def dream_beside(
    model: AbstractFilter, episode: Steps, *, seen: int, dreams: int, key: PRNGKeyArray
) -> Beside:
    """Show a model the beginning of an episode, and let it dream the rest many times.

    Every dream filters the first `seen` observations with draws of its own, and then is told the
    actions that were really taken, but no observation more. Its end is drawn from the discount that
    the model predicts.

    Args:
        model: latent, and with a decoder.
        episode: rows `[time]` of one episode, of `record_episode` for instance.
        seen: observations that are shown, at least 1, and fewer than there are.
        dreams: how many.
        key: of all draws.

    Raises:
        ValueError: numbers out of range.
    """
    length = len(episode.reward)
    if not 1 <= seen < length:
        raise ValueError(
            f"seen must be from 1 to {length - 1}, so that something is left of the {length} rows "
            f"of the episode, but is {seen}."
        )
    if dreams < 1:
        raise ValueError(f"dreams must be at least 1, but is {dreams}.")
    found = _dream_all(
        model, jax.tree.map(jnp.asarray, episode), seen, jax.random.split(key, dreams)
    )
    observation, reward, ended = map(np.asarray, found)
    return Beside(observation, reward, ended, seen)


@eqx.filter_jit
def _dream_all(model: AbstractFilter, episode: Steps, seen: int, keys: Array):
    observation, action, is_first = (
        jnp.asarray(x) for x in (episode.observation, episode.action, episode.is_first)
    )

    def one(key):
        key_seen, key_dream, key_shown, key_end = jax.random.split(key, 4)
        shown = (observation[:seen], action[:seen], is_first[:seen])
        (start, _), filtered = observe(model, *shown, key=key_seen)
        _, future = replay(model, start, action[seen - 1 : -1], key=key_dream)
        states = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), filtered.state, future.state)
        keys = jax.random.split(key_shown, len(episode.reward))
        decoded = jax.vmap(lambda state, key: _shown(model.decode(state), key))(states, keys)
        # Rewards of the rows that are shown are known.
        reward = jnp.concatenate([jnp.asarray(episode.reward[:seen]), future.reward])
        draws = jax.random.uniform(key_end, future.discount.shape)
        ended = 1 - jnp.cumprod(draws < future.discount)
        return decoded, reward, jnp.concatenate([jnp.zeros(seen, bool), ended.astype(bool)])

    return jax.vmap(one)(keys)


def _shown(prediction: AbstractDistribution, key: PRNGKeyArray) -> Array:
    """One observation that a prediction stands for."""
    if isinstance(prediction, Joint):
        keys = jax.random.split(key, len(prediction.parts))
        return jnp.concatenate([_shown(*pair) for pair in zip(prediction.parts, keys, strict=True)])
    if isinstance(prediction, OneHotCategoricals):
        return prediction.sample(seed=key)
    return prediction.quantile(0.5)
