"""Every depth against every other one, as tables S1 to S4 of the paper's supplement: pairs.csv, and their section."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

from markupsafe import Markup

from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.merit import Merit
from medtune_jax.report.section import Section

COLUMNS = (
    *("fraction", "depth", "other", "figure"),
    *("difference", "low", "high", "p", "holm_p", "why"),
)


class Pair(NamedTuple):
    """One depth's figure less that of another, deeper one. holm_p: corrected over all pairs of the figure."""

    depth: str
    other: str
    difference: Estimate
    holm_p: float | None


def all_pairs(evidence: Evidence, merit: Merit, fraction: float) -> list[Pair]:
    """Of the depths that have results at a fraction, shallow to deep."""
    depths = [depth for depth, own in evidence.cells if own == fraction]
    pairs = list(combinations(depths, 2))
    found = [merit.minus((one, fraction), (other, fraction)) for one, other in pairs]
    corrected = holm([difference.p for difference in found])
    return [Pair(*pair, d, p) for pair, d, p in zip(pairs, found, corrected, strict=True)]


def write_pairs(evidence: Evidence) -> None:
    """Writes pairs.csv into the study directory: the answer's figure, then those at operating points."""
    if not evidence.cells:
        return
    rows = [
        row
        for fraction in evidence.study.fractions
        for merit in (evidence.merit, *evidence.points)
        for row in _rows(evidence, merit, fraction)
    ]
    write_whole(evidence.study.directory / "pairs.csv", csv_bytes([COLUMNS, *rows]))


def _rows(evidence: Evidence, merit: Merit, fraction: float) -> Iterator[tuple[Any, ...]]:
    for depth, other, found, p in all_pairs(evidence, merit, fraction):
        values = (found.estimate, found.low, found.high, found.p, p)
        yield (fraction, depth, other, merit.title, *values, found.why)


def section(evidence: Evidence) -> Section | None:
    """A table for each figure: the depth of the row less that of the column."""
    fraction = evidence.main_fraction
    if fraction is None or len([cell for cell in evidence.cells if cell[1] == fraction]) < 3:
        return None
    tables = [_table(evidence, merit, fraction) for merit in (evidence.merit, *evidence.points)]
    text = (
        f"Row less column, test set, {fraction_name(fraction)} of the training data, mean over the seeds that both "
        "have. Bold: a difference at p < 0.05 after Holm's correction over the pairs of the table. Counterparts of "
        "tables S1 to S4 of the paper; intervals, p and the other training-set sizes are in pairs.csv."
    )
    return Section.of(
        "Every depth against every other one", markup.paragraph(text, "note"), *tables
    )


def _table(evidence: Evidence, merit: Merit, fraction: float) -> Markup:
    pairs = all_pairs(evidence, merit, fraction)
    known = {(pair.depth, pair.other): pair for pair in pairs}
    rows, columns = (list(dict.fromkeys(side)) for side in list(zip(*pairs, strict=True))[:2])
    label = evidence.study.label
    head = ["", *(Markup("<span>{}</span>").format(label(depth)) for depth in columns)]
    body = [
        (label(row), *(_cell(merit, known.get((row, column))) for column in columns))
        for row in rows
    ]
    better = ", less is better" if merit.sign < 0 else ""
    unit = f" ({merit.unit}{better})" if merit.unit else ""
    table = markup.table(head, body, "pairs numbers")
    note = markup.lacking((pair.difference for pair in pairs), tested=True)
    title = merit.title[0].upper() + merit.title[1:]
    return markup.details(f"{title}{unit}", markup.join((table, note)))


def _cell(merit: Merit, pair: Pair | None) -> Markup:
    if pair is None:
        return Markup("")
    if pair.difference.estimate is None:
        return Markup("–")
    text = f"{pair.difference.estimate:+.{merit.digits}f}"
    clear = pair.holm_p is not None and pair.holm_p < 0.05
    return Markup("<strong>{}</strong>" if clear else "{}").format(text)
