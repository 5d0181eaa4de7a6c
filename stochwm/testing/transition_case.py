"""One transition under examination, and the facts about it that the laws judge."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from ..distributions import UniformMixture


class Evidence(eqx.Module):
    """Facts about one prediction; None where it has no such method."""

    samples: PyTree[Array]
    log_prob: PyTree[Array]
    returned: PyTree[Array]
    mean: PyTree[Array]
    variance: PyTree[Array]


@dataclasses.dataclass(frozen=True)
class TransitionCase:
    """One transition under examination; what several laws need is computed once."""

    predict: Callable[..., Any]
    state: PyTree[Array]
    action: Array
    key: PRNGKeyArray
    tolerance: float
    num_samples: int

    def __post_init__(self):
        if self.num_samples < 2:
            raise ValueError(f"num_samples must be at least 2, but is {self.num_samples}.")

    @functools.cached_property
    def keys(self) -> Key[Array, " samples"]:
        """One seed a sample."""
        return jax.random.split(self.key, self.num_samples)

    @functools.cached_property
    def prediction(self) -> Any:
        """What comes out of `vmap` and `jit`: row 0 of 2."""
        states = jax.tree.map(lambda x: jnp.stack([x, x]), self.state)
        rows = _predict_rows(self.predict, states, self.action)
        return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, rows)

    @functools.cached_property
    def evidence(self) -> Evidence:
        """The facts that the laws below judge."""
        return examine(self.prediction, self.keys)

    def shapes(self) -> Any:
        """The prediction of a fresh trace, with shapes in the place of arrays."""
        call = lambda predict, state, action: predict(state, action)  # noqa: E731
        return eqx.filter_eval_shape(call, self.predict, self.state, self.action)


def draw(predict, state, action, key):
    """One sample of the prediction."""
    return predict(state, action).sample(seed=key)


draw_inside = eqx.filter_jit(draw)


@eqx.filter_jit
def _predict_rows(predict, states, action):
    return eqx.filter_vmap(lambda state: predict(state, action))(states)


@eqx.filter_jit
def examine(prediction: Any, keys: Key[Array, " samples"]) -> Evidence:
    """Draw from a prediction that a scan carries, and ask it what it knows."""
    arrays, rest = eqx.partition(prediction, eqx.is_array)

    # One draw at a time: it compiles far faster than a vmapped one, and runs fast enough.
    def one(arrays, key):
        carried = eqx.combine(arrays, rest)
        value = carried.sample(seed=key)
        log_prob = _if_any(carried, "log_prob", lambda: carried.log_prob(value))
        returned = _if_any(carried, "abduct", lambda: carried.push(carried.abduct(value, key=key)))
        return arrays, (value, log_prob, returned)

    _, (samples, log_prob, returned) = jax.lax.scan(one, arrays, keys)
    mean = _if_any(prediction, "mean", lambda: prediction.mean())
    variance = _if_any(prediction, "variance", lambda: prediction.variance())
    return Evidence(samples, log_prob, returned, mean, variance)


def _if_any(prediction: Any, name: str, compute: Callable[[], Any]) -> Any:
    core = prediction
    while isinstance(core, UniformMixture):  # it can do what its members can
        core = core.members
    try:
        return compute() if hasattr(core, name) else None
    except NotImplementedError:
        return None
