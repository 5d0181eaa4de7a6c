"""The one scoring path takes every transition and world model of the tables."""

import jax
import numpy as np
import pytest

from stochwm.calibration import Scorecard, evaluate
from stochwm.data import Episodes, FlatSpace
from stochwm.models import Markov
from tests.cases_models import TRANSITIONS, WORLD_MODELS

KEY = jax.random.key(0)
# Samplers, and boxes, outside which there is none.
WITHOUT_DENSITY = {"DiscreteLatent, sampled", "Ensemble of Standardised DiscreteLatent, sampled"}
WITHOUT_DENSITY |= {"BoxMixtureDensity", "Pinned BoxMixtureDensity"}


def episodes(number=6, length=4):
    """States are one of two classes, which is a vector to all other models."""
    rng = np.random.default_rng(0)
    size = number * (length + 1)
    at = np.tile(np.arange(length + 1), number)
    spaces = (FlatSpace(n, (-np.inf,) * n, (np.inf,) * n, (), tuple("xy")[:n]) for n in (2, 1))
    return Episodes(
        np.eye(2, dtype=np.float32)[rng.integers(0, 2, size)],
        rng.normal(size=(size, 1)).astype(np.float32),
        np.zeros(size),
        at == 0,
        at == length,
        np.zeros(size, bool),
        **dict(zip(("observation_space", "action_space"), spaces, strict=True)),
    )


EPISODES = episodes()
MODELS = {name: lambda key, make=make: Markov(make(key)) for name, make in TRANSITIONS.items()}


@pytest.mark.parametrize("name", [*MODELS, *WORLD_MODELS])
def test_every_model_is_scored(name):
    model = (MODELS | WORLD_MODELS)[name](jax.random.key(3))
    options = {
        "metrics": ("nll", "energy"),
        "num_particles": 4,
        "num_starts": 12,
    }  # quick to compile
    card = evaluate(model, EPISODES, key=KEY, horizons=(1,), **options)
    energy = card.get("energy")
    assert np.isfinite([energy.value, energy.low, energy.high]).all()
    scored = {s.metric for s in card.scores if s.of == "model"}
    assert ("nll" in scored) != (name in WITHOUT_DENSITY), card.skipped
    assert all(text.startswith("nll") for text in card.skipped), card.skipped
    again = Scorecard.from_json(card.to_json())
    assert str(again) == str(card)
