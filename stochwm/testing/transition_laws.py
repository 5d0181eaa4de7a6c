"""The laws of transitions. Those that need no numbers come first: they cost no compilation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..distributions import AbstractSampler, Deterministic, LatentStateDistribution
from .compare import ROUNDING, are_close, are_finite, are_one_program, forms, pairs, program
from .transition_case import TransitionCase, draw, draw_inside, examine


def returns_a_sampler(case: TransitionCase) -> str | None:
    """One state and one action give an AbstractSampler."""
    prediction = case.shapes()
    if not isinstance(prediction, AbstractSampler):
        return f"it returns {type(prediction).__name__}; subclass AbstractSampler or use a family."
    return None


def samples_are_like_the_state(case: TransitionCase) -> str | None:
    """A sample has the structure, the shapes and the dtypes of the state."""
    sample = eqx.filter_eval_shape(draw, case.predict, case.state, case.action, case.key)
    if forms(sample) != forms(case.state):
        return (
            f"a sample is {forms(sample)}, but the state is {forms(case.state)}; models take and "
            "give one example, without a batch axis."
        )
    return None


def has_no_hidden_state(case: TransitionCase) -> str | None:
    """Two traces of one call are one program."""
    traces = [program(draw, case.predict, case.state, case.action, case.key) for _ in range(2)]
    if not are_one_program(*traces):
        return (
            "two traces of one call differ, so something outside the arguments changes: numpy "
            "randomness, a counter, mutation. All randomness must come from the seed."
        )
    return None


def compiles_once(case: TransitionCase) -> str | None:
    """Predictions made one by one share one compiled program."""
    traces = []
    use = eqx.filter_jit(lambda prediction: traces.append(type(prediction)))
    for _ in range(4):
        use(jax.tree.map(_example_of, case.shapes()))
    if len(traces) > 1:
        return (
            f"{len(traces)} compilations for 4 predictions: a static field differs from call to "
            "call, such as a lambda made inside __call__. Keep arrays and modules in fields."
        )
    return None


def samples_are_finite(case: TransitionCase) -> str | None:
    """No sample is NaN or infinite."""
    if not are_finite(case.evidence.samples):
        return "some samples are NaN or infinite. Are state and action typical ones?"
    return None


def seed_decides_the_sample(case: TransitionCase) -> str | None:
    """One seed gives one sample, and other seeds give others unless nothing is random."""
    samples = case.evidence.samples
    if not are_close(examine(case.prediction, case.keys).samples, samples, 0.0):
        return "the same seeds gave other samples. All randomness must come from the seed."
    differ = any((x != x[0]).any() for x, _ in pairs(samples, samples))
    if not differ and not _is_certain(case):
        return (
            f"all {case.num_samples} seeds gave one sample: sample() ignores its seed. A "
            "prediction without randomness is a Deterministic."
        )
    return None


def survives_transforms(case: TransitionCase) -> str | None:
    """Out of vmap and jit, and through a scan carry, the prediction draws as it does inside."""
    inside = draw_inside(case.predict, case.state, case.action, case.keys[0])
    outside = jax.tree.map(lambda x: x[0], case.evidence.samples)
    if not are_close(inside, outside):
        return (
            f"a sample drawn inside jit is {inside}, but after vmap, jit and a scan it is "
            f"{outside}: a parameter of the prediction is not an array field."
        )
    return None


def log_prob_is_finite(case: TransitionCase) -> str | None:
    """The density, if there is one, is a finite scalar at the prediction's own samples."""
    log_prob = case.evidence.log_prob
    if log_prob is None:
        return None
    if jnp.shape(log_prob) != (case.num_samples,):
        return f"log_prob of one sample has shape {jnp.shape(log_prob)[1:]}, but must be a scalar."
    if not are_finite(log_prob):
        return "log_prob is NaN or infinite at some of the prediction's own samples."
    return None


def push_inverts_abduct(case: TransitionCase) -> str | None:
    """push(abduct(x)) == x, if the prediction is a structural equation."""
    if case.evidence.returned is None:
        return None
    for came, want in pairs(case.evidence.returned, case.evidence.samples):
        error = np.abs(came - want) / (1 + np.abs(want))
        # Not the worst one: far in a tail, float32 levels cannot tell values apart.
        if not np.quantile(error, 0.99) < ROUNDING:
            return f"push(abduct(x)) misses x by up to {error.max():.3g} of 1 + |x|."
    return None


def mean_matches_samples(case: TransitionCase) -> str | None:
    """mean() is the average of the samples."""
    return _compare_moment(case, "mean", case.evidence.mean, case.evidence.samples)


def variance_matches_samples(case: TransitionCase) -> str | None:
    """variance() is that of the samples."""
    squares = jax.tree.map(lambda x: (x - jnp.mean(x, axis=0)) ** 2, case.evidence.samples)
    return _compare_moment(case, "variance", case.evidence.variance, squares)


TRANSITION_LAWS = (
    returns_a_sampler,
    samples_are_like_the_state,
    has_no_hidden_state,
    compiles_once,
    samples_are_finite,
    seed_decides_the_sample,
    survives_transforms,
    log_prob_is_finite,
    push_inverts_abduct,
    mean_matches_samples,
    variance_matches_samples,
)


def _compare_moment(case, name: str, moment: Any, values: Any) -> str | None:
    """A complaint where the average of `values` is not `moment`."""
    if moment is None:
        return None
    if forms(moment) != forms(case.state):
        return f"{name}() is {forms(moment)}, but the state is {forms(case.state)}."
    for want, value in pairs(moment, values):
        number = case.num_samples
        error = np.abs(value.mean(axis=0) - want)
        # Besides chance: rounding, and classes too rare to be drawn even once.
        spread = value.std(axis=0)
        allowed = case.tolerance * np.where(spread > 0, spread / np.sqrt(number), 1 / number)
        allowed = allowed + ROUNDING * np.abs(want)
        if not np.all(error <= allowed):
            return f"{name}() is {want}, but that of {number} samples is {value.mean(axis=0)}."
    return None


def _is_certain(case: TransitionCase) -> bool:
    prediction = case.prediction
    if isinstance(prediction, LatentStateDistribution):
        prediction = prediction.stoch
    variance = case.evidence.variance
    spread = [] if variance is None else [np.max(x) for x in jax.tree.leaves(variance)]
    return isinstance(prediction, Deterministic) or (bool(spread) and max(spread) < 1e-9)


def _example_of(leaf: Any) -> Any:
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
