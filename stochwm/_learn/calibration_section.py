"""The sections of the report that ask whether the predictions are right, and repaired."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..calibration import Diagnosis, HorizonDiagnosis, central_level, consistency_band
from ..calibration import pit_histogram as histogram
from .calibration_words import sentences, shown_tests, steps, table_rows
from .diagnosis import has_diagnosis, load_diagnosis
from .repair import Repair, has_repair, load_repair
from .run import REPAIRED, Run

SHOWN = 3  # horizons with histograms


def calibration_sections(
    run: Run,
    futures: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    names: list[str],
    noise: np.ndarray | None,
) -> list[Any]:
    """One section of the model as it was trained, and one of its repair where there is one.

    Args:
        run: whose diagnoses are kept; none where it has none.
        futures: see `imagine_futures`; none where states have no regions to draw.
        labels: what `model` and `baseline` are called.
        names: of the state's dimensions.
        noise: that the model's particles carry, `[state]`, or None.
    """
    from ..report import Section, Table

    if not has_diagnosis(run, "model"):
        return []
    found = load_diagnosis(run, "model")
    heads, rows = table_rows(found)
    caption = (
        "Particles (open loop, from starts all over the test episodes) against what really "
        "followed on test episodes. Intervals: the central ones of each dimension. Regions: those "
        "of highest density of the joint state. In brackets, 95 % intervals by episode bootstrap. "
        "p: that a calibrated model is as far from uniform, for the PIT of single dimensions and "
        "for ranks of the joint state; whole episodes are resampled."
    )
    text = sentences(found, noise) + [f"Not diagnosed: {reason}." for reason in found.skipped]
    figures: list[tuple] = []
    if found.horizons:
        figures += _of_coverage(found, labels["model"]) + _of_ranks(found, names)
        figures += _of_regions(found, futures, labels, names)
    parts = [Section("Is it calibrated?", tuple(text), tuple(figures), Table(heads, rows, caption))]
    if has_repair(run):
        parts.append(_repaired(load_repair(run), found, load_diagnosis(run, REPAIRED), names))
    return parts


def _of_coverage(found: Diagnosis, label: str) -> list[tuple[Any, str]]:
    from ..report import coverage_by_horizon, reliability_diagram

    curves = {row.horizon: row.coverage for row in found.horizons}
    rows = _shown(found)
    bands = {
        title: consistency_band(central_level(row.values["pit"]), row.episode)
        for title, row in rows.items()
    }
    panels = {title: {label: row.coverage} for title, row in rows.items()}
    return [
        (
            coverage_by_horizon({label: curves}),
            "How much of what happened lay in the central 50 % and 90 % intervals.",
        ),
        (
            reliability_diagram(panels, bands=bands),
            "Central intervals of every mass. Above the diagonal they are too wide.",
        ),
    ]


def _of_ranks(found: Diagnosis, names: list[str]) -> list[tuple[Any, str]]:
    from ..report import rank_histograms

    rows = _shown(found)
    caption = "A hill: predictions are too wide. A U: too narrow. A slope: too low or too high."
    figures = [(_pit(rows, names), caption)]
    ranks = [name for name in shown_tests(found.horizons[0]) if name != "pit"]
    if len(ranks) > 1:
        table = {
            name: {title: histogram(row.values[name], row.episode) for title, row in rows.items()}
            for name in ranks
        }
        caption = "The joint state. Low ranks of band depth or density: too narrow; high: too wide."
        figures.append((rank_histograms(table), caption))
    return figures


def _of_regions(
    found: Diagnosis,
    futures: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    names: list[str],
) -> list[tuple[Any, str]]:
    from ..report import joint_regions

    if len(names) < 2 or not futures:
        return []
    horizon = min(found.horizons[-1].horizon, futures["real"].shape[2] - 1)
    real = futures["real"][0][:, horizon]
    real = real[~np.isnan(real).any(axis=1)]
    clouds = {labels[name]: futures[name][0][:, horizon] for name in ("model", "baseline")}
    if not len(real) or any(not np.isfinite(cloud).all() for cloud in clouds.values()):
        return []
    figure = joint_regions(clouds, real, names=names)
    return [(figure, f"From the first held-out start, {steps(horizon)}: regions of particles.")]


def _shown(found: Diagnosis) -> dict[str, HorizonDiagnosis]:
    """The first, a middle and the last horizon."""
    number = len(found.horizons)
    picked = np.unique(np.linspace(0, number - 1, min(SHOWN, number)).astype(int))
    return {steps(found.horizons[i].horizon): found.horizons[i] for i in picked}


def _pit(rows: Mapping[str, HorizonDiagnosis], names: list[str]) -> Any:
    from ..report import pit_histograms

    columns = {title: histogram(row.values["pit"], row.episode) for title, row in rows.items()}
    return pit_histograms(columns, names=names)


def _repaired(repair: Repair, before: Diagnosis, after: Diagnosis, names: list[str]) -> Any:
    from ..report import Section, Table, coverage_by_horizon, score_by_horizon

    curves = {
        name: {row.horizon: row.coverage for row in found.horizons}
        for name, found in (("before", before), ("after", after))
        if found.horizons
    }
    figures = []
    if curves:
        caption = "The same starts of the same test episodes, before and after."
        figures.append((coverage_by_horizon(curves), caption))
    series = {"before": repair.before.series("energy"), "after": repair.after.series("energy")}
    series = {
        name: {k: v for k, v in columns.items() if not np.isnan(v).any()}
        for name, columns in series.items()
        if columns["horizon"]
    }
    if series:
        figure = score_by_horizon(series, ylabel="energy score")
        figures.append((figure, "Energy score of the joint state; lower is better."))
    if after.horizons:
        figures.append((_pit(_shown(after), names), "PIT values after the repair."))
    heads, rows = repair.table(before, after)
    caption = "Test episodes, with 95 % intervals by episode bootstrap."
    text = repair.sentences(before, after)
    return Section("After recalibration", tuple(text), tuple(figures), Table(heads, rows, caption))
