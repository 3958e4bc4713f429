"""Section: ways to tune that are no depth (docs/tuning.md), beside the depths."""

from __future__ import annotations

from collections.abc import Iterator

from medtune_jax.evaluation.intervals import holm
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.section import Section


def section(evidence: Evidence) -> Section | None:
    """Each way's test figure, and its difference from the depth of its first stage and from the recommended one."""
    study, merit = evidence.study, evidence.merit
    fraction = evidence.main_fraction or study.fractions[0]
    known = [way for way in study.way_depths if evidence.has(way, fraction)]
    if not known:
        return None
    pairs = [(way, other) for way in known for other in _others(evidence, way, fraction)]
    found = [merit.minus((way, fraction), (other, fraction)) for way, other in pairs]
    corrected = holm([difference.p for difference in found])
    unit = f" ({merit.unit})" if merit.unit else ""
    figures = [
        (
            study.label(way),
            f"{study.known_depths[way].parameters or 0:,}",
            markup.interval(merit.mean((way, fraction)), merit.digits),
        )
        for way in known
    ]
    rows = [
        (
            *(study.label(way), study.label(other)),
            markup.difference(difference, merit.digits),
            *(markup.p_value(difference.p), markup.p_value(p)),
        )
        for (way, other), difference, p in zip(pairs, found, corrected, strict=True)
    ]
    text = (
        f"With {fraction_name(fraction)} of the training data. These are no depths: they take no part in the advice, "
        "which is among depths. Differences are paired and tested as in the section before; the Holm correction is "
        "over the rows of this table."
    )
    head = ("Way", "Minus", f"Difference in test {merit.title}{unit}", "p", "Holm p")
    tests = [markup.table(head, rows, "numbers"), markup.lacking(found, tested=True)]
    return Section.of(
        "Other ways to tune",
        markup.paragraph(text),
        markup.table(("Way", "Tuned parameters", f"Test {merit.title}{unit}"), figures, "numbers"),
        *(tests if rows else ()),
    )


def _others(evidence: Evidence, way: str, fraction: float) -> Iterator[str]:
    """The depths that a way is compared with: the one that starts at the same stage, and the recommended one."""
    answer = evidence.recommendations.get(fraction)
    first = way.partition(":")[2].partition("-")[0]
    wanted = (first, answer.depth if answer else None)
    yield from dict.fromkeys(d for d in wanted if d in evidence.known_tuned(fraction))
