"""pairs.csv: every depth against every other one, as the tables of the paper's supplement have them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from medtune_jax.evaluation.intervals import holm
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report.evidence import Evidence

COLUMNS = (
    *("fraction", "depth", "other", "figure"),
    *("difference", "low", "high", "p", "holm_p", "why"),
)


def write_pairs(evidence: Evidence) -> None:
    """Writes pairs.csv into the study directory, shallow to deep; Holm's correction is over a fraction's pairs."""
    if not evidence.cells:
        return
    rows = [row for fraction in evidence.study.fractions for row in _rows(evidence, fraction)]
    write_whole(evidence.study.directory / "pairs.csv", csv_bytes([COLUMNS, *rows]))


def _rows(evidence: Evidence, fraction: float) -> Iterator[tuple[Any, ...]]:
    merit = evidence.merit
    depths = [depth for depth, own in evidence.cells if own == fraction]
    pairs = list(combinations(depths, 2))
    found = [merit.minus((one, fraction), (other, fraction)) for one, other in pairs]
    corrected = holm([difference.p for difference in found])
    for (one, other), difference, p in zip(pairs, found, corrected, strict=True):
        values = (difference.estimate, difference.low, difference.high, difference.p, p)
        yield (fraction, one, other, merit.title, *values, difference.why)
