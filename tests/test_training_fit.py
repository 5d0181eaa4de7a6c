"""What fit learns, and that the members of an ensemble learn apart."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stochwm.data import Transitions
from stochwm.training import default_optimizer, fit, partition_trainable
from stochwm.training.engine import make_inputs
from stochwm.transitions import Ensemble, MixtureDensity, Standardised, Standardiser
from tests.cases_models import Line, line_data, same_bits, three_lines

KEY = jax.random.key(7)
DATA, HELD_OUT = line_data(), line_data(128, seed=1)
ADAM = optax.adam(3e-2)


def fit_small(model=None, data=DATA, optimizer=ADAM, *, key=KEY, **options):
    options = {"steps": 30, "batch_size": 16, "evaluate_every": 10, "progress": False, **options}
    return fit(three_lines() if model is None else model, data, None, optimizer, key=key, **options)


# --- what is learned --------------------------------------------------------------------------
def test_a_linear_law_is_recovered():
    fitted = fit_small(Line(KEY), optimizer=optax.adam(1e-2), steps=1_000, evaluate_every=500)
    assert isinstance(fitted.model, Line)
    np.testing.assert_allclose(fitted.model.weight, [0.8, -0.5], atol=0.05)
    np.testing.assert_allclose(fitted.model.bias, 0.3, atol=0.05)
    np.testing.assert_allclose(np.exp(fitted.model.log_scale), 0.2, rtol=0.15)


def bimodal(number, seed):
    """s' = +-(1 + s / 2) + 0.1 noise, with weights that the action decides."""
    rng = np.random.default_rng(seed)
    data = line_data(number, seed)
    up = rng.random((number, 1)) < np.where(data.action > 0, 0.8, 0.3)
    loc = np.where(up, 1.0, -1.0) * (1 + data.state / 2)
    next_state = (loc + 0.1 * rng.normal(size=(number, 1))).astype("float32")
    return eqx.tree_at(lambda d: d.next_state, data, next_state)


def nll_of_the_truth(data):
    prob_up = np.where(data.action > 0, 0.8, 0.3)
    loc, log_norm = 1 + data.state / 2, np.log(0.1 * np.sqrt(2 * np.pi))
    logs = [
        np.log(w) - 0.5 * ((data.next_state - m) / 0.1) ** 2 - log_norm
        for w, m in ((prob_up, loc), (1 - prob_up, -loc))
    ]
    return -np.logaddexp(*logs).mean()


def test_a_bimodal_law_is_learned_to_its_entropy():
    data, held_out = bimodal(4_000, 0), bimodal(1_000, 1)
    model = MixtureDensity(1, 1, num_components=3, width=16, depth=1, key=KEY)
    steps = 1_000
    fitted = fit_small(
        model, data, default_optimizer(steps, 2e-2), steps=steps, batch_size=128, evaluate_every=500
    )
    score = eqx.filter_jit(
        eqx.filter_vmap(lambda m, s, a, n: m(s, a).log_prob(n), in_axes=(None, 0, 0, 0))
    )
    nll = -score(fitted.model, held_out.state, held_out.action, held_out.next_state).mean()
    truth = nll_of_the_truth(held_out)
    normal = 0.5 * np.log(2 * np.pi * np.e * held_out.next_state.var())
    assert nll < truth + 0.2
    assert truth + 0.2 < normal - 0.8  # what one mode could reach is far off


# --- members apart ----------------------------------------------------------------------------
def test_a_member_does_not_feel_what_happens_to_another():
    """A clip by global norm over stacked parameters would couple them."""
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-2))
    model = three_lines()
    moved = eqx.tree_at(lambda m: m.members.bias, model, jnp.array([0.0, 1e3, 0.0]))
    one, two = (fit_small(m, optimizer=clipped).model for m in (model, moved))
    assert same_bits(one.member(0), two.member(0))
    assert same_bits(one.member(2), two.member(2))
    assert not same_bits(one.member(1), two.member(1))


def test_a_member_learns_as_it_would_alone():
    model = three_lines()
    alone = eqx.tree_at(lambda m: m.members, model, jax.tree.map(lambda x: x[:1], model.members))
    together, single = fit_small(model, bootstrap=False), fit_small(alone, bootstrap=False)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        eqx.filter(together.model.member(0), eqx.is_array),
        eqx.filter(single.model.member(0), eqx.is_array),
    )


def test_every_member_has_a_resample_of_its_own():
    inputs = make_inputs(None, DATA, None, num_members=3, bootstrap=True, key=KEY)
    rows = np.asarray(inputs.rows)
    assert rows.shape == (3, 256)
    assert rows.min() >= 0
    assert rows.max() < 256
    for row in rows:
        # A resample holds 1 - 1/e of the examples.
        assert abs(np.unique(row).size / 256 - 0.632) < 0.1
    assert all((rows[i] != rows[j]).mean() > 0.9 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(("num_members", "bootstrap"), [(3, False), (1, True)])
def test_without_bootstrap_the_data_are_the_data(num_members, bootstrap):
    options = {"num_members": num_members, "bootstrap": bootstrap}
    assert make_inputs(None, DATA, None, key=KEY, **options).rows is None


def test_equal_members_draw_batches_of_their_own():
    equal = eqx.tree_at(
        lambda e: e.members,
        three_lines(),
        jax.tree.map(lambda x: jnp.repeat(x[:1], 3, axis=0), three_lines().members),
    )
    bias = fit_small(equal, bootstrap=False).model.members.bias
    assert np.unique(bias).size == 3


def test_batches_do_not_begin_again_with_a_chunk():
    """However the steps are cut into chunks, they are the same steps."""
    one, three = (fit_small(evaluate_every=every).model for every in (30, 10))
    assert same_bits(one, three)


def test_members_see_only_their_resample():
    """Every example of the data has its own target, so that a model shows what it was given."""
    number = 4
    data = jax.tree.map(lambda x: np.zeros_like(x[:number]), DATA)
    data = eqx.tree_at(
        lambda d: d.next_state, data, 4.0 ** np.arange(number, dtype="float32")[:, None]
    )
    rows = np.asarray(make_inputs(None, data, None, num_members=3, bootstrap=True, key=KEY).rows)

    def loss(model, example, *, key):
        return (model.bias - example.next_state[0]) ** 2

    fitted = fit(
        three_lines(),
        data,
        loss,
        optax.sgd(optax.exponential_decay(0.2, 100, 0.1)),
        key=KEY,
        steps=400,
        batch_size=64,
        evaluate_every=400,
        progress=False,
    )
    want = data.next_state[:, 0][rows].mean(axis=1)
    np.testing.assert_allclose(fitted.model.members.bias, want, rtol=0.05)
    assert np.ptp(want) > 1


# --- what does not learn ----------------------------------------------------------------------
def test_statistics_do_not_move_under_weight_decay():
    statistics = Standardiser([0.7], [1.3])
    model = Ensemble(
        lambda key: Standardised(Line(key), statistics, Standardiser([-0.2], [0.9]), statistics),
        3,
        key=KEY,
    )
    fitted = fit_small(model, optimizer=optax.adamw(1e-2, weight_decay=0.5)).model
    before, after = model.members, fitted.members
    for name in ("state", "action", "delta"):
        assert same_bits(getattr(before, name), getattr(after, name))
    assert not same_bits(before.kernel, after.kernel)


def test_partition_is_undone_by_combine():
    model = Standardised(Line(KEY), *[Standardiser([0.7], [1.3])] * 3)
    trainable, fixed = partition_trainable(model)
    assert len(jax.tree.leaves(trainable)) == 3
    assert len(jax.tree.leaves(fixed)) == 6
    assert same_bits(eqx.combine(trainable, fixed), model)


def test_the_model_that_was_given_is_left_alone():
    model = three_lines()
    before = jax.tree.map(np.array, eqx.filter(model, eqx.is_array))
    fit_small(model)
    assert same_bits(before, model)  # also: its buffers were not donated


# --- when it stops, what it says --------------------------------------------------------------
def constant(target, number=32):
    zeros = np.zeros((number, 1), "float32")
    flat = zeros[:, 0]
    return Transitions(zeros, zeros, flat, flat, zeros + np.float32(target), flat.astype(int))


def bias_error(model, example, *, key):
    return jnp.sum((model.bias - example.next_state) ** 2)


def fit_towards_1(model, **options):
    """The bias goes to 1 at a rate that is known, while validation would have it at 0.4."""
    return fit(
        model,
        constant(1.0),
        bias_error,
        optax.sgd(0.02),
        key=KEY,
        validation=constant(0.4),
        batch_size=8,
        evaluate_every=5,
        progress=False,
        **options,
    )


def test_early_stopping_returns_the_best():
    fitted = fit_towards_1(Line(KEY), steps=500, patience=3)
    losses = [row["validation_loss"] for row in fitted.history]
    best = int(np.argmin(losses))
    assert 0 < best
    assert len(losses) == best + 1 + 3
    assert fitted.steps == 5 * len(losses) < 500
    np.testing.assert_allclose(fitted.model.bias, 1 - 0.96 ** (5 * (best + 1)), rtol=1e-4)
    np.testing.assert_allclose((fitted.model.bias - 0.4) ** 2, min(losses), rtol=1e-4, atol=1e-7)
    assert fitted.history[-1]["best_validation_loss"] == min(losses)


def test_it_goes_on_while_any_member_improves():
    """The last member is best at once, the second, from -1, at the sixth evaluation."""
    start = np.array([0.0, -1.0, 0.39], "float32")
    model = eqx.tree_at(lambda m: m.members.bias, three_lines(), jnp.asarray(start))
    bias = 1 - (1 - start) * 0.96 ** (5 * np.arange(1, 13)[:, None])
    best = np.argmin(np.abs(bias - 0.4), axis=0) + 1
    assert best.tolist() == [3, 6, 1]
    assert fit_towards_1(model, steps=500, patience=2).steps == 5 * (6 + 2)


def test_every_member_keeps_its_own_best():
    model = eqx.tree_at(lambda m: m.members.bias, three_lines(), jnp.array([0.0, -1.0, 0.39]))
    fitted = fit_towards_1(model, steps=60, patience=None)
    assert fitted.steps == 60
    np.testing.assert_allclose(fitted.model.members.bias, 0.4, atol=0.12)
    # The last one was best before it had learned anything that the first one needed.
    last = fitted.history[-1]
    assert last["best_validation_loss"] < 0.01 < last["validation_loss"]


def test_without_validation_the_last_step_is_returned():
    fitted = fit(
        Line(KEY),
        constant(1.0),
        bias_error,
        optax.sgd(0.02),
        key=KEY,
        steps=10,
        batch_size=8,
        evaluate_every=5,
        patience=1,
        progress=False,
    )
    assert fitted.steps == 10
    np.testing.assert_allclose(fitted.model.bias, 1 - 0.96**10, rtol=1e-4)


def test_history_has_a_row_an_evaluation():
    rows = []
    fitted = fit_small(steps=25, log=rows.append, validation=HELD_OUT)
    assert [row["step"] for row in fitted.history] == [10, 20, 25]
    assert rows == fitted.history
    assert fitted.steps == 25
    for row in rows:
        assert set(row) == {"step", "loss", "validation_loss", "best_validation_loss", "skipped"}
        assert all(isinstance(value, int | float) for value in row.values())
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert set(fit_small().history[0]) == {"step", "loss", "skipped"}


def test_losses_are_means_over_examples_with_noise_of_their_own():
    """A loss of 3 with noise of deviation 1; that of an evaluation is always the same."""

    def noisy(model, example, *, key):
        return 3.0 + jax.random.normal(key) + 0 * model.bias

    options = {"steps": 40, "batch_size": 64, "evaluate_every": 10, "progress": False}
    fitted = fit(
        three_lines(), DATA, noisy, optax.sgd(0.0), key=KEY, validation=HELD_OUT, **options
    )
    losses, held_out = (
        np.array([row[name] for row in fitted.history]) for name in ("loss", "validation_loss")
    )
    np.testing.assert_allclose(losses, 3, atol=4 / np.sqrt(3 * 10 * 64))
    assert np.ptp(losses) > 0
    np.testing.assert_allclose(held_out, 3, atol=4 / np.sqrt(128))
    assert np.ptp(held_out) == 0


def test_the_default_optimiser_is_the_one_described():
    """Of steady gradients Adam's steps are the schedule; those of 1e30 move it no further."""
    steps, rate, decay = 20, 0.1, 0.5

    def moves(gradient, weight):
        optimizer = default_optimizer(steps, rate, weight_decay=decay)
        params, gradient = jnp.array([weight, 0.0]), jnp.array(gradient)
        step = lambda state, _: optimizer.update(gradient, state, params)[::-1]  # noqa: E731
        return jax.lax.scan(step, optimizer.init(params), length=steps + 1)[1]

    schedule = rate * (0.01 + 0.99 * (1 + np.cos(np.pi * np.arange(steps + 1) / steps)) / 2)
    for gradient in ([0.3, -0.3], [1e30, -1e30]):
        moved = np.stack([-schedule, schedule], axis=1)
        np.testing.assert_allclose(moves(gradient, 0.0), moved, rtol=1e-4)
    np.testing.assert_allclose(moves([0.0, 0.0], 2.0)[:, 0], -2 * decay * schedule, rtol=1e-4)


def test_the_same_key_gives_the_same_bits():
    one, two, other = (fit_small(key=jax.random.key(seed)).model for seed in (7, 7, 8))
    assert same_bits(one, two)
    assert not same_bits(one, other)


def test_a_progress_bar_is_shown_unless_refused(capfd):
    fit_small()
    assert capfd.readouterr().err == ""
    fit_small(progress=True)
    shown = capfd.readouterr().err
    assert "30/30" in shown
    assert "loss=" in shown


def test_equal_chunks_are_compiled_once():
    traces = []

    def loss(model, example, *, key):
        traces.append(1)
        return bias_error(model, example, key=key)

    def fit_chunks(number):
        traces.clear()
        weakly_typed = eqx.tree_at(lambda m: m.bias, Line(KEY), jnp.asarray(0.5))
        assert weakly_typed.bias.weak_type
        steps = {"steps": 5 * number, "evaluate_every": 5, "batch_size": 8, "progress": False}
        data = {"validation": constant(0.4)}
        fit(weakly_typed, constant(1.0), loss, optax.adam(0.1), key=KEY, **data, **steps)
        return len(traces)

    assert fit_chunks(4) == fit_chunks(1)
