"""Faults in training: what is not finite is skipped and counted by member, up to a limit."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from stochwm._storage import StorageError
from stochwm.data import Transitions
from stochwm.training import JsonlLogger, TrainingDiverged, default_optimizer, fit
from stochwm.transitions import (
    AbstractTransition,
    Ensemble,
    MomentMatched,
    Standardised,
    Standardiser,
)
from tests.cases_models import Line, line_data, same_bits, three_lines

SEED, BATCH = 11, 4
KEY = jax.random.key(SEED)
POISON = 7.0  # the value of `reward` that spoils an example
SGD = optax.sgd(0.05, momentum=0.9)


class Tagged(AbstractTransition):
    """A bias, and which member it is of."""

    bias: Array
    tag: Array

    def __call__(self, state, action):
        raise NotImplementedError


def tagged():
    made = Ensemble(lambda key: Tagged(jnp.zeros(2), jnp.array(0)), 3, key=KEY)
    return eqx.tree_at(lambda e: e.members.tag, made, jnp.arange(3))


def data(poisoned):
    made = line_data(64)
    reward = np.zeros(64, "float32")
    reward[:poisoned] = POISON
    return eqx.tree_at(lambda d: d.reward, made, reward)


def spoiled(model, example, *, key):
    """NaN for member 1 at a poisoned example, else a squared distance."""
    bad = (example.reward == POISON) & (model.tag == 1)
    return jnp.where(bad, jnp.nan, jnp.sum((model.bias - example.next_state[0]) ** 2))


def run(poisoned, loss=spoiled, optimizer=SGD, **options):
    settings = {"steps": 40, "batch_size": BATCH, "evaluate_every": 10}
    settings |= {"bootstrap": False, "progress": False, **options}
    return fit(tagged(), data(poisoned), loss, optimizer, key=KEY, **settings)


@pytest.fixture(scope="module")
def healthy():
    return run(0)


@pytest.fixture(scope="module")
def skipping():
    """One example in sixteen is bad, so that about every fourth batch of four is."""
    return run(4)


def bad_steps(poisoned, steps=40):
    """The steps at which member 1 draws a poisoned example, counted by a loss that is never NaN."""

    def watch(model, example, *, key):
        bad = (example.reward == POISON) & (model.tag == 1)
        return jnp.where(bad, 1.0, 0.0) + 0 * jnp.sum(model.bias)

    history = run(poisoned, watch, evaluate_every=1, steps=steps).history
    return [row["step"] for row in history if row["loss"] > 0]


# --- skipping -----------------------------------------------------------------------------------
def test_a_bad_step_is_skipped_and_counted(skipping):
    bad = bad_steps(4)
    assert 3 < len(bad) < 20
    want = [sum(step <= row["step"] for step in bad) for row in skipping.history]
    assert [row["skipped"] for row in skipping.history] == want
    assert all(np.isfinite(row["loss"]) for row in skipping.history)
    assert skipping.steps == 40


def test_a_bad_member_does_not_hold_the_others_back(healthy, skipping):
    for member in (0, 2):
        assert same_bits(healthy.model.member(member), skipping.model.member(member))
    assert not same_bits(healthy.model.member(1), skipping.model.member(1))
    assert healthy.history[-1]["skipped"] == 0


def test_a_skipped_step_leaves_parameters_and_momentum_alone(skipping):
    """An oracle that does the good steps only, with the same batches."""
    bad = set(bad_steps(4))

    def masked(model, example, *, key):
        return jnp.sum((model.bias - example.next_state[0]) ** 2)

    # The optimiser of the oracle is told by its own counter which steps to leave out.
    def skip():
        def init(params):
            return (SGD.init(params), jnp.zeros((), int))

        def update(updates, state, params=None):
            inner, count = state
            on = ~jnp.isin(count + 1, jnp.array(sorted(bad)))
            new, new_inner = SGD.update(updates, inner, params)
            keep = lambda a, b: jnp.where(on, a, b)  # noqa: E731
            new = jax.tree.map(lambda x: jnp.where(on, x, 0.0), new)
            return new, (jax.tree.map(keep, new_inner, inner), count + 1)

        return optax.GradientTransformation(init, update)

    oracle = run(4, masked, skip())
    np.testing.assert_allclose(
        oracle.model.members.bias[1], skipping.model.members.bias[1], rtol=1e-6
    )


@pytest.mark.parametrize("after", [1, 2])
def test_counters_survive_an_interruption(skipping, tmp_path, after):
    class Cut(Exception):
        pass

    seen = []

    def log(row):
        seen.append(row)
        if len(seen) == after:
            raise Cut

    with pytest.raises(Cut):
        run(4, checkpoint=tmp_path, log=log)
    resumed = run(4, checkpoint=tmp_path)
    assert resumed.history == skipping.history
    assert same_bits(resumed.model, skipping.model)


# --- giving up ----------------------------------------------------------------------------------
def test_it_gives_up_after_so_many_in_a_row():
    """With every example bad the third step is the third in a row, across chunks as well."""
    for chunk in (1, 10):
        with pytest.raises(TrainingDiverged, match="member 1 .* at step 3, the last of 3") as info:
            run(64, max_bad_steps=3, evaluate_every=chunk)
        error = info.value
        assert (error.step, error.member, error.bad_steps, error.seed[-1]) == (3, 1, 3, SEED)
        np.testing.assert_array_equal(error.model.members.bias[1], 0.0)  # as it began
        two = run(64, max_bad_steps=3, steps=2).model
        assert same_bits(error.model.member(1), two.member(1))
        assert (two.members.bias[0] != 0).all()  # the others learned meanwhile


def test_the_row_in_a_row_is_found_where_it_is():
    """The first step that ends two bad ones, as the list of bad steps has it."""
    bad = bad_steps(12)
    first = next(b for a, b in zip(bad, bad[1:], strict=False) if b == a + 1)
    with pytest.raises(TrainingDiverged) as info:
        run(12, max_bad_steps=2)
    assert info.value.step == first


def test_the_limit_survives_an_interruption(tmp_path):
    """Two bad steps before, one after: the third in a row."""
    assert run(64, steps=2, max_bad_steps=3, checkpoint=tmp_path, evaluate_every=2).steps == 2
    with pytest.raises(TrainingDiverged) as info:
        run(64, steps=40, max_bad_steps=3, checkpoint=tmp_path, evaluate_every=2)
    assert info.value.step == 3


def test_a_chunk_without_a_good_step_has_no_loss(tmp_path):
    """All members are bad and the limit is not reached: None, which is JSON."""
    always = lambda model, example, *, key: jnp.sum(model.bias) * jnp.nan  # noqa: E731
    log = JsonlLogger(tmp_path / "log.jsonl")
    options = {"steps": 2, "evaluate_every": 2, "max_bad_steps": 3, "log": log}
    fitted = run(0, always, **options, validation=data(0))
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=pytest.fail)
    assert row == fitted.history[0]
    assert row == {
        "step": 2,
        "loss": None,
        "validation_loss": None,
        "best_validation_loss": None,
        "skipped": 6,
    }
    assert same_bits(fitted.model, tagged())


def test_an_optimiser_state_that_overflows_is_no_step():
    """The gradient is finite, its square in Adam is not, and would freeze the weight."""
    slope = 100.0 * float(np.sqrt(jnp.finfo(jnp.zeros(()).dtype).max))
    steep = lambda model, example, *, key: slope * jnp.sum(model.bias)  # noqa: E731
    with pytest.raises(TrainingDiverged) as info:
        run(0, steep, optax.adam(1e-2), max_bad_steps=2)
    assert info.value.step == 2
    # The default optimiser clips first.
    assert run(0, steep, default_optimizer(40), max_bad_steps=1).history[-1]["skipped"] == 0


def test_an_optimiser_may_begin_with_an_infinity():
    plateau = optax.chain(SGD, optax.contrib.reduce_on_plateau())
    wants_value = optax.with_extra_args_support(plateau)
    patched = optax.GradientTransformation(
        wants_value.init, lambda u, s, p=None: wants_value.update(u, s, p, value=jnp.array(1.0))
    )
    assert run(0, optimizer=patched, steps=10, max_bad_steps=1).steps == 10
    stays = optax.GradientTransformation(lambda p: jnp.array(jnp.inf), lambda u, s, p=None: (u, s))
    fitted = run(0, optimizer=optax.chain(SGD, stays), steps=10, max_bad_steps=1)
    assert fitted.history[-1]["skipped"] == 0


# --- validation ---------------------------------------------------------------------------------
def test_a_bad_validation_loss_is_no_best(healthy):
    """Member 1 is NaN on the validation data: it ends with its last step, the others as ever."""
    held_out = data(64)
    fitted = run(0, validation=held_out, patience=None)
    assert same_bits(fitted.model.member(1), healthy.model.member(1))
    assert [row["validation_loss"] for row in fitted.history] == [None] * 4
    assert fitted.history[-1]["best_validation_loss"] is None
    json.dumps(fitted.history, allow_nan=False)


def test_validation_of_another_structure_is_refused():
    wider = eqx.tree_at(lambda d: d.state, line_data(8), np.zeros((8, 2), "float32"))
    with pytest.raises(ValueError, match=r"validation must hold .* it has \{'.state': \(2,\)\}"):
        run(0, validation=wider)
    with pytest.raises(ValueError, match=r"validation must hold .*where data has \{'.*reward'"):
        run(0, validation={"state": np.zeros((8, 1), "float32")})


# --- what is refused, and what was silent -------------------------------------------------------
def wrapped(kernel):
    one = Standardiser([0.0], [1.0])
    return Standardised(kernel, one, one, one)


NESTED = {
    "Standardised": lambda: wrapped(three_lines()),
    "MomentMatched": lambda: MomentMatched(three_lines()),
    "Ensemble of ensembles": lambda: Ensemble(
        lambda key: wrapped(Ensemble(Line, 2, key=key)), 2, key=KEY
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_an_ensemble_inside_another_module_is_refused(name):
    with pytest.raises(TypeError, match=r"Ensemble inside another module.*Ensemble\(lambda key"):
        fit(NESTED[name](), line_data(), key=KEY, progress=False)


def test_more_steps_are_another_fit_of_the_default_optimiser(tmp_path):
    """Its schedule ends at `steps`: going on would change the learning rate of what was done."""
    options = {"batch_size": BATCH, "evaluate_every": 2, "progress": False, "checkpoint": tmp_path}
    fit(Line(KEY), line_data(), key=KEY, steps=2, **options)
    with pytest.raises(StorageError, match=r"another fit.*'default_optimizer': \{'steps': 2\}"):
        fit(Line(KEY), line_data(), key=KEY, steps=4, **options)
    with pytest.raises(StorageError, match="another fit"):
        fit(Line(KEY), line_data(), None, SGD, key=KEY, steps=2, **options)


def test_numbers_that_the_device_cannot_hold_are_refused():
    def never(model, example, *, key):
        pytest.fail("the loss was traced")

    wide = 1e300 if not jax.config.jax_enable_x64 else np.inf
    for name, bad, message in (
        ("x", np.array([0.0, wide]), "must be finite, but is not in example 1"),
        ("n", np.array([0, 2**31 + 5]), "must fit into int32, but does not in example 1"),
    ):
        if name == "n" and jax.config.jax_enable_x64:
            continue
        with pytest.raises(ValueError, match=message):
            fit(Line(KEY), {name: bad}, never, key=KEY, progress=False)
    with pytest.raises(ValueError, match="steps must be at most 2147483647"):
        fit(Line(KEY), line_data(), never, key=KEY, steps=2**31, progress=False)


@pytest.mark.parametrize("examples", [1, 64])
def test_a_batch_of_one(examples):
    assert run(0, steps=2, batch_size=1, validation=data(0)).steps == 2
    one = jax.tree.map(lambda x: x[:examples], line_data(64))
    fitted = fit(Line(KEY), one, None, SGD, key=KEY, steps=2, batch_size=1, progress=False)
    assert isinstance(one, Transitions)
    assert fitted.steps == 2


def test_float64_data_are_cast_once():
    """The same bits as from float32 data, in float32."""
    wide = jax.tree.map(lambda x: x.astype("float64") if x.dtype == "float32" else x, line_data())
    options = {"key": KEY, "steps": 5, "batch_size": BATCH, "progress": False}
    one, two = (fit(Line(KEY), d, None, SGD, **options).model for d in (line_data(), wide))
    if jax.config.jax_enable_x64:
        np.testing.assert_allclose(one.bias, two.bias, rtol=1e-5)
    else:
        assert same_bits(one, two)
