"""Ways to send many particles through an ensemble (Chua et al. 2018, arXiv 1805.12114)."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from ._rollout import Policy, Trajectory, imagine
from .models import Markov
from .transitions import Ensemble, MomentMatched


def imagine_ts1(
    model: Markov,
    policy: Policy,
    states: PyTree[Array],
    *,
    key: PRNGKeyArray,
    length: int,
    **options: Any,
) -> tuple[PyTree[Array], Trajectory]:
    """TS-1: every particle draws a new member at every step.

    Args:
        model: a `Markov` model whose kernel is an `Ensemble`.
        policy: `policy(state, *, key) -> action`.
        states: where the particles start; every leaf has a leading particle axis.
        key: the only source of randomness.
        length: number of steps, at least 1.
        **options: `save`, `record` and `unroll`, as for `imagine`.

    Returns:
        last states and trajectories, `[particles, ...]` and `[particles, length, ...]`.

    Raises:
        TypeError: the kernel is not an `Ensemble`.
    """
    _ensemble(model)
    return _particles(model, policy, states, key, length, options)


def imagine_tsinf(
    model: Markov,
    policy: Policy,
    states: PyTree[Array],
    *,
    key: PRNGKeyArray,
    length: int,
    **options: Any,
) -> tuple[PyTree[Array], Trajectory]:
    """TS-infinity: every particle keeps one member for the whole future.

    The particles are split over the members, the first block going to member 0, so that no member
    is ever evaluated on another member's particles. Arguments and results as for `imagine_ts1`.

    Raises:
        TypeError: the kernel is not an `Ensemble`
        ValueError: the number of particles is not a multiple of the number of members.
    """
    ensemble = _ensemble(model)
    members, particles = ensemble.num_members, jax.tree.leaves(states)[0].shape[0]
    if particles == 0 or particles % members:
        raise ValueError(
            f"states must hold a multiple of the {members} members, but holds {particles} "
            f"particles; {max(members, particles - particles % members)} would do."
        )

    def of_member(kernel, states, key):
        alone = eqx.tree_at(lambda m: m.kernel, model, kernel)
        return _particles(alone, policy, states, key, length, options)

    split = jax.tree.map(lambda x: x.reshape(members, -1, *x.shape[1:]), states)
    result = eqx.filter_vmap(of_member)(ensemble.members, split, jax.random.split(key, members))
    return jax.tree.map(lambda x: x.reshape(particles, *x.shape[2:]), result)


def imagine_moment_matched(
    model: Markov,
    policy: Policy,
    states: PyTree[Array],
    *,
    key: PRNGKeyArray,
    length: int,
    **options: Any,
) -> tuple[PyTree[Array], Trajectory]:
    """Moment matching: each prediction is replaced by the normal with its mean and covariance.

    Arguments and results as for `imagine_ts1`.

    Raises:
        TypeError: the kernel is not an `Ensemble`.
    """
    matched = eqx.tree_at(lambda m: m.kernel, model, MomentMatched(_ensemble(model)))
    return _particles(matched, policy, states, key, length, options)


def _particles(model, policy, states, key, length, options):
    def one(state, key):
        return imagine(model, policy, state, key=key, length=length, **options)

    keys = jax.random.split(key, jax.tree.leaves(states)[0].shape[0])
    return jax.vmap(one)(states, keys)


def _ensemble(model: Markov) -> Ensemble:
    kernel = getattr(model, "kernel", None)
    if not isinstance(kernel, Ensemble):
        raise TypeError(
            "model must be a Markov model whose kernel is an Ensemble, but its kernel is "
            f"{type(kernel).__name__}."
        )
    return kernel
