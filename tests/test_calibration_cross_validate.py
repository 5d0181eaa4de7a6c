"""Cross-validation by episode, and the leaks that it catches."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stochwm.calibration import CrossValidation, Score, Scorecard, cross_validate
from stochwm.calibration.leaks import refuse_held_out_statistics, refuse_pieces
from stochwm.data import Episodes, standardisers
from stochwm.transitions import Ensemble, Standardised
from tests.cases_models import Line
from tests.test_calibration_evaluate import EPISODES, SPACE, make_episodes

KEY = jax.random.key(0)
OPTIONS = {"key": KEY, "folds": 3, "horizons": (1, 40), "metrics": ("nll", "crps")}
OPTIONS |= {"num_particles": 10, "num_starts": 100}


def statistics(episodes):
    spaces = (episodes.observation_space, episodes.action_space)
    return standardisers(episodes.transitions(), *spaces)


def regressed(train, scales):
    """Least squares on standardised numbers."""
    rows, (state, action, delta) = train.transitions(), scales
    at = lambda standardiser, x: (x - standardiser.mean) / standardiser.scale  # noqa: E731
    columns = (at(state, rows.state), at(action, rows.action), np.ones((len(rows), 1)))
    table, target = np.concatenate(columns, axis=1), at(delta, rows.next_state - rows.state)[:, 0]
    weight = np.linalg.lstsq(table, target)[0]
    error = np.std(target - table @ weight)
    numbers = (jnp.asarray(weight[:2]), jnp.asarray(weight[2]), jnp.log(error))
    where = lambda kernel: (kernel.weight, kernel.bias, kernel.log_scale)  # noqa: E731
    return Standardised(eqx.tree_at(where, Line(KEY), numbers), *scales)


def fitted(train, *, key):
    """Everything that learns from data learns from what it is given."""
    return regressed(train, statistics(train))


@pytest.fixture(scope="module")
def result():
    return cross_validate(fitted, EPISODES, **OPTIONS)


def test_each_episode_is_held_out_once(result):
    assert sorted(sum(result.held_out, ())) == list(range(12))
    assert [len(part) for part in result.held_out] == [4, 4, 4]
    assert [card.get("nll").count for card in result.cards] == [120] * 3
    assert result.notes == ()


def test_the_model_that_learned_outside_the_fold_is_near_the_truth(result):
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.2**2)
    assert result.get("nll").mean == pytest.approx(entropy, abs=0.1)
    assert result.get("crps").mean < result.get("crps", of="persistence").mean
    assert result.get("crps").mean < result.get("crps", of="climatology").mean


def test_the_summary_is_mean_and_spread_over_folds(result):
    values = [card.get("crps").value for card in result.cards]
    row = result.get("crps")
    assert (row.mean, row.spread) == (np.mean(values), np.std(values, ddof=1))
    assert row.folds == 3
    with pytest.raises(KeyError, match="no score 'energy' at horizon 1 of 'model'"):
        result.get("energy")


def test_text_is_a_table_with_what_was_skipped(result):
    lines = str(result).splitlines()
    assert lines[0].split() == ["metric", "steps", "ahead", "model", "climatology", "persistence"]
    row = result.get("nll")
    assert lines[1].split() == ["nll", "1", f"{row.mean:.3f}", "+-", f"{row.spread:.3f}"]
    assert "mean +- standard deviation over 3 folds" in lines
    assert lines[-1] == "skipped in fold 2: horizon 40: only 0 futures are that long"


def test_a_score_that_some_folds_lack_says_so():
    full = Scorecard((Score("nll", 1, 1.0, 0.0, 2.0, 9), Score("crps", 1, 1.0, 0.0, 2.0, 9)))
    part = Scorecard((Score("nll", 1, 2.0, 0.0, 2.0, 9),))
    lines = str(CrossValidation((full, part), ((0,), (1,)))).splitlines()
    assert lines[1].split() == ["nll", "1", "1.500", "+-", "0.707"]
    assert lines[2].split() == ["crps", "1", "1.000", "(1", "folds)"]


def test_make_gets_copies_of_the_training_episodes_only():
    seen, before = [], EPISODES.observation.copy()

    class Stop(Exception):
        pass

    def spoil(train, *, key):
        seen.append(train.observation.copy())
        train.observation[:] = 0.0
        raise Stop

    with pytest.raises(Stop):
        cross_validate(spoil, EPISODES, **OPTIONS)
    np.testing.assert_array_equal(EPISODES.observation, before)
    assert len(seen[0]) == 8 * 31


def test_leak_a_normaliser_fitted_on_all_episodes_is_caught():
    scales = statistics(EPISODES)
    with pytest.raises(ValueError, match="the mean of the states of all episodes.*inside make"):
        cross_validate(lambda train, *, key: regressed(train, scales), EPISODES, **OPTIONS)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_each_leaked_normaliser_is_caught_in_each_member_of_an_ensemble(which):
    """State, action or change of state; fitted on the held-out episodes, or on all."""
    test, train = make_episodes([30] * 4, seed=1), make_episodes([30] * 4, seed=2)
    for leaked, whose in ((test, "held-out"), (Episodes.concatenate([train, test]), "all")):
        scales = list(statistics(train))
        honest = Ensemble(lambda key, s=tuple(scales): Standardised(Line(key), *s), 2, key=KEY)
        refuse_held_out_statistics(honest, train, test)
        scales[which] = statistics(leaked)[which]
        model = Ensemble(lambda key, s=tuple(scales): Standardised(Line(key), *s), 2, key=KEY)
        with pytest.raises(ValueError, match=f"{whose} episodes"):
            refuse_held_out_statistics(model, train, test)


def cut(episodes, at, terminal=False):
    """The same steps, with a cut after each of the rows `at`, whose observation both pieces have.

    With `terminal`, the pieces claim to end for good, as an episode of a real reset would.
    """
    rows = np.sort(np.concatenate([np.arange(len(episodes.reward)), at]))
    again = np.flatnonzero(np.diff(rows) == 0)
    arrays = {
        name: getattr(episodes, name)[rows]
        for name in ("observation", "action", "reward", "is_first", "is_last", "is_terminal")
    }
    arrays["is_last"][again], arrays["is_first"][again + 1] = True, True
    arrays["is_terminal"][again] = terminal
    arrays["reward"][again + 1] = 0.0
    spaces = {"observation_space": SPACE, "action_space": SPACE}
    return Episodes(**arrays, **spaces)


@pytest.mark.parametrize("at", [[10], [10, 20], [70]])
def test_leak_an_episode_that_was_cut_is_caught(at):
    pieces = cut(EPISODES, at)
    assert pieces.num_episodes == 12 + len(at)
    assert pieces.num_transitions == EPISODES.num_transitions
    with pytest.raises(ValueError, match="they are pieces of one. Join them"):
        cross_validate(fitted, pieces, **OPTIONS)


def test_ends_and_resets_that_are_alike_are_no_cuts():
    refuse_pieces(EPISODES)
    refuse_pieces(cut(EPISODES, [10], terminal=True))
    observation = EPISODES.observation.copy()
    observation[EPISODES.is_first] = observation[EPISODES.is_last][:1]
    reset = eqx.tree_at(lambda e: e.observation, EPISODES, observation)
    refuse_pieces(reset)  # every episode begins where the first one ends
    counts = cut(EPISODES, [10])  # whole numbers come again by chance
    refuse_pieces(eqx.tree_at(lambda e: e.observation, counts, np.round(counts.observation)))


def test_leak_an_episode_that_comes_twice_is_caught():
    twice = Episodes.concatenate([EPISODES.select([0]), EPISODES])
    options = OPTIONS | {"folds": 13}
    with pytest.raises(ValueError, match="holdout must be other episodes than train"):
        cross_validate(fitted, twice, **options)


def test_a_model_that_does_not_learn_is_noted():
    model = fitted(make_episodes([30] * 4, seed=3), key=KEY)
    found = cross_validate(lambda train, *, key: model, EPISODES, **OPTIONS)
    assert "make gave the same model in each fold" in found.notes[0]
    assert "note: make gave the same" in str(found)


@pytest.mark.parametrize("folds", [1, 13])
def test_folds_out_of_range_are_refused(folds):
    with pytest.raises(ValueError, match="folds must be from 2 to the number of episodes, 12"):
        cross_validate(fitted, EPISODES, **OPTIONS | {"folds": folds})
