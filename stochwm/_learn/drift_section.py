"""The section of the report that says until when the model's imagination can be trusted."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .._storage import load_metadata
from ..drift import Accuracy, Calibration, Coverage, DriftGuard, FalseAlarm
from ..envs import render_video
from .calibration_words import percent
from .futures import finite, snap
from .guards import promise_of
from .run import GUARD, Run
from .watched import Watched, has_watched, load_watched, panels_of

STEPS = (1, 5, 10)
FRAMES = 12
BLIND = (
    "What the guard cannot see: members that make the same error agree. It flags where the data "
    "were too few, not where the model as such is wrong."
)


class Findings(NamedTuple):
    """A guard, what it promises, and what it did."""

    guard: DriftGuard
    promise: FalseAlarm | Coverage | Calibration | Accuracy
    notes: dict[str, Any]
    watched: Watched


def findings(run: Run) -> Findings:
    """What `stochwm drift` kept in a run folder.

    Raises:
        StorageError: nothing is there, or it is damaged.
    """
    notes = load_metadata(run.path / GUARD)
    return Findings(run.guard(), promise_of(notes), notes, load_watched(run))


def to_text(found: Findings) -> str:
    """The table and the sentences, for a terminal."""
    lines = [f"{name:<38}{value}" for name, value in table_rows(found)]
    return "\n".join([*lines, "", *sentences(found)])


def table_rows(found: Findings) -> tuple[tuple[str, str], ...]:
    """What was promised, and what futures from test episodes did."""
    watched = found.watched
    horizon = int(watched.lasts.max())
    steps = sorted({h for h in STEPS if h < horizon} | {horizon})
    median = float(np.median(watched.longest))
    ends = " (the end)" if median == horizon else ""
    return (
        ("threshold", f"{float(found.guard.threshold):.4g}"),
        *_promised(found),
        *((f"trusted for {_plural(h)}", percent(watched.share_at(h))) for h in steps),
        ("median trusted horizon", f"{median:g} of {_plural(horizon)}{ends}"),
    )


def _promised(found: Findings) -> tuple[tuple[str, str], ...]:
    promise = found.promise
    if isinstance(promise, Calibration):
        return tuple(_two_sided(found, promise))
    if isinstance(promise, FalseAlarm):
        flagged = f"flagged within {_plural(promise.horizon)}"
        promised, measured = promise.rate, percent(found.watched.flagged)
    elif isinstance(promise, Accuracy):
        flagged = "trusted longer than near"
        promised, measured = promise.rate, percent(found.notes["too_long"])
    else:
        flagged = f"outside {percent(promise.level)} regions"
        promised, measured = promise.allowed, _share(found.notes["outside"])
    return (
        (f"{flagged}, promised", f"at most {100 * promised:.3g} %"),
        (f"{flagged}, found", measured),
    )


def _two_sided(found: Findings, promise: Calibration) -> Iterator[tuple[str, str]]:
    """Two rows a level: between which shares, and what was found."""
    for level, share in zip(promise.levels, found.notes["inside"], strict=True):
        inside = f"inside {percent(level)} regions"
        yield f"{inside}, promised", _between(promise, level)
        yield f"{inside}, found", _share(share)


def _between(promise: Calibration, level: float) -> str:
    low, high = max(level - promise.risk, 0.0), min(level + promise.risk, 1.0)
    return f"{100 * low:.3g} to {100 * high:.3g} %"


def sentences(found: Findings) -> list[str]:
    """What the guard does, promises and cannot see, in plain words."""
    promise, notes = found.promise, found.notes
    sums = ", added up over the steps so far" if notes["cumulative"] else ""
    unit = "" if notes["scaled"] is None else ", in units of the spread of the validation episodes"
    said = [
        f"The guard watches how far the members' predicted means are apart: their variance{unit}"
        f"{sums}. Above {float(found.guard.threshold):.3g} it trusts a future no longer. The "
        f"threshold was fitted to {notes['episodes']} validation episodes."
    ]
    if np.isneginf(found.guard.threshold):
        said.append(
            "No threshold keeps the promise on these episodes, so nothing is trusted: the model is "
            "wrong more often than that, or the episodes are too few to show that it is not."
        )
    if isinstance(promise, FalseAlarm):
        said.append(
            f"Promised: of futures from a random moment of a new episode of the same kind, under "
            f"the actions taken there, at most {100 * promise.rate:.3g} % are flagged within "
            f"{_plural(promise.horizon)}. So a flag says: the model does not know this situation."
        )
    elif isinstance(promise, Calibration):
        each = " and ".join(
            f"inside its {percent(level)} region {_between(promise, level)} of the time"
            for level in promise.levels
        )
        said += [
            f"Promised, with a confidence of {percent(promise.confidence)}: over the trusted part "
            f"of a future, what really comes is {each}.",
            "So a trusted cloud is neither too narrow nor too wide; how sharp it could be, the "
            "promise does not say.",
        ]
    elif isinstance(promise, Accuracy):
        said.append(
            f"Promised: of futures from a random moment of a new episode of the same kind, at most "
            f"{100 * promise.rate:.3g} % are trusted after what really comes is further than "
            f"{promise.tolerance:g} from the imagined cloud, in energy distance and standard "
            "deviations of the validation episodes. Where the world is random, its own spread is a "
            "part of that distance."
        )
    else:
        said.append(
            f"Promised, with a confidence of {percent(promise.confidence)}: over the "
            "trusted part of a future, what really comes is outside the model's "
            f"{percent(promise.level)} region at most "
            f"{100 * promise.allowed:.3g} % of the time."
        )
    return [*said, BLIND, *notes["notes"]]


def drift_sections(run: Run) -> list[Any]:
    """The section, where `stochwm drift` was run; else none."""
    from ..report import Section, Table

    if not has_watched(run):
        return []
    found = findings(run)
    caption = "Futures from one random start of each test episode, under its recorded actions."
    table = Table(("", "value"), table_rows(found), caption)
    figures = (
        *_of_horizons(found.watched),
        *_of_ribbons(run, found.watched),
        *_of_dream(run, found),
    )
    title = "Until when can it be trusted?"
    return [Section(title, tuple(sentences(found)), tuple(figures), table)]


def _of_horizons(watched: Watched) -> list[tuple[Any, str]]:
    from ..report import trusted_horizon_histogram

    steps = int(watched.lasts.max())
    number, starts = len(watched.longest), len(watched.lasts)
    some = f", of {number} of {starts} starts: other episodes end before" if number < starts else ""
    figure = trusted_horizon_histogram({"model": watched.longest.ravel()}, length=steps)
    return [(figure, f"How many of {_plural(steps)} were trusted{some}.")]


def _of_ribbons(run: Run, watched: Watched) -> list[tuple[Any, str]]:
    from ..report import uncertainty_ribbons

    episodes = run.episodes
    space, names = episodes.observation_space, run.state_names(episodes)
    blocks = dict(space.groups)
    names = [space.names[i].split("=")[0] if i in blocks else names[i] for i in panels_of(space)[0]]
    kinds = finite(watched.epistemic), finite(watched.aleatoric)
    figure = uncertainty_ribbons(*kinds, names=names)
    caption = (
        "Uncertainty of each next prediction along futures that nobody cut: where the members "
        "disagree (epistemic), and the chance that all of them predict (aleatoric)."
    )
    return [(figure, caption)]


def _of_dream(run: Run, found: Findings) -> list[tuple[Any, str]]:
    """Frames of the future that was cut first, where the world can be drawn."""
    from ..report import filmstrip

    states, trusted = found.watched.dream, int(found.watched.dream_trusted)
    last = len(states) - 1
    if run.world is None or trusted == last or not np.isfinite(states).all():
        return []
    shown = np.unique(np.linspace(0, last, min(FRAMES, last + 1)).round().astype(int))
    frames = render_video(run.world, snap(states, run.episodes.observation_space)[shown])
    captions = ["start", *(f"step {i}" for i in shown[1:])]
    figure = filmstrip(list(frames), captions, trusted=int((shown <= trusted).sum()))
    return [(figure, f"The dream that was cut first, after {_plural(trusted)}, as it went on.")]


def _share(part: float | None) -> str:
    return "nothing is trusted" if part is None else percent(part)


def _plural(steps: int) -> str:
    return f"{steps} step{'s'[: steps != 1]}"
