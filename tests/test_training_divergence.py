"""At its limit, a loss, gradient or update that is not finite stops the run, and spoils nothing.

The limit is 1 here; what is skipped below a higher one is in test_faults_training.py.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from stochwm._storage import latest_step
from stochwm.training import TrainingDiverged, fit, negative_log_likelihood
from stochwm.transitions import AbstractTransition, Ensemble
from tests.cases_models import Line, line_data, same_bits

SEED = 5  # with which the first two chunks go well
KEY = jax.random.key(SEED)
POISON = 100.0
SGD = optax.sgd(0.05)


class Tagged(AbstractTransition):
    """A line that knows which member it is."""

    line: Line
    tag: Array

    def __call__(self, state, action):
        return self.line(state, action)


def model():
    made = Ensemble(lambda key: Tagged(Line(key), jnp.array(0)), 3, key=KEY)
    return eqx.tree_at(lambda e: e.members.tag, made, jnp.arange(3))


def poisoned_data():
    """One example in 256 is far out (finite, as `fit` refuses the others)."""
    data = line_data()
    state = data.state.copy()
    state[17] = 2 * POISON
    return eqx.tree_at(lambda d: d.state, data, state)


def nan_for_member_1(model, example, *, key):
    """NaN for one member at one example, else the likelihood of examples that are not far out."""
    far = example.state[0] > POISON
    near = eqx.tree_at(lambda e: e.state, example, jnp.where(far, 0.0, example.state))
    nll = negative_log_likelihood()(model, near, key=key)
    return jnp.where(far & (model.tag == 1), jnp.nan, nll)


def run(loss=nan_for_member_1, optimizer=SGD, steps=200, max_bad_steps=1, **options):
    return fit(
        model(),
        poisoned_data(),
        loss,
        optimizer,
        key=KEY,
        steps=steps,
        batch_size=4,
        evaluate_every=20,
        bootstrap=False,  # a resample may miss the poison
        max_bad_steps=max_bad_steps,
        progress=False,
        **options,
    )


def diverge(*args, **options):
    with pytest.raises(TrainingDiverged) as caught:
        run(*args, **options)
    return caught.value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def error(folder):
    return diverge(checkpoint=folder)


def test_step_member_and_seed_are_named(error):
    assert error.member == 1
    assert error.seed[-1] == SEED
    assert f"member 1 became NaN or infinite at step {error.step} (seed {SEED})" in str(error)
    # The same run, one step shorter, goes well; with that step, it does not.
    assert run(steps=error.step - 1).steps == error.step - 1
    assert diverge(steps=error.step).step == error.step


def test_the_last_good_model_is_kept(error):
    leaves = jax.tree.leaves(eqx.filter(error.model, eqx.is_array))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    before = run(steps=error.step - 1).model
    assert same_bits(error.model.member(1), before.member(1))
    assert not same_bits(error.model.member(0), before.member(0))  # it went on meanwhile
    assert isinstance(error.model, Ensemble)


def test_history_and_checkpoints_before_it_are_kept(error, folder):
    chunk = 20
    good = (error.step - 1) // chunk * chunk
    assert good > 0, "choose a key for which the first chunk goes well"
    assert [row["step"] for row in error.history] == list(range(chunk, good + 1, chunk))
    assert latest_step(folder) == good
    # And training can go on from there with a loss that is healed.
    healed = run(
        lambda m, e, *, key: jnp.nan_to_num(nan_for_member_1(m, e, key=key)), checkpoint=folder
    )
    assert healed.steps == 200
    assert healed.history[: len(error.history)] == error.history


def test_apply_if_finite_lets_nothing_through():
    """On its own it applies the NaN at the third bad batch in a row."""
    optimizer = optax.apply_if_finite(SGD, max_consecutive_errors=2)
    always = lambda model, example, *, key: model.line.bias * jnp.nan  # noqa: E731
    error = diverge(always, optimizer)
    assert (error.step, error.member) == (1, 0)
    assert same_bits(error.model, model())


def test_a_gradient_that_is_nan_is_seen_behind_a_finite_loss():
    root = lambda model, example, *, key: jnp.sqrt(model.line.bias**2)  # noqa: E731
    error = diverge(root)
    assert error.step == 1
    assert same_bits(error.model, model())


def test_an_update_that_is_infinite_is_not_applied():
    """Loss and gradient are finite at the last step, the parameters after it are not."""
    error = diverge(optimizer=optax.scale(-jnp.inf), steps=1)
    assert error.step == 1
    assert same_bits(error.model, model())
