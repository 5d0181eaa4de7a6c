"""One transition under examination, and the facts about it that the laws judge."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

CHUNKS = 4
"""Samples are drawn by a scan of this length, which carries the prediction."""


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
        if self.num_samples < CHUNKS or self.num_samples % CHUNKS:
            raise ValueError(
                f"num_samples must be a positive multiple of {CHUNKS}, but is {self.num_samples}."
            )

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

    def chunk(arrays, keys):
        carried = eqx.combine(arrays, rest)
        return arrays, jax.vmap(lambda key: carried.sample(seed=key))(keys)

    _, chunks = jax.lax.scan(chunk, arrays, keys.reshape(CHUNKS, -1))
    samples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), chunks)

    def there_and_back(value, key):
        return prediction.push(prediction.abduct(value, key=key))

    def fact(name, compute):
        try:
            return compute() if hasattr(prediction, name) else None
        except NotImplementedError:
            return None

    return Evidence(
        samples=samples,
        log_prob=fact("log_prob", lambda: jax.vmap(prediction.log_prob)(samples)),
        returned=fact("abduct", lambda: jax.vmap(there_and_back)(samples, keys)),
        mean=fact("mean", lambda: prediction.mean()),
        variance=fact("variance", lambda: prediction.variance()),
    )
