"""The cross-entropy method: imagine many plans, and move towards the best of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._guard import AbstractGuard
from .._rollout import replay
from ..distributions.checks import as_float, check_finite, check_positive
from ..models import AbstractWorldModel
from .returns import as_discount, discounted_return


class Plan(NamedTuple):
    """Actions to take one after another, and what the model expects of them."""

    actions: Float[Array, "horizon action"]
    value: Float[Array, ""]
    """Predicted return, the mean over `num_particles` futures that the search did not see: what it
    did see favours the plan. Still, a plan seeks out what its model wrongly thinks is good."""


def cem(
    model: AbstractWorldModel,
    state: PyTree[Array],
    *,
    key: PRNGKeyArray,
    horizon: int,
    action_low: Any,
    action_high: Any,
    num_candidates: int = 64,
    num_elites: int = 8,
    num_iterations: int = 4,
    num_particles: int = 1,
    discount: Array | float = 1.0,
    guard: AbstractGuard | None = None,
) -> Plan:
    """Plan by the cross-entropy method (Rubinstein 1999; in models, Chua et al. 2018, 1805.12114).

    Candidate plans are drawn from a normal distribution, independent over steps and dimensions and
    clipped to the box of actions. It starts in the middle of the box with half of its width as
    standard deviation; after each iteration it takes on mean and deviation of the best candidates,
    the elites. All candidates of an iteration meet the same noise, so that luck does not pick the
    elites. The plan is the last mean: where two ways are equally good, it may lie between them, and
    an action that matters less than others may stop short of its best.

    Nothing here has a batch axis: `vmap` over states and keys. To control, act by
    `cem(...).actions[0]` and plan again at the next step.

    Args:
        model: any world model over continuous actions.
        state: where to start; one state, any pytree.
        key: the only source of randomness.
        horizon: steps of a plan, at least 1.
        action_low, action_high: the box of actions, finite, `[action]`.
        num_candidates: plans an iteration.
        num_elites: how many of them the next iteration learns from, at least 2.
        num_iterations: at least 1.
        num_particles: futures of each plan whose returns are averaged, at least 1.
        discount: the agent's own factor per step, in [0, 1].
        guard: ends returns at the trusted horizon. What lies beyond counts as 0, which is a loss
            where rewards are positive and a lure where they are negative: there, use pessimism
            (`stochwm.drift.DisagreementReward`) instead. Where not even a first step is trusted,
            all plans are worth 0, and the plan is arbitrary.

    Returns:
        The `Plan`. Candidates whose return is NaN rank last; where all of them are, the plan is
        NaN too.

    Raises:
        ValueError: numbers out of range, a box that is not one, or a model whose reward or
            discount is not a scalar.
    """
    discount = as_discount(discount)
    low, high = _box(action_low, action_high)
    _check_numbers(horizon, num_candidates, num_elites, num_iterations, num_particles)

    def value(actions: Array, key: PRNGKeyArray) -> Array:
        def one(key):
            future = replay(model, state, actions, key=key, guard=guard)[1]
            return discounted_return(future, discount)

        return jnp.mean(jax.vmap(one)(jax.random.split(key, num_particles)))

    def improve(normal: tuple[Array, Array], key: PRNGKeyArray):
        mean, scale = normal
        key_plans, key_futures = jax.random.split(key)
        noise = jax.random.normal(key_plans, (num_candidates, *mean.shape), mean.dtype)
        plans = jnp.clip(mean + scale * noise, low, high)
        values = jax.vmap(value, (0, None))(plans, key_futures)
        # NaN would come first in top_k. A plan made of nothing but NaN has to look like it.
        broken = jnp.isnan(values)
        elites = plans[jax.lax.top_k(jnp.where(broken, -jnp.inf, values), num_elites)[1]]
        elites = jnp.where(jnp.all(broken), jnp.nan, elites)
        return (jnp.mean(elites, axis=0), jnp.std(elites, axis=0)), None

    wide = lambda x: jnp.broadcast_to(x, (horizon, *low.shape))  # noqa: E731
    key_search, key_value = jax.random.split(key)
    start = wide((low + high) / 2), wide((high - low) / 2)
    (plan, _), _ = jax.lax.scan(improve, start, jax.random.split(key_search, num_iterations))
    return Plan(plan, value(plan, key_value))


def _box(action_low: Any, action_high: Any) -> tuple[Array, Array]:
    low, high = as_float("action_low", action_low), as_float("action_high", action_high)
    if low.ndim != 1 or low.shape != high.shape:
        raise ValueError(
            "action_low and action_high must be bounds of one action, [action], but have shapes "
            f"{low.shape} and {high.shape}."
        )
    check_finite("action_low", low)
    check_finite("action_high", high)
    check_positive("action_high - action_low", high - low)
    return low, high


def _check_numbers(
    horizon: int, num_candidates: int, num_elites: int, num_iterations: int, num_particles: int
) -> None:
    least = {"horizon": horizon, "num_iterations": num_iterations, "num_particles": num_particles}
    for name, number in least.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, but is {number}.")
    if not 2 <= num_elites <= num_candidates:
        raise ValueError(
            f"num_elites must be at least 2 and at most num_candidates = {num_candidates}, but is "
            f"{num_elites}."
        )
