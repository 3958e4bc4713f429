"""Which colour and line style says what, on every figure of the page.

Okabe and Ito's palette and line styles that repeat it, for readers who do not see the colours; ordered maps for what
has an order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import StudyResults

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
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


class Part(NamedTuple):
    """A depth worth a curve: its name, its label with the parts it plays, and its line."""

    depth: str
    label: str
    line: Line


def cast(evidence: Evidence, fraction: float) -> list[Part]:
    """Recommended, shallowest and deepest depth, each once, then every initialisation from scratch."""
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
    fresh = [d for d in study.scratch_depths if evidence.has(d, fraction)]
    return tuned + [Part(d, study.label(d), scratch(study, d)) for d in fresh]


def scratch(study: StudyResults, depth: str) -> Line:
    return _SCRATCH[study.scratch_depths.index(depth) % len(_SCRATCH)]


def depths(study: StudyResults) -> dict[str, Line]:
    """A line for every depth: an ordered map from shallow to deep; scratch stands apart."""
    places = np.linspace(0.9, 0.1, max(len(study.tuned_depths), 2))
    colours = [mpl.colors.to_hex(colour) for colour in mpl.colormaps["viridis"](places)]
    tuned = zip(study.tuned_depths, colours, strict=False)
    return {d: Line(colour, "-") for d, colour in tuned} | {
        d: scratch(study, d) for d in study.scratch_depths
    }


def fractions(count: int) -> list[Any]:
    """Dark for the largest fraction; the map's palest end is left out."""
    return [mpl.colormaps["cividis"](x) for x in np.linspace(0.0, 0.85, count)]
