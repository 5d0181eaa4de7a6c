"""The report of a run: one self-contained page."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration import Scorecard
from ..calibration.metrics import METRICS
from .calibration_section import calibration_sections
from .drift_section import drift_sections
from .futures import finite, load_futures, snap
from .repair import score_cell
from .run import Run

SHOWN = ("nll", "energy", "crps", "coverage90")
UNIT = "training standard deviations"
NEEDS = {name: METRICS[name].says.replace("units of scale", UNIT) for name in SHOWN}


def write_report(run: Run) -> Path:
    """Write `report.html` from what the run folder holds, and return its path.

    Raises:
        StorageError: the run did not get as far as its futures.
        ImportError: matplotlib is missing (extra `plots`).
    """
    from ..report import write_html

    metrics, cards, futures = run.metrics, run.cards, load_futures(run)
    episodes = run.episodes
    names, labels = run.state_names(episodes), metrics["labels"]
    recipe = run.recipes(run.split(episodes)["train"])["model"]
    noise = None if recipe.smoothed else recipe.noise
    discrete = episodes.observation_space.discrete
    if discrete:
        futures = {name: snap(x, episodes.observation_space) for name, x in futures.items()}
    path = run.path / "report.html"
    write_html(
        path,
        title=f"A world model of {run.config.env_id}",
        subtitle=_subtitle(run, episodes, labels),
        sections=[
            _summary(metrics, cards, labels),
            _one_step(futures, labels, names, discrete),
            _fans(futures, labels, names, discrete),
            _by_horizon(cards, labels),
            *calibration_sections(run, {} if discrete else futures, labels, names, noise),
            *drift_sections(run),
            _training(metrics["histories"]),
            _setup(run),
        ],
    )
    return path


def _subtitle(run: Run, episodes: Any, labels: dict[str, str]) -> str:
    return (
        f"{run.config.members} x {labels['model']} against {run.config.members} x Gaussian, "
        f"{episodes.num_transitions:,} transitions in {episodes.num_episodes:,} episodes, "
        f"seed {run.config.seed}"
    )


def _summary(metrics: dict, cards: dict[str, Scorecard], labels: dict[str, str]) -> Any:
    from ..report import Section, Table

    keys = [(s.metric, s.horizon) for m in SHOWN for s in cards["model"].scores if s.metric == m]
    rows = [
        [metric, horizon, *(score_cell(card, metric, horizon) for card in cards.values())]
        for metric, horizon in keys
    ]
    table = Table(
        columns=("metric", "steps ahead", *(labels[name] for name in cards)),
        rows=tuple(map(tuple, rows)),
        caption="Means over held-out test episodes, with 95 % intervals by episode bootstrap. "
        + "; ".join(f"{name}: {text}" for name, text in NEEDS.items())
        + ".",
    )
    skipped: dict[str, list[str]] = {}
    for name, card in cards.items():
        for reason in card.skipped:
            skipped.setdefault(reason, []).append(labels[name])
    text = list(metrics["sentences"])
    text += [f"Not scored for {', '.join(who)}: {reason}." for reason, who in skipped.items()]
    return Section("What the numbers say", tuple(text), (), table)


def _one_step(futures: dict, labels: dict[str, str], names: list[str], discrete: bool) -> Any:
    from ..report import Section, one_step_scatter, outcome_bars

    def sources(prefix: str, order: tuple[str, ...]) -> dict[str, np.ndarray]:
        shown = labels | {"real": "real", "law": "true law"}
        return {shown[k]: futures[f"{prefix}_{k}"] for k in order if f"{prefix}_{k}" in futures}

    draw = outcome_bars if discrete else one_step_scatter
    figures = []
    if "at_law" in futures or discrete:
        drawn = sources("at", ("law", "model", "baseline"))
        figures.append(
            (draw(drawn, names=names), "1,000 draws of the next state from one held-out state.")
        )
    changes = [f"change of {name}" for name in names]
    if not discrete:
        drawn = sources("step", ("real", "model", "baseline"))
        figures.append(
            (
                one_step_scatter(drawn, names=changes),
                "One-step changes on held-out steps: what happened, and one draw for each step.",
            )
        )
    text = (
        "Where the future is multimodal, the real next states fall into clumps. A model that knows "
        "them draws from each clump; a Gaussian must also fill the space between them.",
    )
    return Section("One step ahead: the modes", text, tuple(figures), None)


def _fans(futures: dict, labels: dict[str, str], names: list[str], discrete: bool) -> Any:
    from ..report import Section, fan_chart, outcome_fan

    draw = outcome_fan if discrete else fan_chart
    figures = []
    for i in range(len(futures["start"])):
        raw = {labels[k]: futures[k][i] for k in ("model", "baseline")}
        imagined = {label: finite(cloud) for label, cloud in raw.items()}
        exploded = [label for label, cloud in raw.items() if not np.isfinite(cloud).all()]
        others = len(futures["real"][i]) - 1
        caption = (
            f"Held-out start {i + 1}: {futures['model'].shape[1]:,} imagined futures under the "
            "recorded actions (shading: their density) and what really followed (lines"
            + (f": the recorded future and {others} more of the true law)." if others else ").")
        )
        if exploded:
            caption += f" Some of the {' and '.join(exploded)} ensemble became infinite, and end."
        figures.append((draw(imagined, futures["real"][i], names=names), caption))
    text = ("Both models imagine open loop: they see the first state and the actions, no more.",)
    return Section("Many steps ahead: imagined against real", text, tuple(figures), None)


def _by_horizon(cards: dict[str, Scorecard], labels: dict[str, str]) -> Any:
    from ..report import Section, score_by_horizon

    figures = []
    for metric in ("energy", "coverage90"):
        series = {labels[k]: _known(card.series(metric)) for k, card in cards.items()}
        series = {label: values for label, values in series.items() if values["horizon"]}
        if series:
            figures.append((score_by_horizon(series, ylabel=metric), NEEDS[metric]))
    return Section("Scores by horizon", (), tuple(figures), None)


def _known(series: dict[str, list[int | float]]) -> dict[str, list[int | float]]:
    """Without the interval where a single episode leaves none."""
    if all(math.isnan(low) for low in series["low"]):
        return {name: series[name] for name in ("horizon", "value")}
    return series


def _training(histories: dict[str, list[dict]]) -> Any:
    from ..report import Section, learning_curves

    figure = learning_curves(histories)
    caption = "Means over members; validation episodes choose the parameters that are kept."
    return Section("Training", (), ((figure, caption),), None)


def _setup(run: Run) -> Any:
    import dataclasses

    from ..report import Section, Table

    choices = dataclasses.asdict(run.config)
    rows = tuple((name, str(value)) for name, value in choices.items())
    table = Table(
        columns=("choice", "value"),
        rows=rows,
        caption="The same choices and seed give the same run on the same machine.",
    )
    return Section("How it was made", (), (), table)
