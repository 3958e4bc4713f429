"""tables/: the study's two tables for a paper, each as CSV and as LaTeX (booktabs)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from medtune_jax.evaluation.readers import Estimate
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.markup import p_value
from medtune_jax.report.merit import Merit

FOLDER = "tables"
_SPECIAL = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"<": "$<$", ">": "$>$", "µ": r"\textmu{}", "–": "--", "−": "$-$"},
    }
)


class Table(NamedTuple):
    """name: of its files. text: rows as a paper prints them. values: the same for programs, under `columns`."""

    name: str
    caption: str
    head: Sequence[str]
    text: Sequence[Sequence[str]]
    columns: Sequence[str]
    values: Sequence[Sequence[object]]


def write_for_papers(evidence: Evidence) -> None:
    """Writes NAME.csv and NAME.tex of each table into the study's folder `tables`; nothing before a run has
    finished.
    """
    if not evidence.cells:
        return
    for made in (by_depth(evidence), comparisons(evidence)):
        path = evidence.study.directory / FOLDER / made.name
        write_whole(path.with_suffix(".csv"), csv_bytes([made.columns, *made.values]))
        write_whole(path.with_suffix(".tex"), latex(made).encode())


def by_depth(evidence: Evidence) -> Table:
    """The answer's figure of every depth at every size of the training set."""
    study, merit = evidence.study, evidence.merit
    known = {cell: merit.mean(cell) for cell in evidence.cells}
    text = [
        [study.label(depth), *(_figure(merit, known.get((depth, f))) for f in study.fractions)]
        for depth in study.depths
    ]
    values = [
        (depth, fraction, len(study.seeds((depth, fraction))), x.estimate, x.low, x.high)
        for (depth, fraction), x in known.items()
    ]
    caption = (
        f"Test {merit.title} by tuned stages and size of the training set, mean over training runs with 95% interval "
        f"over {study.words.groups} and training runs."
    )
    head = ("Tuned stages", *map(fraction_name, study.fractions))
    columns = ("depth", "fraction", "seeds", "estimate", "low", "high")
    return Table("by_depth", caption, head, text, columns, values)


def comparisons(evidence: Evidence) -> Table:
    """The tests that the page shows: the recommended depth against scratch, the last stage alone, the best."""
    study, merit = evidence.study, evidence.merit
    found = evidence.comparisons
    text = [
        [
            fraction_name(c.fraction),
            study.label(c.recommended),
            study.label(c.other),
            _figure(merit, c.difference, signed=True),
            p_value(c.difference.p),
            p_value(c.holm_p),
        ]
        for c in found
    ]
    values = [
        (c.fraction, c.recommended, c.other, d.estimate, d.low, d.high, d.p, c.holm_p)
        for c in found
        for d in (c.difference,)
    ]
    caption = (
        f"Difference in test {merit.title}, paired by {study.words.group} and seed, with 95% interval; p by Holm's "
        "correction over the rows."
    )
    head = ("Training set", "Recommended", "Against", "Difference", "p", "Holm p")
    columns = (
        *("fraction", "depth", "other", "difference"),
        *("low", "high", "p", "holm_p"),
    )
    return Table("comparisons", caption, head, text, columns, values)


def _figure(merit: Merit, found: Estimate | None, signed: bool = False) -> str:
    if found is None or found.estimate is None:
        return "–"
    form = f"{'+' if signed else ''}.{merit.digits}f"
    text = f"{found.estimate:{form}}"
    if found.low is not None:
        text += f" ({found.low:{form}} to {found.high:{form}})"
    return f"{text} {merit.unit}".rstrip()


def latex(made: Table) -> str:
    """A floating table; it wants \\usepackage{booktabs}."""
    columns = "l" * len(made.head)
    return "\n".join(
        (
            r"\begin{table}",
            rf"\caption{{{escaped(made.caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *_lines([made.head]),
            r"\midrule",
            *_lines(made.text),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        )
    )


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in rows:
        yield " & ".join(map(escaped, row)) + r" \\"


def escaped(text: str) -> str:
    """Text as LaTeX sets it."""
    return text.translate(_SPECIAL)
