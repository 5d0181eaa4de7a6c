"""A filter whose observations are spread wider or narrower than it decodes them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..data import Episodes
from ..distributions import AbstractDistribution, AbstractSampler
from ..models import AbstractFilter
from .crps import crps
from .factors import Factors, best_factors
from .filtering import start_states
from .spread import ROW_BATCH, spread

MAX_ROWS = 512  # filtered rows that factors are fitted on
NUM_PARTICLES = 32


class SpreadDecoder(AbstractFilter):
    """A filter with one factor a dimension on the spread of what it decodes to.

    Latent states, and so rewards, discounts and all that was filtered, stay as they are: what is
    mended is the noise of observations. Decoders that learn by squared error have none of their
    own, and come with the scale that weighed their errors.
    """

    model: AbstractFilter
    factor: Factors

    def __init__(self, model: AbstractFilter, factor: Any):
        """Wrap a filter.

        Args:
            model: decodes to a family that `spread` takes.
            factor: positive, a scalar or `[observation]`; 1 leaves the filter as it is.

        Raises:
            ValueError: a factor known not to be positive.
        """
        self.model, self.factor = model, Factors(factor)

    def initial(self) -> PyTree[Array]:
        return self.model.initial()

    def transition(self, state: PyTree[Array], action: Array) -> AbstractSampler:
        return self.model.transition(state, action)

    def posterior(self, prior: AbstractSampler, observation: Any) -> AbstractSampler:
        return self.model.posterior(prior, observation)

    def decode(self, state: PyTree[Array]) -> AbstractDistribution:
        return spread(self.model.decode(state), jax.lax.stop_gradient(self.factor.values))

    def reward(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        return self.model.reward(state, action, next_state)

    def discount(
        self, state: PyTree[Array], action: Array, next_state: PyTree[Array]
    ) -> Float[Array, ""]:
        return self.model.discount(state, action, next_state)


def fit_spread_decoder(
    model: AbstractFilter, holdout: Episodes, *, key: PRNGKeyArray
) -> SpreadDecoder:
    """The filter with the factors that minimise the CRPS of held-out observations, one step ahead.

    What is scored are clouds: each particle filters an episode up to a row, draws the next latent
    state, and an observation of it. Where latent states are spread too wide already, no factor
    helps.

    Args:
        model: see `SpreadDecoder`.
        holdout: episodes that the model was not trained on.
        key: for the draws.

    Raises:
        TypeError: decoded families that cannot be spread.
    """
    acted = np.flatnonzero(~holdout.is_last)
    picked = np.linspace(0, len(acted) - 1, min(MAX_ROWS, len(acted))).round().astype(int)
    row, (key_past, key_next, key_seen) = acted[picked], jax.random.split(key, 3)
    states = start_states(model, holdout, row, key=key_past, num_particles=NUM_PARTICLES)
    # Draws of their own: of one key, an observation would err as its latent state does.
    next_keys, keys = (jax.random.split(k, (len(row), NUM_PARTICLES)) for k in (key_next, key_seen))
    decoded = _decoded(model, jax.tree.map(jnp.asarray, states), holdout.action[row], next_keys)
    arrays, static = eqx.partition(decoded, eqx.is_array)
    target = jnp.asarray(holdout.observation[row + 1])

    @jax.jit
    def loss(arrays, target, factor):
        def one(inputs):
            arrays, target, keys = inputs
            draw = lambda arrays, key: spread(eqx.combine(arrays, static), factor).sample(seed=key)  # noqa: E731
            return crps(jax.vmap(draw)(arrays, keys), target)

        return jnp.mean(jax.lax.map(one, (arrays, target, keys), batch_size=ROW_BATCH), axis=0)

    factor = best_factors(lambda factor: loss(arrays, target, factor), target.shape[1])
    return SpreadDecoder(model, factor)


@eqx.filter_jit
def _decoded(model, states, actions, keys) -> Any:
    """What each particle decodes to one step on, `[rows, particles, ...]`."""

    def of_row(states, action, keys):
        def of_particle(state, key):
            return model.decode(model.transition(state, action).sample(seed=key))

        return eqx.filter_vmap(of_particle)(states, keys)

    return eqx.filter_vmap(of_row)(states, actions, keys)
