"""Every depth against every other one, as tables S1 to S4 of the paper's supplement: pairs.csv, and their section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence, Pair
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.merit import Merit
from medtune_jax.report.section import Section

COLUMNS = (
    *("fraction", "depth", "other", "figure"),
    *("difference", "low", "high", "p", "holm_p", "why"),
)


def write_pairs(evidence: Evidence) -> None:
    """Writes pairs.csv into the study directory: the answer's figure, then those at operating points."""
    if not evidence.cells:
        return
    rows = [
        row
        for fraction, tables in evidence.pairs.items()
        for merit, pairs in tables
        for row in _rows(fraction, merit, pairs)
    ]
    write_whole(evidence.study.directory / "pairs.csv", csv_bytes([COLUMNS, *rows]))


def _rows(fraction: float, merit: Merit, pairs: Sequence[Pair]) -> Iterator[tuple[Any, ...]]:
    for depth, other, found, p in pairs:
        values = (found.estimate, found.low, found.high, found.p, p)
        yield (fraction, depth, other, merit.title, *values, found.why)


def section(evidence: Evidence) -> Section | None:
    """A table for each figure: the depth of the row less that of the column."""
    fraction = evidence.main_fraction
    if fraction is None or len([cell for cell in evidence.cells if cell[1] == fraction]) < 3:
        return None
    tables = [_table(evidence, merit, pairs) for merit, pairs in evidence.pairs[fraction]]
    text = (
        f"Row less column, test set, {fraction_name(fraction)} of the training data, mean over the seeds that both "
        "have. Bold: a difference at p < 0.05 after Holm's correction over the pairs of the table. Counterparts of "
        "tables S1 to S4 of the paper; intervals, p and the other training-set sizes are in pairs.csv."
    )
    return Section.of(
        "Every depth against every other one", markup.paragraph(text, "note"), *tables
    )


def _table(evidence: Evidence, merit: Merit, pairs: Sequence[Pair]) -> Markup:
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
