"""The recurrent state-space model: what it computes, what learns, and where episodes begin."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm import imagine, observe, replay
from stochwm.distributions import OneHotCategoricals, symexp, symlog
from stochwm.distributions.mixture import take
from stochwm.drift import epistemic_variance, split_information
from stochwm.models import (
    RSSM,
    UNIT_SQUARES,
    CategoricalLatent,
    ChainedLatent,
    FixedScale,
    MeanSquared,
    NormalLatent,
    OneHotDecoder,
    OnEmbeddings,
    PatchDecoder,
    PatchEncoder,
    Perceptron,
    SymexpTwoHot,
    SymlogDecoder,
    SymlogEncoder,
)
from stochwm.models.observation_heads import from_patches, to_patches
from stochwm.models.rssm import UnitActions
from stochwm.training import free_bits, partition_trainable, plain_kl, rssm_loss

KEY = jax.random.key(0)
OBSERVED, TIME = 3, 6
BOUNDS = (np.array([-2.0, 0.0]), np.array([2.0, 1.0]))


CATEGORICAL, TWO_HOT = CategoricalLatent(3, 4), SymexpTwoHot(21)


def make(
    latent=CATEGORICAL,
    scalar=TWO_HOT,
    blocks=2,
    observed=OBSERVED,
    bounds=BOUNDS,
    key=KEY,
    **options,
):
    def decoder(features, key):
        network = Perceptron(features, observed, 8, 1, key=key)
        return SymlogDecoder(network, FixedScale(jnp.full(observed, UNIT_SQUARES)))

    return RSSM(
        action_bounds=bounds,
        latent=latent,
        encoder=SymlogEncoder(Perceptron(observed, None, 8, 1, key=key)),
        embedding=8,
        make_decoder=decoder,
        reward_scalar=scalar,
        deter=8,
        width=8,
        blocks=blocks,
        key=key,
        **options,
    )


class Sequence(eqx.Module):
    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    is_first: jax.Array
    is_terminal: jax.Array


def sequence(seed=0, first=(0,)):
    random = np.random.default_rng(seed)
    is_first = np.isin(np.arange(TIME), first)
    return Sequence(
        jnp.asarray(random.normal(size=(TIME, OBSERVED)), float),
        jnp.asarray(random.uniform(-1, 1, size=(TIME, 2)), float),
        jnp.asarray(random.normal(size=TIME), float),
        jnp.asarray(is_first),
        jnp.zeros(TIME, bool),
    )


@eqx.filter_jit
def filtered(model, rows, key):
    record = lambda prior, posterior, state: (prior, posterior)  # noqa: E731
    return observe(model, rows.observation, rows.action, rows.is_first, key=key, record=record)[1]


MODEL = make()


# --- what learns ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("latent", "scalar"),
    [
        (CATEGORICAL, TWO_HOT),
        (ChainedLatent(CATEGORICAL), TWO_HOT),
        (NormalLatent(5), MeanSquared()),
    ],
    ids=["categorical", "chained", "normal"],
)
def test_the_loss_reaches_every_parameter(latent, scalar):
    model = make(latent, scalar)
    # Heads that begin at 0 hide what is before them.
    model = eqx.tree_at(
        lambda m: m.reward_head.output.weight, model, 1.0 + model.reward_head.output.weight
    )
    trainable, rest = partition_trainable(model)

    @jax.jit
    def gradient(trainable, key):
        def loss(trainable):
            whole = eqx.combine(trainable, rest)
            return rssm_loss(whole, sequence(), divergence=plain_kl, key=key).total()

        return jax.grad(loss)(trainable)

    found = jax.tree_util.tree_leaves_with_path(gradient(trainable, KEY))
    silent = [jax.tree_util.keystr(path) for path, x in found if not np.any(np.asarray(x) != 0)]
    assert len(found) > 20
    assert silent == []


def test_what_is_no_parameter_does_not_learn():
    trainable, fixed = partition_trainable(MODEL)
    kept = [fixed.actions.low, fixed.actions.high, fixed.decoder.scale.value]
    assert all(x is not None for x in kept)
    assert trainable.actions.low is None
    assert trainable.decoder.scale.value is None


def test_free_bits_leave_the_divergence_alone_where_it_is_small():
    trainable, rest = partition_trainable(MODEL)

    @partial(jax.jit, static_argnames="nats")
    def of_prior(trainable, nats):
        def loss(trainable):
            whole = eqx.combine(trainable, rest)
            terms = rssm_loss(whole, sequence(), divergence=free_bits(nats), key=KEY)
            return jnp.mean(terms.divergence)

        return jax.grad(loss)(trainable).prior_head.output.weight

    assert np.any(of_prior(trainable, 0.0) != 0)
    assert not np.any(of_prior(trainable, 1e3) != 0)


# --- where an episode begins ------------------------------------------------------------------
def test_a_reset_in_the_middle_equals_a_fresh_episode():
    """Rows 3, 4, 5 after a reset do not know rows 0, 1, 2."""
    rows = sequence(first=(0, 3))
    other = eqx.tree_at(lambda r: r.observation, rows, rows.observation.at[:3].add(5.0))
    one, two = filtered(MODEL, rows, KEY), filtered(MODEL, other, KEY)
    tail = lambda x: jax.tree.map(lambda y: y[3:], x)  # noqa: E731
    assert not np.array_equal(one.aux[1].stoch.logits[2], two.aux[1].stoch.logits[2])
    jax.tree.map(np.testing.assert_array_equal, tail(one.state), tail(two.state))


def test_without_a_reset_the_past_counts():
    rows = sequence()
    other = eqx.tree_at(lambda r: r.action, rows, rows.action.at[1].add(0.5))
    one, two = filtered(MODEL, rows, KEY), filtered(MODEL, other, KEY)
    np.testing.assert_array_equal(one.state.deter[:2], two.state.deter[:2])
    # The action of row 1 leads to row 2: not earlier, not later.
    assert not np.array_equal(one.state.deter[2], two.state.deter[2])


def test_what_is_seen_counts_at_once_and_not_before():
    rows = sequence()
    other = eqx.tree_at(lambda r: r.observation, rows, rows.observation.at[2].add(5.0))
    one, two = filtered(MODEL, rows, KEY), filtered(MODEL, other, KEY)
    posterior, changed = one.aux[1].stoch.logits, two.aux[1].stoch.logits
    np.testing.assert_array_equal(posterior[:2], changed[:2])
    np.testing.assert_array_equal(one.state.deter[:3], two.state.deter[:3])
    assert not np.array_equal(posterior[2], changed[2])


def test_dreaming_is_filtering_where_the_posterior_is_the_prior():
    rows = sequence()

    class Blind(OnEmbeddings):
        def posterior(self, prior, observation):
            return prior

    seen = filtered(Blind(MODEL), rows, KEY)
    start = jax.tree.map(lambda x: x[0], seen.state)

    @eqx.filter_jit
    def dream(model, start, key):
        return replay(model, start, rows.action[:-1], key=key)[1]

    # Filtering draws row 1 with the key of step 1, dreaming with that of step 0: so compare what
    # follows from the same draw, here and at every later row.
    dreamt = dream(MODEL, start, KEY)
    np.testing.assert_allclose(dreamt.state.deter[0], seen.state.deter[1], rtol=1e-6)
    before = jax.tree.map(lambda x: x[:-1], seen.state)
    ahead = eqx.filter_jit(eqx.filter_vmap(MODEL.transition))(before, rows.action[:-1])
    np.testing.assert_allclose(ahead.deter, seen.state.deter[1:], rtol=1e-5, atol=1e-6)
    priors = seen.aux[0].stoch.logits[1:]
    np.testing.assert_allclose(ahead.stoch.logits, priors, rtol=1e-5, atol=1e-6)


def test_embeddings_beforehand_change_nothing():
    rows = sequence()
    embedded = eqx.tree_at(lambda r: r.observation, rows, jax.vmap(MODEL.encoder)(rows.observation))
    one, two = filtered(MODEL, rows, KEY), filtered(OnEmbeddings(MODEL), embedded, KEY)
    np.testing.assert_allclose(one.state.deter, two.state.deter, rtol=1e-5, atol=1e-6)


# --- reward, discount, actions ----------------------------------------------------------------
def test_the_discount_head_learns_less_than_one_and_says_one():
    """`discount` undoes the factor that the soft target of DreamerV3 puts in."""
    sure = eqx.tree_at(
        lambda m: (m.discount_head.output.weight, m.discount_head.output.bias),
        MODEL,
        (
            jnp.zeros_like(MODEL.discount_head.output.weight),
            jnp.log(jnp.array([MODEL.longest / (1 - MODEL.longest)])),
        ),
    )
    state = sure.initial()
    np.testing.assert_allclose(sure.discount(None, None, state), 1.0, rtol=1e-5)
    least = rssm_loss(sure, sequence(), divergence=plain_kl, key=KEY).discount[0]
    p = 1 - 1 / 333
    np.testing.assert_allclose(least, -p * np.log(p) - (1 - p) * np.log(1 - p), rtol=1e-3)


def test_each_row_is_scored_on_what_came_with_it():
    """Its state has seen its observation; reward and end are those on arrival there."""
    filled = 0.3 * jax.random.normal(KEY, MODEL.reward_head.output.weight.shape)
    model = eqx.tree_at(lambda m: m.reward_head.output.weight, MODEL, filled)
    rows = eqx.tree_at(lambda r: r.is_terminal, sequence(), jnp.arange(TIME) == 3)
    terms = jax.jit(lambda key: rssm_loss(model, rows, divergence=plain_kl, key=key))(KEY)
    for t in range(TIME):
        state = take(terms.state, t)
        features = model.features(state)
        observation = -model.decode(state).log_prob(rows.observation[t])
        reward = model.reward_scalar.loss(model.reward_head(features), rows.reward[t])
        p = jax.nn.sigmoid(model.discount_head(features)[0])
        goes_on = 0.0 if t == 3 else 1 - 1 / 333
        end = -goes_on * np.log(p) - (1 - goes_on) * np.log(1 - p)
        found = terms.observation[t], terms.reward[t], terms.discount[t]
        np.testing.assert_allclose(found, (observation, reward, end), rtol=1e-4)


def test_actions_beyond_their_bounds_count_as_the_bound():
    of = lambda *action: MODEL.transition(MODEL.initial(), jnp.array(action)).deter  # noqa: E731
    np.testing.assert_allclose(of(2.0, 1.0), of(9.0, 4.0), rtol=1e-6)
    assert not np.allclose(of(1.0, 1.0), of(2.0, 1.0))
    np.testing.assert_allclose(MODEL.actions(jnp.array([1.0, 0.25])), [0.5, -0.5])
    # Beyond them an actor that learns through a dream still has a gradient, as in DreamerV3.
    slope = jax.jacobian(MODEL.actions)(jnp.array([4.0, 0.5]))
    np.testing.assert_allclose(slope, np.diag([0.25, 2.0]))


def test_an_action_without_a_choice_is_0():
    """Whatever is asked for; the entries beside it are as ever."""
    unit = UnitActions(jnp.array([-2.0, 3.0]), jnp.array([2.0, 3.0]))
    for action in ([1.0, 3.0], [1.0, 99.0]):
        np.testing.assert_array_equal(unit(jnp.array(action)), [0.5, 0.0])
    assert np.isfinite(jax.jacobian(unit)(jnp.array([1.0, 3.0]))).all()


def test_a_fresh_model_expects_no_reward():
    _, future = imagine(
        MODEL, lambda state, *, key: jnp.zeros(2), MODEL.initial(), key=KEY, length=3
    )
    np.testing.assert_array_equal(future.reward, np.zeros(3))


# --- several prior heads ----------------------------------------------------------------------
HEADS = 3
MANY = make(prior_heads=HEADS)


def alone(index):
    """The model with one of the heads; all else is that of `MODEL`, from the same key."""
    return eqx.tree_at(lambda m: m.prior_head, MODEL, take(MANY.prior_head, index))


def test_several_heads_are_a_mixture_that_measures_take():
    prior = MANY.transition(MANY.initial(), jnp.ones(2))
    each = [alone(i).transition(MANY.initial(), jnp.ones(2)).stoch.mean() for i in range(HEADS)]
    np.testing.assert_allclose(prior.stoch.mean(), np.mean(each, axis=0), rtol=1e-5)
    np.testing.assert_allclose(epistemic_variance(prior), np.var(each, axis=0).sum(), rtol=1e-4)
    assert 0 < split_information(prior).epistemic < np.log(HEADS)
    with pytest.raises(TypeError, match="prior heads"):
        epistemic_variance(MODEL.transition(MODEL.initial(), jnp.ones(2)))
    with pytest.raises(ValueError, match="prior_heads must be at least 1"):
        make(prior_heads=0)


def test_each_head_learns_as_if_it_were_alone():
    @eqx.filter_jit
    def learned(model):
        def loss(model):
            return rssm_loss(model, sequence(), divergence=free_bits(0.0), key=KEY)

        total = lambda model: jnp.mean(loss(model).divergence)  # noqa: E731
        return loss(model).raw_divergence[0], eqx.filter_grad(total)(model).prior_head.output.weight

    kl, gradient = learned(MANY)
    each = [learned(alone(i)) for i in range(HEADS)]
    np.testing.assert_allclose(kl, np.mean([one[0] for one in each]), rtol=1e-5)
    for i, (_, own) in enumerate(each):
        np.testing.assert_allclose(HEADS * gradient[i], own, rtol=1e-3, atol=1e-6)


# --- a chained prior --------------------------------------------------------------------------
CHAINED = make(ChainedLatent(CATEGORICAL))


def test_the_divergence_is_from_what_the_chain_says_after_each_draw():
    rows = sequence()
    seen = filtered(CHAINED, rows, KEY)
    terms = eqx.filter_jit(rssm_loss)(CHAINED, rows, divergence=plain_kl, key=KEY)
    prior, posterior = (jax.tree.map(lambda x: x[2], each.stoch) for each in seen.aux)
    drawn = seen.state.stoch[2]
    given = prior.given(drawn)
    np.testing.assert_allclose(terms.raw_divergence[2], posterior.kl_divergence(given), rtol=1e-4)
    np.testing.assert_allclose(given.log_prob(drawn), prior.log_prob(drawn), rtol=1e-5)


@pytest.mark.parametrize(("dyn", "rep"), [(1.0, 0.0), (0.0, 1.0)])
def test_each_part_of_the_divergence_moves_its_own_side_of_a_chain(dyn, rep):
    """One row: nothing goes through a later state."""
    row = jax.tree.map(lambda x: x[:1], sequence())

    @eqx.filter_jit
    def gradient(model):
        loss = partial(rssm_loss, divergence=free_bits(0.0, dyn, rep), key=KEY)
        return eqx.filter_grad(lambda model: loss(model, row).divergence[0])(model)

    found = gradient(CHAINED)
    moves = lambda part: any(np.any(x != 0) for x in jax.tree.leaves(part))  # noqa: E731
    assert moves((found.prior_head.seen, found.prior_head.weight)) == bool(dyn)
    assert moves((found.posterior_head, found.encoder)) == bool(rep)


def test_several_chained_heads_are_a_mixture():
    many = make(ChainedLatent(CATEGORICAL), prior_heads=2)
    prior = many.transition(many.initial(), jnp.ones(2)).stoch
    each = [take(prior.members, i) for i in range(2)]
    drawn = prior.sample(seed=KEY)
    masses = [np.exp(head.log_prob(drawn)) for head in each]
    np.testing.assert_allclose(np.exp(prior.log_prob(drawn)), np.mean(masses), rtol=1e-5)
    terms = eqx.filter_jit(rssm_loss)(many, sequence(), divergence=plain_kl, key=KEY)
    assert np.isfinite(terms.raw_divergence).all()
    with pytest.raises(ValueError, match="needs a hidden layer, but depth is 0"):
        make(ChainedLatent(CATEGORICAL), depth=0)


# --- two-hot ----------------------------------------------------------------------------------
@pytest.mark.parametrize("x", [0.0, 1.0, -3.7, 250.0, -1e6])
def test_two_hot_comes_back(x):
    scalar = SymexpTwoHot()
    weights = scalar.two_hot(jnp.asarray(x))
    np.testing.assert_allclose(np.sum(weights), 1.0, rtol=1e-6)
    assert np.sum(np.asarray(weights) > 0) <= 2
    np.testing.assert_allclose(scalar.mean(jnp.log(weights + 1e-30)), x, rtol=1e-4, atol=1e-6)


def test_two_hot_is_zero_at_the_start_and_clips_far_targets():
    scalar = SymexpTwoHot()
    assert scalar.mean(jnp.zeros(255)) == 0.0
    np.testing.assert_allclose(scalar.values[-1], symexp(jnp.asarray(20.0)))
    assert scalar.two_hot(jnp.asarray(1e30))[-1] == 1.0
    with pytest.raises(ValueError, match="odd"):
        SymexpTwoHot(20)


def test_the_loss_of_two_hot_is_least_at_the_expected_target():
    """Targets 0 and 10, equally likely: the expectation is 5, though no target is near it."""
    scalar = SymexpTwoHot(41)
    targets = jnp.array([0.0, 10.0])

    def loss(raw):
        return jnp.mean(jax.vmap(lambda t: scalar.loss(raw, t))(targets))

    both = 0.5 * (scalar.two_hot(targets[0]) + scalar.two_hot(targets[1]))
    best = jnp.log(both + 1e-12)
    np.testing.assert_allclose(scalar.mean(best), 5.0, rtol=1e-3)
    np.testing.assert_allclose(jax.grad(loss)(best), np.zeros(41), atol=1e-6)
    assert loss(best) < loss(jnp.log(scalar.two_hot(jnp.asarray(5.0)) + 1e-12))


def test_symlog_has_slope_one_at_zero():
    for function in (symlog, symexp):
        assert jax.grad(function)(0.0) == 1.0
        np.testing.assert_allclose(jax.grad(function)(-1e-4), 1.0, atol=1e-3)


# --- heads ------------------------------------------------------------------------------------
def test_patches_are_squares_and_come_back():
    image = jnp.arange(4 * 6 * 2.0)
    rows = to_patches(image, (4, 6, 2), 2)
    whole = np.asarray(image).reshape(4, 6, 2)
    assert rows.shape == (6, 8)
    np.testing.assert_array_equal(rows[1], whole[:2, 2:4].reshape(-1))
    np.testing.assert_array_equal(from_patches(rows, (4, 6, 2), 2), image)


def test_pictures_and_categories():
    shape, size = (4, 4, 1), 16
    encoder = PatchEncoder(shape, 2, 4, 8, key=KEY)
    assert encoder(jnp.full(size, 255.0)).shape == (8,)
    picture = PatchDecoder(5, shape, 2, 4, 8, key=KEY)(jnp.ones(5))
    assert picture.event_shape == (size,)
    assert np.all((picture.mean() > 0) & (picture.mean() < 255))
    # A difference of 255 in one pixel costs 1, up to the constant.
    off = picture.mean().at[0].add(255.0)
    np.testing.assert_allclose(
        picture.log_prob(picture.mean()) - picture.log_prob(off), 1.0, rtol=1e-5
    )
    with pytest.raises(ValueError, match="patch must divide"):
        PatchEncoder(shape, 3, 4, 8, key=KEY)
    categories = OneHotDecoder(Perceptron(5, 4, 8, 1, key=KEY), (4,))(jnp.ones(5))
    assert isinstance(categories, OneHotCategoricals)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="multiple of blocks=3"):
        make(blocks=3)
    with pytest.raises(ValueError, match="horizon must be above 1 step"):
        make(horizon=1.0)  # nothing would ever go on
    with pytest.raises(ValueError, match="the lowest and then the highest action"):
        make(bounds=BOUNDS[::-1])  # with which every action would count as 0
    with pytest.raises(ValueError, match="action_bounds must be two vectors"):
        RSSM(
            action_bounds=(np.zeros(1), np.ones(2)),
            latent=NormalLatent(2),
            encoder=lambda x: x,
            embedding=1,
            make_decoder=lambda features, key: None,
            reward_scalar=MeanSquared(),
            key=KEY,
        )
