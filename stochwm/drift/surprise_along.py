"""How surprising each transition of real episodes was to a world model or a filter."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..calibration.filtering import filtered
from ..calibration.one_step import OneStep, density_sample, per_dimension, why_no_density
from ..data import Episodes, check_spaces
from ..models import AbstractFilter, AbstractWorldModel
from .surprise import NUM_SAMPLES, bayesian_surprise


def surprise_along(
    model: AbstractWorldModel,
    episodes: Episodes,
    *,
    key: PRNGKeyArray,
    noise: Any = 0.0,
    num_samples: int = NUM_SAMPLES,
) -> Float[np.ndarray, " transitions"]:
    """Surprise at every transition, in nats: entry i belongs to row i of `episodes.transitions()`.

    Of a filter it is the `bayesian_surprise` of what followed, along `observe`; of any other model
    the `surprise` at the next observation. Detectors take it with `episodes.transitions().episode`.

    Args:
        model: a filter, or a world model over flat observations with a density.
        episodes: real ones. To fit a detector, ones that the model was not trained on.
        key: for the target noise; for a filter, for the states that it draws and for estimates.
        noise: standard deviation, one number or `[state]`, of noise that is added to what was
            observed and to what is predicted, for laws with atoms; not for filters.
        num_samples: draws of each estimate, where a filter's KL divergence has no closed form.

    Returns:
        numbers, infinite where the model held an observation impossible.

    Raises:
        TypeError: no world model, or no whole episodes.
        NotImplementedError: a model without a density of the next observation.
        ValueError: a model of other spaces, a noise that is not one number a dimension or negative.
    """
    check_spaces(model, episodes)
    noise = per_dimension("noise", noise, episodes)
    if isinstance(model, AbstractFilter):
        if noise.any():
            raise ValueError(f"noise must be 0 for a filter, but is {noise}: model it in decode.")
        return np.asarray(_moved(model, episodes, key, num_samples))[~episodes.is_first]
    seen_through = jnp.asarray(noise) if noise.any() else None
    why = why_no_density(model, seen_through, episodes.observation[0], episodes.action[0])
    if why is not None:
        raise NotImplementedError(f"model has no density of the next observation: {why}.")
    return density_sample(OneStep(model, seen_through), episodes, key=key, noise=noise).values


@eqx.filter_jit
def _moved(model, episodes: Episodes, key, num_samples: int) -> Array:
    def record(prior, posterior, state):
        return bayesian_surprise(prior, posterior, key=key, num_samples=num_samples)

    return filtered(model, episodes, key=key, record=record).aux
