"""Small pieces of HTML that every section uses. Text is always escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report.figures import Drawing


def join(parts: Iterable[Any]) -> Markup:
    return Markup("\n").join(parts)


def paragraph(text: Any, kind: str = "") -> Markup:
    return Markup('<p class="{}">{}</p>').format(kind, text)


def interval(value: Estimate | None, digits: int = 3) -> Markup:
    """0.912 with its interval in smaller type, if it has one; a dash where there is no figure."""
    return _estimate(value, "{:.{d}f}", "{:.{d}f}–{:.{d}f}", digits)


def difference(value: Estimate | None, digits: int = 3) -> Markup:
    """+0.012 with its interval in smaller type; as `interval`."""
    return _estimate(value, "{:+.{d}f}", "{:+.{d}f} to {:+.{d}f}", digits)


def _estimate(value: Estimate | None, figure: str, reach: str, digits: int) -> Markup:
    if value is None or value.estimate is None:
        return Markup("–")
    if value.low is None:
        return Markup(figure).format(value.estimate, d=digits)
    text = Markup(f'{figure} <span class="interval">{reach}</span>')
    return text.format(value.estimate, value.low, value.high, d=digits)


def p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float | None) -> str:
    """'64%'; a dash where there is none."""
    return "–" if value is None else f"{value:.0%}"


def equals(p: float) -> str:
    """'= 0.012' or '< 0.001', for a sentence."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def lacking(values: Iterable[Estimate | None], tested: bool = False) -> Markup:
    """A note for each reason why figures have no interval, or differences that are `tested` no p; empty if all have."""
    missing = (v for v in values if v is not None and (v.low is None or (tested and v.p is None)))
    reasons = dict.fromkeys(value.why for value in missing if value.why)
    what = "interval or p" if tested else "interval"
    return join(paragraph(f"Where no {what} is given: {why}.", "note") for why in reasons)


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
        '<div class="scroll" tabindex="0"><table class="{}"><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(kind, cells, body)


def figure(drawing: Drawing, caption: str) -> Markup:
    return Markup(
        '<figure><div class="scroll drawing" tabindex="0">{}</div><figcaption>{}</figcaption></figure>'
    ).format(drawing.svg(), caption)


def details(summary: str, content: Any) -> Markup:
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, escape(content))
