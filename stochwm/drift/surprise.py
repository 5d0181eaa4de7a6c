"""How surprising an observation was, in nats: of a prediction, and of a filter's prior."""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from ..calibration import log_score
from ..calibration.score_inputs import core_of
from ..distributions import Deterministic, LatentStateDistribution, UniformMixture

NUM_SAMPLES = 64


def surprise(prediction: Any, observation: Any) -> Float[Array, ""]:
    """Minus the log density of what was observed under a one-step prediction, in nats.

    Its mean under the prediction itself is the entropy of that: what is expected of a right model.
    Infinite where the prediction has no density.

    Args:
        prediction: with a density; of latent states, that of the drawn part.
        observation: what came, of its event shape; `vmap` over many.

    Raises:
        TypeError: a prediction without a density.
        ValueError: an observation of another shape.
    """
    return log_score(_drawn_part(prediction), observation)


def bayesian_surprise(
    prior: Any,
    posterior: Any,
    *,
    key: PRNGKeyArray | None = None,
    num_samples: int = NUM_SAMPLES,
) -> Float[Array, ""]:
    """KL(posterior || prior): how far an observation moved the belief of a filter, in nats.

    (Itti & Baldi 2009, "Bayesian surprise attracts human attention".) Exact where the families have
    a closed form. A `Deterministic` posterior, of a filter whose drawn part is the observation
    itself, gives minus the log density of the prior there: the KL divergence of atoms, and for
    densities all of it that depends on the prior. Else an unbiased estimate by draws from the
    posterior, which may fall below 0.

    Args:
        prior: before the observation.
        posterior: after it.
        key: for draws, where there is no closed form; the same key every step makes the estimate a
            fixed function of the two, so that a threshold fitted to it stays valid.
        num_samples: draws, at least 2.

    Raises:
        NotImplementedError: no closed form and no `key`.
        TypeError: a part that can only be sampled.
    """
    prior, posterior = _drawn_part(prior), _drawn_part(posterior)
    if isinstance(posterior, Deterministic):
        return log_score(prior, posterior.loc)
    for name, belief in (("prior", prior), ("posterior", posterior)):
        if not hasattr(core_of(belief), "log_prob"):
            kind = type(core_of(belief)).__name__
            raise TypeError(f"{name} must have a density, but a {kind} can only be sampled.")
    try:
        return posterior.kl_divergence(prior)
    except NotImplementedError:
        if key is None:
            raise
        return posterior.kl_estimate(prior, key=key, num_samples=num_samples)[0]


def _drawn_part(prediction: Any) -> Any:
    """What is drawn of a latent state, whose densities are those of that part."""
    while isinstance(prediction, LatentStateDistribution):
        prediction = prediction.stoch
    if isinstance(prediction, UniformMixture):
        members = _drawn_part(prediction.members)
        return prediction if members is prediction.members else UniformMixture(members)
    return prediction
