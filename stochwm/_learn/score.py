"""Scores of a run: both ensembles, persistence, and the law where it is known."""

import math
from typing import Any

import jax
import numpy as np

from ..calibration import Scorecard, compare, evaluate, mode_report
from ..data import Episodes, fit_standardiser
from .config import LearnConfig
from .run import Run
from .worlds import bundled_world

MODE_POINTS = 200
MODE_TOLERANCE = 0.25  # in standard deviations of the change of state


def score(run: Run, parts: dict[str, Episodes]) -> dict[str, Any]:
    """Score cards by model, modes against the law, and what it all means, JSON-able."""
    test, world = parts["test"], run.world
    recipes = run.recipes(parts["train"])
    common = {"key": jax.random.key(run.config.seed), "horizons": run.config.horizons}
    common["scale"] = spread_of(parts["train"])
    models = {name: run.model(name) for name in recipes}

    def card(name: str, law: Any = None) -> Scorecard:
        recipe = recipes[name]
        options = common | {"noise": recipe.noise, "smoothed": recipe.smoothed, "law": law}
        return evaluate(models[name], test, **options).shifted("nll", recipe.nll_shift)

    learner = card("model", law=world)
    cards = {"model": learner.only("model"), "baseline": card("baseline").only("model")}
    beside = [of for of in ("law", "persistence") if of in learner.sources]
    cards |= {of: learner.only(of) for of in beside}
    labels = {name: recipe.label for name, recipe in recipes.items()}
    labels |= {"law": "true law", "persistence": "persistence"}
    modes = {} if world is None else _modes(run, models, world, parts)
    return {
        "labels": labels,
        "cards": {name: card.to_json() for name, card in cards.items()},
        "modes": modes,
        "sentences": sentences(cards, labels, modes) + _about_hidden(run.config),
    }


def _modes(run: Run, models: dict, world: Any, parts: dict[str, Episodes]) -> dict[str, Any]:
    rows = parts["test"].transitions()
    picked = np.linspace(0, len(rows) - 1, min(MODE_POINTS, len(rows))).astype(int)
    train = parts["train"].transitions()
    change = np.asarray(fit_standardiser(train.next_state - train.state).scale)
    reports = {}
    for name, model in models.items():
        try:
            reports[name] = mode_report(
                model.transition,
                world.transition,
                rows.state[picked],
                rows.action[picked],
                tolerance=MODE_TOLERANCE * change,
                key=jax.random.key(run.config.seed),
            )._asdict()
        except NotImplementedError as error:
            reports[name] = {"skipped": str(error)}
    return reports


def spread_of(train: Episodes) -> np.ndarray:
    """Standard deviation of each dimension, `[state]`, 1 where it is constant: a unit of scores."""
    return np.asarray(fit_standardiser(train.observation).scale)


def sentences(cards: dict[str, Scorecard], labels: dict[str, str], modes: dict) -> list[str]:
    """What the numbers mean, in plain words."""
    said = []
    try:
        model = cards["model"].get("nll")
        pairs = compare(cards["baseline"], cards["model"], "nll")
    except KeyError:
        return ["The one-step densities could not be scored; see what was skipped."]
    gain, within = pairs.difference, f"95 % interval {pairs.low:.2f} to {pairs.high:.2f}"
    if math.isnan(pairs.low):
        better, worse = (labels["model"], "Gaussian")[:: 1 if gain > 0 else -1]
        said.append(
            f"The {better} ensemble predicts the held-out episode better than the {worse} one by "
            f"{abs(gain):.2f} nats a step; a single episode has no interval, so collect more steps."
        )
    elif pairs.low > 0:
        said.append(
            f"The {labels['model']} ensemble predicts held-out next states better than the "
            f"Gaussian ensemble of the same size by {gain:.2f} nats a step ({within}): it finds "
            f"what really happened {_times(gain)} as probable."
        )
    elif pairs.high < 0:
        within = f"95 % interval {-pairs.high:.2f} to {-pairs.low:.2f}"
        said.append(
            f"The Gaussian ensemble predicts held-out next states better by {-gain:.2f} nats a "
            f"step ({within}): here one mode is enough, or the data are too few for more."
        )
    else:
        said.append(
            f"The {labels['model']} and the Gaussian ensemble predict held-out next states about "
            f"equally well: the difference is {gain:.2f} nats a step, {within}."
        )
    if "law" in cards and cards["law"].series("nll")["value"]:
        excess = model.value - cards["law"].get("nll").value
        said.append(
            f"The {labels['model']} ensemble is {excess:.3f} nats a step away from the true law, "
            "the best that a model can do."
        )
    if "recall" in modes.get("model", {}):
        found = modes["model"]
        said.append(
            f"It finds {100 * found['recall']:.0f} % of the law's modes, and its weights of them "
            f"are off by {found['weight_error']:.3f} on average."
        )
    return said + _about_futures(cards)


def _about_futures(cards: dict[str, Scorecard]) -> list[str]:
    horizons = cards["model"].series("energy")["horizon"]
    if not horizons:
        return []
    last = int(horizons[-1])
    ours = cards["model"].get("energy", last).value
    unchanged = cards["persistence"].get("energy", last).value
    covers = cards["model"].get("coverage90", last).value
    worse = "better" if ours < unchanged else "worse"
    return [
        f"{last} steps ahead, open loop, its futures score {ours:.3f} (energy score, lower is "
        f"better), {worse} than assuming that nothing changes ({unchanged:.3f}); its 90 % "
        f"intervals hold {100 * covers:.0f} % of what really happened."
    ]


def _about_hidden(config: LearnConfig) -> list[str]:
    world = bundled_world(config)
    if world is None or world.fully_observed:
        return []
    return [
        "This world hides a part of its state: what is observed next depends on the whole past, so "
        "no law is compared, and a model that sees single observations cannot be the best."
    ]


def _times(gain: float) -> str:
    """How many times as probable that many nats are."""
    ratio = math.exp(min(gain, 100.0))  # of more than 700 it would overflow
    if ratio > 1e6:
        return "more than a million times"
    return f"{ratio:.1f} times" if ratio < 100 else f"{ratio:,.0f} times"
