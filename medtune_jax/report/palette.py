"""Which colour and line style says what, on every figure of the page.

Okabe and Ito's palette and line styles that repeat it, for readers who do not see the colours; ordered maps for what
has an order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

from medtune_jax.report.evidence import Evidence
from medtune_jax.report.runs import StudyResults

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
TEXT, AXES, GRID, FAINT = "#222222", "#666666", "#e4e4e4", "#bbbbbb"

Dashes = str | tuple[int, tuple[float, ...]]


class Line(NamedTuple):
    """colour and ls, as matplotlib takes them."""

    colour: str
    style: Dashes


ROLES = {
    "recommended": Line(BLUE, "-"),
    "deepest": Line(GREEN, (0, (6, 2))),
    "shallowest": Line(ORANGE, (0, (2, 1.5))),
    "hand-crafted": Line(BLACK, ":"),
}
_SCRATCH = (
    Line(VERMILION, "-."),
    Line(PURPLE, (0, (4, 1, 1, 1))),
    Line(SKY, (0, (1, 1))),
    Line(AXES, (0, (3, 1, 1, 1, 1, 1))),
)
_WAYS = (
    Line(PURPLE, "-"),
    Line(SKY, "-"),
    Line(BLACK, (0, (5, 1))),
    Line(AXES, (0, (8, 2, 1, 2))),
)


class Part(NamedTuple):
    """A depth worth a curve: its name, its label with the parts it plays, and its line."""

    depth: str
    label: str
    line: Line


def cast(evidence: Evidence, fraction: float) -> list[Part]:
    """Recommended, shallowest and deepest depth, each once, then every other way and initialisation from scratch."""
    study, answer = evidence.study, evidence.recommendations.get(fraction)
    roles: dict[str, list[str]] = {}
    for role, depth in (
        ("recommended", answer.depth if answer else None),
        ("shallowest", evidence.shallowest(fraction)),
        ("deepest", evidence.deepest(fraction)),
    ):
        if depth is not None:
            roles.setdefault(depth, []).append(role)
    tuned = [
        Part(depth, f"{study.label(depth)} ({', '.join(played)})", ROLES[played[0]])
        for depth, played in roles.items()
    ]
    beside = {d: line for d, line in _apart(study).items() if evidence.has(d, fraction)}
    return tuned + [Part(d, study.label(d), line) for d, line in beside.items()]


def _apart(study: StudyResults) -> dict[str, Line]:
    """Of what is no depth."""
    groups = ((study.way_depths, _WAYS), (study.scratch_depths, _SCRATCH))
    return {d: lines[i % len(lines)] for names, lines in groups for i, d in enumerate(names)}


def depths(study: StudyResults) -> dict[str, Line]:
    """A line for every depth: an ordered map from shallow to deep; other ways and scratch stand apart."""
    places = np.linspace(0.9, 0.1, max(len(study.tuned_depths), 2))
    colours = [mpl.colors.to_hex(colour) for colour in mpl.colormaps["viridis"](places)]
    tuned = zip(study.tuned_depths, colours, strict=False)
    return {d: Line(colour, "-") for d, colour in tuned} | _apart(study)


def fractions(count: int) -> list[Any]:
    """Dark for the largest fraction; the map's palest end is left out."""
    return [mpl.colormaps["cividis"](x) for x in np.linspace(0.0, 0.85, count)]
