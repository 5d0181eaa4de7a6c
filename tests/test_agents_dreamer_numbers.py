"""Numbers of a Dreamer's choices: what is asked for is done, or refused."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest

from stochwm.agents import make_learner, make_update
from stochwm.agents.train_dreamer import _Job
from tests.test_agents_dreamer import KEY, SOURCE, SPACES, V1, V3, batch, learner


@pytest.mark.parametrize("ratio", [128.0, 37.0, 10.0, 4.0, 1.0, 0.1])
def test_the_train_ratio_is_kept(ratio):
    """Also where a chunk of 16 steps asks for less than one update of 256 steps, or for 2.3."""
    sizes = {"batch_size": 16, "sequence_length": 16, "prefill": 48, "train_ratio": ratio}
    config = dataclasses.replace(V3, **sizes)
    learns = np.array([config.learns_after(chunk) for chunk in range(16_002)])
    assert not learns[:2].any()
    updates = config.updates_per_chunk * np.cumsum(learns)
    assert updates[-1] * 256 == pytest.approx(16 * 16_000 * ratio, rel=0.01)
    for chunks in (0, 1, 2, 3, 4, 100, 16_002):
        assert config.updates_by(16 * chunks + 15) == (updates[chunks - 1] if chunks else 0)
    if ratio == 128.0:
        assert config.updates_per_chunk == 8
        assert learns[2:].all()
    with pytest.raises(ValueError, match="train_ratio must be positive"):
        _Job(SOURCE, dataclasses.replace(V3, train_ratio=0.0), 0, None)


def test_only_a_soft_discount_is_learned_with_the_factor_of_a_step():
    assert learner(V3).agent.model.longest == V3.gamma < 1
    assert learner(V1).agent.model.longest == 1.0


@pytest.mark.parametrize("heads", [1, 2])
def test_no_two_layers_begin_alike(heads):
    """Not in one weight, whatever their shapes: the same key gives the same first numbers."""
    agent = make_learner(
        *SPACES, dataclasses.replace(V3, depth=2, prior_heads=heads), key=KEY
    ).agent
    weights = [x.ravel()[:3] for x in jax.tree.leaves(eqx.filter(agent, eqx.is_inexact_array))]
    drawn = np.array([w / w[0] for w in weights if w.size == 3 and len(set(w.tolist())) == 3])
    apart = np.abs(drawn[:, None] - drawn[None]).max(axis=-1) + np.eye(len(drawn))
    assert len(drawn) > 15
    assert apart.min() > 1e-4


def test_one_start_a_sequence_has_no_steps_to_replay():
    """Without a critic on real rewards it learns; with one it is refused."""
    config = dataclasses.replace(V1, starts_per_sequence=1)
    update = make_update(config)
    start = learner(config)
    after, _ = eqx.filter_eval_shape(lambda m, r: update(m, r, key=KEY), start, batch())
    assert jax.tree.structure(after) == jax.tree.structure(start)
    with pytest.raises(ValueError, match="starts_per_sequence .* at least 2 .*or replay_critic 0"):
        dataclasses.replace(V3, starts_per_sequence=1)
    with pytest.raises(ValueError, match="starts_per_sequence .* at least 1, but"):
        dataclasses.replace(V1, starts_per_sequence=0)
