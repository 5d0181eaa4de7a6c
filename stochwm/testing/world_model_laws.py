"""The laws of world models: reward, discount, and futures that do not depend on how they are run.

Step t of a rollout uses the two keys `split(fold_in(key, t))`: for the policy and for the draw.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._rollout import Trajectory, imagine, replay
from ..models import AbstractWorldModel
from .compare import are_close


@dataclasses.dataclass(frozen=True)
class WorldModelCase:
    """One world model under examination."""

    model: AbstractWorldModel
    state: PyTree[Array]
    action: Array
    key: PRNGKeyArray
    length: int

    def __post_init__(self):
        if self.length < 2:
            raise ValueError(f"length must be at least 2 steps, but is {self.length}.")

    @functools.cached_property
    def future(self) -> Trajectory:
        """The future that the laws compare with."""
        return self.run(self.model, self.state, self.key, self.length)

    @functools.cached_property
    def run(self):
        """A compiled `imagine` under the one action."""

        @eqx.filter_jit
        def run(model, state, key, length):
            policy = lambda state, *, key: self.action  # noqa: E731
            return imagine(model, policy, state, key=key, length=length)[1]

        return run


def reward_is_a_scalar(case: WorldModelCase) -> str | None:
    """The reward of one step is a floating-point scalar."""
    return _unless_scalar(case, "reward")


def discount_is_a_scalar(case: WorldModelCase) -> str | None:
    """The discount of one step is a floating-point scalar."""
    return _unless_scalar(case, "discount")


def discount_is_a_probability(case: WorldModelCase) -> str | None:
    """The discount lies in [0, 1] along an imagined future."""
    discount = np.asarray(case.future.discount)
    if not np.all((discount >= 0) & (discount <= 1)):
        return f"the discounts are {discount}. They are P(continue); gamma stays outside."
    return None


def imagine_is_a_loop(case: WorldModelCase) -> str | None:
    """A compiled rollout is the Python loop over its steps, with the same keys."""
    state = case.state
    for t in range(case.length):
        _, key = jax.random.split(jax.random.fold_in(case.key, t))
        state, reward, discount = _step(case.model, state, case.action, key)
        future = (case.future.state, case.future.reward, case.future.discount)
        want = jax.tree.map(lambda x, t=t: x[t], future)
        if not are_close((state, reward, discount), want):
            return f"at step {t} the loop has {(state, reward, discount)}, imagine has {want}."
    return None


def longer_extends_shorter(case: WorldModelCase) -> str | None:
    """A longer future begins with the shorter one."""
    shorter = case.run(case.model, case.state, case.key, case.length - 1)
    if not are_close(shorter, jax.tree.map(lambda x: x[:-1], case.future)):
        return f"length {case.length} does not begin with length {case.length - 1}."
    return None


def rows_are_single_runs(case: WorldModelCase) -> str | None:
    """The rows of a vmapped rollout are single rollouts."""
    keys = jnp.stack([jax.random.fold_in(case.key, 1), case.key])
    run = eqx.filter_vmap(case.run, in_axes=(None, None, 0, None))
    rows = run(case.model, case.state, keys, case.length)
    if not are_close(jax.tree.map(lambda x: x[1], rows), case.future):
        return "a row differs from the same rollout alone, so examples are mixed somewhere."
    return None


def replay_repeats_imagine(case: WorldModelCase) -> str | None:
    """A replay with the key and the actions of imagine gives its future."""
    if not are_close(_replay(case.model, case.state, case.future.action, case.key), case.future):
        return "the replay is another future."
    return None


WORLD_MODEL_LAWS = (
    reward_is_a_scalar,
    discount_is_a_scalar,
    discount_is_a_probability,
    imagine_is_a_loop,
    longer_extends_shorter,
    rows_are_single_runs,
    replay_repeats_imagine,
)


@eqx.filter_jit
def _step(model, state, action, key):
    next_state = model.transition(state, action).sample(seed=key)
    reward = model.reward(state, action, next_state)
    return next_state, reward, model.discount(state, action, next_state)


@eqx.filter_jit
def _replay(model, state, actions, key):
    return replay(model, state, actions, key=key)[1]


def _unless_scalar(case: WorldModelCase, name: str) -> str | None:
    call = lambda model, *inputs: getattr(model, name)(*inputs)  # noqa: E731
    inputs = (case.state, case.action, case.state)
    value = eqx.filter_eval_shape(call, case.model, *inputs)
    if not eqx.is_array_like(value) and not isinstance(value, jax.ShapeDtypeStruct):
        return f"{name} returns {type(value).__name__}, but must be an array of shape ()."
    if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        return f"{name} is {jnp.result_type(value)}{list(jnp.shape(value))}, but must be float32[]."
    return None
