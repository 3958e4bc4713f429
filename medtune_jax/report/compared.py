"""Two studies on one test set, side by side: which is better, by how much, and whether chance may explain it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation import readers
from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.readers import ONE_RUN, Estimate
from medtune_jax.evaluation.scores import TestSet
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.merit import NO_SHARED_SEED, Cell, Merit
from medtune_jax.report.section import Section
from medtune_jax.report.write import ANSWER, page
from medtune_jax.words import count

_COLUMNS = (
    *("depth", "other_depth", "figure", "runs", "first", "first_low", "first_high"),
    *("other", "other_low", "other_high", "difference", "low", "high", "p", "holm_p", "why"),
)


class Row(NamedTuple):
    """A depth of the first study against one of the other, in a figure of merit, by the seeds that both have."""

    cells: tuple[Cell, Cell]
    merit: Merit
    runs: int
    first: Estimate
    other: Estimate
    difference: Estimate
    holm_p: float | None = None


class Compared(NamedTuple):
    """rows: first the depths that each study recommends, then each depth that both have."""

    first: Evidence
    other: Evidence
    rows: list[Row]


def compare(first: Evidence, other: Evidence) -> Compared:
    """Pairs the studies' recommended depths, and their common depths, at their largest training sets.

    UserError, with what differs, unless both were scored on the same cases, with the same labels and patients, and give
    their answer in the same figure; and where one has no finished tuned depth.
    """
    check_same_test_set(first, other)
    one, two = _cell(first), _cell(other)
    known = other.study.known_depths
    same = [name for name, d in first.study.known_depths.items() if known.get(name) == d]
    shared = [d for d in same if first.has(d, one[1]) and other.has(d, two[1])]
    pairs = [(one, two), *(((d, one[1]), (d, two[1])) for d in shared)]
    rows = [_row(first, other, pair) for pair in dict.fromkeys(pairs)]
    corrected = holm([row.difference.p for row in rows])
    rows = [row._replace(holm_p=p) for row, p in zip(rows, corrected, strict=True)]
    return Compared(first, other, rows)


def check_same_test_set(first: Evidence, other: Evidence) -> None:
    """UserError that names what differs."""
    one, two = first.study, other.study
    if one.directory.resolve() == two.directory.resolve():
        raise UserError(f"{one.directory} was given twice: give two studies")
    where = f"{two.directory} cannot be compared with {one.directory}"
    for study in (one, two):
        if study.test is None:
            raise UserError(f"{study.directory} has no finished run yet: run its sweep first")
    assert one.test is not None and two.test is not None
    if one.classes != two.classes:
        raise UserError(
            f"{where}: its classes are {', '.join(two.classes)}, not {', '.join(one.classes)}"
        )
    if difference := _difference(
        one.test, two.test, one.classes, (one.words.group, one.words.cases)
    ):
        raise UserError(f"{where}: {difference}. Give two studies of the same test set")
    if (one.metric.name, first.merit.title) != (two.metric.name, other.merit.title):
        titles = f"{other.metric.title} and {other.merit.title}, not {first.metric.title} and {first.merit.title}"
        raise UserError(f"{where}: its metric and the figure of its answer are {titles}")


def _difference(one: TestSet, two: TestSet, classes: Sequence[str], words: tuple[str, str]) -> str:
    """What differs, with the first case of it; empty where nothing does. Both are in the order of the names."""
    group, cases = words
    for a, b, how in ((two, one, "has more"), (one, two, "lacks some")):
        only = np.setdiff1d(a.names, b.names)
        if only.size:
            return f"its test set {how}, {count(len(only), cases)}, the first is '{only[0]}'"
    if len(one.names) != len(two.names) or not np.array_equal(one.names, two.names):
        return f"a name stands for several {cases}"
    named = [np.array(classes)[test.labels] for test in (one, two)]
    columns = ((named[0], named[1], "label"), (one.groups, two.groups, group))
    for mine, its, what in columns:
        wrong = np.flatnonzero(mine != its)
        if wrong.size:
            at = wrong[0]
            return f"'{one.names[at]}' has the {what} {its[at]}, not {mine[at]} ({count(len(wrong), cases)} differ so)"
    wrong = np.flatnonzero(one.judged != two.judged)
    return f"'{one.names[wrong[0]]}' is judged in one of them only" if wrong.size else ""


def _cell(evidence: Evidence) -> Cell:
    """What a study recommends; of a `tune`, its final network, which has no validation data."""
    fraction = evidence.main_fraction
    if fraction is not None:
        return evidence.recommendations[fraction].depth, fraction
    known = [cell for cell in evidence.cells if cell[0] in evidence.study.tuned_depths]
    if not known:
        raise UserError(
            f"{evidence.study.directory} has no finished tuned depth: run its sweep first"
        )
    return max(known, key=lambda cell: cell[1])


def _row(first: Evidence, other: Evidence, cells: tuple[Cell, Cell]) -> Row:
    merits = first.merit, other.merit
    means = [merit.mean(cell) for merit, cell in zip(merits, cells, strict=True)]
    seeds = [e.seeds(cell) for e, cell in zip((first, other), cells, strict=True)]
    shared = [seed for seed in seeds[0] if seed in seeds[1]]
    runs, found = _minus(merits, cells, seeds, shared)
    return Row(cells, first.merit, runs, means[0], means[1], found)


def _minus(
    merits: tuple[Merit, Merit],
    cells: tuple[Cell, Cell],
    seeds: Sequence[Sequence[int]],
    shared: list[int],
) -> tuple[int, Estimate]:
    """(number of runs, first less other): by seed; a lone run, of `tune` say, against each of the other's."""
    lone = min(len(each) for each in seeds) == 1
    if not lone and not shared:
        return 0, Estimate(None, why=NO_SHARED_SEED)
    read = [
        merit.readings(cell, None if lone else shared)
        for merit, cell in zip(merits, cells, strict=True)
    ]
    runs = 1 if lone else len(shared)
    if why := merits[0].too_few or merits[1].too_few:
        return runs, Estimate(read[0].mean - read[1].mean, why=why)
    found = readers.of_difference(read[0], read[1], merits[0].tested_on)
    # The other study's runs show how far its figure varies, and nothing of the lone one.
    return runs, found._replace(p=None, why=ONE_RUN) if lone else found


def write_compared(found: Compared, output: Path) -> Path:
    """Writes report.html, answer.txt and compare.csv into a directory; returns the page's path."""
    write_whole(output / ANSWER, f"{answer(found)}\n".encode())
    write_whole(output / "compare.csv", csv_bytes([_COLUMNS, *map(_cells_of, found.rows)]))
    path, names = output / "report.html", _names(found)
    subtitle = f"{names[0]} and {names[1]}: {_test_set(found)}"
    write_whole(path, page("Two studies, one test set", subtitle, _sections(found)))
    return path


def answer(found: Compared) -> str:
    """Which study's recommended depth is better, in a sentence or two."""
    row, names = found.rows[0], _names(found)
    merit, d = row.merit, row.difference
    labels = [_label(e, cell) for e, cell in zip(found[:2], row.cells, strict=True)]
    figures = [_figure(merit, e) for e in (row.first, row.other)]
    text = (
        f"On the same test set ({_test_set(found)}) {labels[0]} of {names[0]} reaches a test {merit.title} of "
        f"{figures[0]}, {labels[1]} of {names[1]} {figures[1]}."
    )
    if d.estimate is None or d.low is None:
        return f"{text} Whether they differ cannot be told: {d.why}."
    span = f"{d.low:+.{merit.digits}f} to {d.high:+.{merit.digits}f}"
    said = f"{text} The difference is {merit.number(d.estimate, True)} (95% interval {span}"
    if d.p is None:
        return f"{said}, by {found.first.study.words.group} alone); no p: {d.why}."
    shown = "can be concluded" if d.p < 0.05 else "may be chance"
    return f"{said}, p {markup.equals(d.p)}, over {found.first.study.words.groups} and training runs): that {shown}."


def table(found: Compared) -> str:
    """The rows as text, for a terminal."""
    head = ("depths", "runs", *_names(found), "difference", "p", "Holm p")
    rows = [head, *(_told(found, row) for row in found.rows)]
    wide = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip() for row in rows
    )


def _told(found: Compared, row: Row) -> tuple[str, ...]:
    merit, d = row.merit, row.difference
    span = "" if d.low is None else f" ({d.low:+.{merit.digits}f} to {d.high:+.{merit.digits}f})"
    size = "–" if d.estimate is None else f"{merit.number(d.estimate, True)}{span}"
    ps = (markup.p_value(p) for p in (d.p, row.holm_p))
    figures = (_figure(merit, e) for e in (row.first, row.other))
    return (_depths(found, row), str(row.runs), *figures, size, *ps)


def _figure(merit: Merit, found: Estimate) -> str:
    if found.estimate is None:
        return "–"
    span = (
        ""
        if found.low is None
        else f" ({found.low:.{merit.digits}f}–{found.high:.{merit.digits}f})"
    )
    return f"{merit.number(found.estimate)}{span}"


def _sections(found: Compared) -> list[Section]:
    merit = found.rows[0].merit
    rows = [
        (
            _depths(found, row),
            row.runs,
            markup.interval(row.first, merit.digits),
            markup.interval(row.other, merit.digits),
            markup.difference(row.difference, merit.digits),
            markup.p_value(row.difference.p),
            markup.p_value(row.holm_p),
        )
        for row in found.rows
    ]
    head = ("tuned stages", "runs", *_names(found), "difference", "p", "Holm p")
    note = (
        f"{merit.title} of the test set, and the first study less the other, with 95% intervals; paired by "
        f"{found.first.study.words.group} and, where both have the seed, by training run. The first row is of the "
        "depth that each study recommends by its own validation data; of a tuned network, of that network."
    )
    return [
        Section.of("The answer", markup.paragraph(answer(found), "answer")),
        Section.of(
            "Side by side",
            markup.table(head, rows, "numbers", 0),
            markup.paragraph(note, "note"),
            markup.lacking([row.difference for row in found.rows], tested=True),
        ),
    ]


def _depths(found: Compared, row: Row) -> str:
    labels = [_label(e, cell) for e, cell in zip(found[:2], row.cells, strict=True)]
    return " / ".join(dict.fromkeys(labels))


def _label(evidence: Evidence, cell: Cell) -> str:
    return evidence.study.label(cell[0])


def _names(found: Compared) -> list[str]:
    """Of the directories: their last parts, or all where those are alike."""
    paths = [evidence.study.directory for evidence in found[:2]]
    short = [path.resolve().name for path in paths]
    return short if short[0] != short[1] else [str(path) for path in paths]


def _test_set(found: Compared) -> str:
    study = found.first.study
    groups = f" of {count(len(np.unique(found.first.groups)), study.words.groups)}"
    return (
        f"{count(len(found.first.labels), study.words.cases)}{groups if study.groups_known else ''}"
    )


def _cells_of(row: Row) -> tuple[Any, ...]:
    def numbers(found: Estimate) -> list[str | None]:
        three = (found.estimate, found.low, found.high)
        return [None if x is None else f"{x:.7g}" for x in three]

    ps = [None if p is None else f"{p:.7g}" for p in (row.difference.p, row.holm_p)]
    name = f"{row.merit.title}, {row.merit.unit}" if row.merit.unit else row.merit.title
    figures = (*numbers(row.first), *numbers(row.other), *numbers(row.difference))
    return (row.cells[0][0], row.cells[1][0], name, row.runs, *figures, *ps, row.difference.why)
