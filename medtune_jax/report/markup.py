"""Small pieces of HTML that every section uses. Text is always escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from medtune_jax.evaluation.intervals import Difference, Interval
from medtune_jax.report.figures import Drawing


def join(parts: Iterable[Any]) -> Markup:
    return Markup("\n").join(parts)


def paragraph(text: Any, kind: str = "") -> Markup:
    return Markup('<p class="{}">{}</p>').format(kind, text)


def interval(value: Interval | None, digits: int = 3) -> Markup:
    """0.912 with its interval in smaller type; a dash where there is none."""
    if value is None:
        return Markup("–")
    return Markup('{:.{d}f} <span class="interval">{:.{d}f}–{:.{d}f}</span>').format(
        value.estimate, value.low, value.high, d=digits
    )


def difference(value: Difference, digits: int = 3) -> Markup:
    """+0.012 with its interval in smaller type."""
    return Markup('{:+.{d}f} <span class="interval">{:+.{d}f} to {:+.{d}f}</span>').format(
        value.estimate, value.low, value.high, d=digits
    )


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def table(
    head: Sequence[Any], rows: Iterable[Sequence[Any]], kind: str = "", marked: int | None = None
) -> Markup:
    """A table whose first column names the row. `marked` is the index of a row to point out."""
    cells = Markup("").join(Markup('<th scope="col">{}</th>').format(c) for c in head)
    body = join(
        Markup('<tr{}><th scope="row">{}</th>{}</tr>').format(
            Markup(' class="marked"') if i == marked else "",
            row[0],
            Markup("").join(Markup("<td>{}</td>").format(c) for c in row[1:]),
        )
        for i, row in enumerate(rows)
    )
    return Markup(
        '<div class="scroll"><table class="{}"><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(kind, cells, body)


def figure(drawing: Drawing, caption: str) -> Markup:
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(drawing.svg(), caption)


def details(summary: str, content: Any) -> Markup:
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, escape(content))
