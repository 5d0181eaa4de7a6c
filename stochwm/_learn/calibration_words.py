"""What a diagnosis says, in plain words and in tables."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..calibration import Diagnosis, HorizonDiagnosis, Reliability, reliability

LEVEL = 0.9
P_VALUE = 0.01
VISIBLE = 0.005  # what is off by less is the same number where it is printed
IN_TABLE = ("pit", "density", "copula")  # tests: more columns would not fit a page
_LOOKS_AT = {
    "pit": "the single dimensions",
    "average": "how high the vector lies",
    "band depth": "how central it is",
    "density": "how dense the particles are around it",
    "copula": "how the dimensions go together",
}


def sentences(found: Diagnosis, noise: np.ndarray | None = None) -> list[str]:
    """What is seen: coverage first, then what the tests say about shape and dependence.

    Args:
        found: of a model on test episodes.
        noise: standard deviation of the target noise that the model's particles carry, if any.
    """
    if not found.horizons:
        return ["Nothing could be diagnosed: the held-out episodes are too few or too short."]
    said = [*_about_coverage(found), *_about_tests(found)]
    if noise is not None and noise.any():
        widths = ", ".join(f"{width:g}" for width in np.unique(noise[noise > 0]))
        said.append(
            f"The model learned next states with noise of standard deviation {widths} on them. Its "
            "particles carry that noise, and what happened does not: where a dimension hardly "
            "varies, its predictions are too wide for this reason alone."
        )
    return said


def regions(row: HorizonDiagnosis) -> Reliability:
    """Coverage of highest-density regions of the joint state, by the rank of the density."""
    return reliability(1 - row.values["density"], row.episode)


def at_level(curve: Reliability, level: float) -> tuple[float, float, float]:
    """Observed share and its interval at one of the levels of the curve."""
    i = int(np.abs(curve.level - level).argmin())
    return float(curve.observed[i]), float(curve.low[i]), float(curve.high[i])


def verdict(curve: Reliability, level: float = LEVEL) -> str:
    """Whether regions of that mass hold too little, too much, or what they should."""
    _, low, high = at_level(curve, level)
    if math.isnan(low):
        return "not known: one episode"
    if high < level - VISIBLE:
        return "too narrow"
    return "too wide" if low > level + VISIBLE else "as they should be"


def share(curve: Reliability, level: float) -> str:
    """The observed share at a level with its interval, in percent."""
    observed, low, high = at_level(curve, level)
    interval = "" if math.isnan(low) else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{percent(observed)}{interval}"


def percent(part: float) -> str:
    """A share as whole percent."""
    return f"{100 * part:.0f} %"


def steps(number: int) -> str:
    """A number of steps ahead, in words."""
    return f"{number} step{'s'[: number != 1]} ahead"


def _about_coverage(found: Diagnosis) -> list[str]:
    wrong = [
        f"The {percent(LEVEL)} intervals held {_listed(rows)}: {kind}."
        for kind in ("too narrow", "too wide")
        if (rows := [row for row in found.horizons if verdict(row.coverage) == kind])
    ]
    if wrong:
        return [" ".join(wrong)]
    shares = _listed(found.horizons)
    number = _episodes(found)
    if number < 2:
        return [
            f"The {percent(LEVEL)} intervals held {shares}. A single test episode gives no "
            "intervals and no tests: collect more steps."
        ]
    return [
        f"The {percent(LEVEL)} intervals held what they should at every horizon, as far as "
        f"{number} test episodes can tell: {shares}."
    ]


def _listed(rows: Sequence[HorizonDiagnosis]) -> str:
    shares = [percent(at_level(row.coverage, LEVEL)[0]) for row in rows]
    rest = [f"{x} {steps(r.horizon)}" for x, r in zip(shares[1:], rows[1:], strict=True)]
    return ", ".join([f"{shares[0]} of what happened {steps(rows[0].horizon)}", *rest])


def _about_tests(found: Diagnosis) -> list[str]:
    number = _episodes(found)
    if number < 2:
        return []
    if 2.0 ** (1 - number) > P_VALUE:
        return [
            f"{number} test episodes are too few for the tests of shape: no p-value can fall below "
            f"{2.0 ** (1 - number):.3f}. Look at the histograms, or collect more steps."
        ]
    said = []
    for row in found.horizons:
        small = [name for name in shown_tests(row) if p_value(row, name) < P_VALUE]
        if small:
            # Ranks of the whole vector repeat what the single dimensions say already.
            what = " and ".join(_LOOKS_AT[x] for x in (["pit"] if "pit" in small else small))
            said.append(f"{steps(row.horizon)} in {what}")
    if not said:
        return [f"No test of the shape rejects the predictions: all p are at least {P_VALUE}."]
    return [f"The shape is not right (p below {P_VALUE}): {'; '.join(said)}."]


def _episodes(found: Diagnosis) -> int:
    return min(len(np.unique(row.episode)) for row in found.horizons)


def shown_tests(row: HorizonDiagnosis) -> list[str]:
    """The tests that say something: ranks of vectors of one dimension repeat its PIT."""
    return list(_LOOKS_AT) if row.values["pit"].shape[1] > 1 else ["pit", "density"]


def p_value(row: HorizonDiagnosis, name: str) -> float:
    """Of the Cramer-von Mises test of one of the values of the row."""
    return row.tests[name].cramer_von_mises.p_value


def table_rows(found: Diagnosis) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """Headings, and a row a horizon."""
    tests = [name for name in IN_TABLE if found.horizons and name in shown_tests(found.horizons[0])]
    heads = (
        "steps",
        "50 % held",
        "90 % held",
        "90 % regions",
        "90 % are",
        *(f"p {name if name != 'pit' else 'PIT'}" for name in tests),
    )
    rows = tuple(
        (
            row.horizon,
            share(row.coverage, 0.5),
            share(row.coverage, LEVEL),
            share(regions(row), LEVEL),
            verdict(row.coverage),
            *(p_value(row, name) for name in tests),
        )
        for row in found.horizons
    )
    return heads, rows
