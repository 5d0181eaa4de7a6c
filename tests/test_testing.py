"""The laws that ship: each must pass an honest model, and catch the fault it is there for."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stochwm.testing
from stochwm.distributions import (
    AbstractSampler,
    Deterministic,
    DiagNormal,
    LatentState,
    LatentStateDistribution,
)
from stochwm.models import AbstractWorldModel, Markov
from stochwm.testing import check_transition, check_world_model
from stochwm.testing.transition_laws import TRANSITION_LAWS
from stochwm.testing.world_model_laws import WORLD_MODEL_LAWS
from stochwm.transitions import AbstractTransition

KEY = jax.random.key(0)
STATE, ACTION = jnp.array([0.3, -0.7]), jnp.array([0.5])


class Wrapped(AbstractSampler):
    """A normal whose methods a test can replace."""

    loc: Any
    scale: Any
    draw: Any = None
    density: Any = None
    spread: Any = None
    back: Any = None

    def normal(self):
        return DiagNormal(self.loc, self.scale)

    def sample(self, *, seed):
        return self.normal().sample(seed=seed) if self.draw is None else self.draw(self, seed)

    def log_prob(self, value):
        return self.normal().log_prob(value) if self.density is None else self.density(value)

    def mean(self):
        return self.loc

    def variance(self):
        return self.scale**2 if self.spread is None else self.spread

    def push(self, noise):
        return self.normal().push(noise)

    def abduct(self, value, *, key):
        return self.normal().abduct(value) if self.back is None else self.back(value)


class Kernel(AbstractTransition):
    """A transition made of a function, so that a fault is one line."""

    predict: Any = eqx.field(static=True)

    def __call__(self, state, action):
        return self.predict(state, action)


def honest(state, action, **faults):
    return Wrapped(0.9 * state + action, 0.1 * jnp.ones(2), **faults)


COUNTER = []


def counted(state, action):
    COUNTER.append(1)
    return Wrapped(state + len(COUNTER), jnp.ones(2))


class Frozen(AbstractSampler):
    """Keeps what it draws from where jit cannot see it."""

    loc: Any = eqx.field(static=True)

    def sample(self, *, seed):
        return self.loc + jax.random.normal(seed, (2,))


class LosesItsBatch(AbstractSampler):
    """Its scale is a Python number that depends on the rank of its parameters."""

    loc: Any
    rank: int = eqx.field(static=True)

    def sample(self, *, seed):
        return jnp.broadcast_to(self.loc, (2,)) * self.rank + jax.random.normal(seed, (2,))


def ignore_seed(self, seed):
    return self.loc


def whole_numbers(self, seed):
    return jnp.round(self.normal().sample(seed=seed)).astype(int)


def sometimes_nan(self, seed):
    value = self.normal().sample(seed=seed)
    return jnp.where(value > self.loc, value, jnp.nan)


def made_in_call(state, action):
    return honest(state, action, draw=lambda self, seed: self.normal().sample(seed=seed))


def numpy_noise(self, seed):
    return self.normal().sample(seed=seed) + np.random.default_rng().normal()


FAULTS = {
    "expects a batch": ("returns_a_sampler", lambda s, a: honest(s[:, 0], a)),
    "returns an array": ("returns_a_sampler", lambda s, a: s),
    "leaves jax": ("returns_a_sampler", lambda s, a: honest(jnp.asarray(np.sin(s)), a)),
    "adds a batch axis": ("samples_are_like_the_state", lambda s, a: honest(s[None], a)),
    "changes the structure": (
        "samples_are_like_the_state",
        lambda s, a: LatentStateDistribution(s, honest(s, a)),
    ),
    "changes the dtype": (
        "samples_are_like_the_state",
        lambda s, a: honest(s, a, draw=whole_numbers),
    ),
    "numpy randomness": ("has_no_hidden_state", lambda s, a: honest(s, a, draw=numpy_noise)),
    "a counter": ("has_no_hidden_state", counted),
    "a lambda made inside": ("compiles_once", made_in_call),
    "a tracer in a static field": ("compiles_once", lambda s, a: Frozen(s)),
    "NaN": ("samples_are_finite", lambda s, a: honest(s, a, draw=sometimes_nan)),
    "ignores its seed": ("seed_decides_the_sample", lambda s, a: honest(s, a, draw=ignore_seed)),
    "broken by vmap": ("survives_transforms", None),
    "log_prob of each dimension": (
        "log_prob_is_finite",
        lambda s, a: honest(s, a, density=jnp.square),
    ),
    "log_prob minus infinity": (
        "log_prob_is_finite",
        lambda s, a: honest(s, a, density=_log_of_zero),
    ),
    "abduct of another law": (
        "push_inverts_abduct",
        lambda s, a: honest(s, a, back=_identity),
    ),
    "wrong variance": (
        "variance_matches_samples",
        lambda s, a: honest(s, a, spread=0.02 * jnp.ones(2)),
    ),
    "variance of one dimension": (
        "variance_matches_samples",
        lambda s, a: honest(s, a, spread=jnp.array(0.01)),
    ),
    "wrong mean": ("mean_matches_samples", lambda s, a: honest(s, a, draw=_shifted)),
}


def _log_of_zero(value):
    return jnp.log(0.0 * value[0])


def _identity(value):
    return value


def _shifted(self, seed):
    return self.normal().sample(seed=seed) + 0.03


class BrokenByVmap(AbstractTransition):
    def __call__(self, state, action):
        # Under vmap a module that looks at its own tracer type goes another way.
        batched = type(state).__name__.startswith("Batch")
        return LosesItsBatch(state, 2 if batched else 1)


# Equinox warns of it too; the law must not need the warning.
@pytest.mark.filterwarnings("ignore:A JAX array is being set as static:UserWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_law_catches_its_fault(fault):
    law, predict = FAULTS[fault]
    transition = BrokenByVmap() if predict is None else Kernel(predict)
    with pytest.raises(
        AssertionError, match=rf"^{type(transition).__name__} breaks the law {law} "
    ):
        check_transition(transition, STATE, ACTION, key=KEY)


def test_every_law_has_a_fault():
    assert {law for law, _ in FAULTS.values()} == {law.__name__ for law in TRANSITION_LAWS}
    assert {law for law, _ in MODEL_FAULTS.values()} == {law.__name__ for law in WORLD_MODEL_LAWS}


def test_honest_transitions_pass():
    check_transition(Kernel(honest), STATE, ACTION, key=KEY)
    certain = Kernel(lambda s, a: Deterministic(s + a))
    check_transition(certain, STATE, ACTION, key=KEY)


def test_numpy_states_and_pytree_states_pass():
    start = LatentState(jnp.zeros(2), {"z": jnp.ones(2)})

    def predict(state, action):
        return LatentStateDistribution(state.deter + action, DictOfNormal(state.stoch["z"]))

    check_transition(Kernel(predict), start, np.ones(1), key=KEY)


class DictOfNormal(AbstractSampler):
    loc: Any

    def sample(self, *, seed):
        return {"z": DiagNormal(self.loc, jnp.ones(2)).sample(seed=seed)}


# --- world models -----------------------------------------------------------------------------
def reward_of_shape_1(state, action, next_state):
    return next_state[:1]


def whole_reward(state, action, next_state):
    return jnp.ones((), int)


def gamma_and_more(state, action, next_state):
    return jnp.asarray(1.5)


def honest_reward(state, action, next_state):
    return next_state[0] - state[1] + action[0]


class Drifting(AbstractWorldModel):
    """Rewards that change from one use to the next, which a compiled rollout freezes."""

    when: tuple = eqx.field(static=True)

    def transition(self, state, action):
        return honest(state, action)

    def reward(self, state, action, next_state):
        USES.append(1)
        first, last = self.when
        return jnp.asarray(1.0 if first <= len(USES) <= last else 0.0)

    def discount(self, state, action, next_state):
        return jnp.ones(())


USES = []


@jax.custom_batching.custom_vmap
def mixing_reward(state, action, next_state):
    return next_state[0]


@mixing_reward.def_vmap
def mix_rows(size, in_batched, state, action, next_state):
    """A batching rule of one's own that normalises over the batch, as batch norm does."""
    reward = next_state[:, 0]
    return reward - jnp.mean(reward), True


# The reward of Drifting is traced once for each: its shape, imagine, the loop, the shorter future,
# the replay.
MODEL_FAULTS = {
    "reward of shape (1,)": ("reward_is_a_scalar", Markov(Kernel(honest), reward_of_shape_1)),
    "reward that is an int": ("reward_is_a_scalar", Markov(Kernel(honest), whole_reward)),
    "discount of shape (2,)": (
        "discount_is_a_scalar",
        Markov(Kernel(honest), honest_reward, lambda s, a, n: n),
    ),
    "discount above 1": (
        "discount_is_a_probability",
        Markov(Kernel(honest), honest_reward, gamma_and_more),
    ),
    "discount NaN": (
        "discount_is_a_probability",
        Markov(Kernel(honest), honest_reward, lambda s, a, n: jnp.asarray(jnp.nan)),
    ),
    "the loop differs": ("imagine_is_a_loop", Drifting((3, 3))),
    "the shorter differs": ("longer_extends_shorter", Drifting((4, 4))),
    "the rows differ": ("rows_are_single_runs", Markov(Kernel(honest), mixing_reward)),
    "the replay differs": ("replay_repeats_imagine", Drifting((5, 5))),
}


@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_law_catches_the_fault_of_a_model(fault):
    USES.clear()
    law, model = MODEL_FAULTS[fault]
    with pytest.raises(AssertionError, match=rf"^{type(model).__name__} breaks the law {law} "):
        check_world_model(model, STATE, ACTION, key=KEY, num_samples=64)


def test_a_world_model_answers_for_its_transition():
    with pytest.raises(AssertionError, match="Markov breaks the law compiles_once"):
        check_world_model(Markov(Kernel(made_in_call)), STATE, ACTION, key=KEY)


def test_an_honest_world_model_passes():
    check_world_model(Markov(Kernel(honest), honest_reward), STATE, ACTION, key=KEY)


@pytest.mark.parametrize("num_samples", [1, 0, -4])
def test_impossible_numbers_of_samples_are_refused(num_samples):
    with pytest.raises(ValueError, match=f"num_samples.* {num_samples}"):
        check_transition(Kernel(honest), STATE, ACTION, key=KEY, num_samples=num_samples)


def test_futures_of_one_step_are_refused():
    with pytest.raises(ValueError, match=r"length must be at least 2 steps, but is 1"):
        check_world_model(Markov(Kernel(honest)), STATE, ACTION, key=KEY, length=1)


def test_no_test_framework_is_needed():
    sources = [path.read_text() for path in Path(stochwm.testing.__file__).parent.glob("*.py")]
    assert len(sources) > 3
    assert not any("pytest" in source for source in sources)
