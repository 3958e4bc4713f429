"""The first paragraph of the page: what to do, what can be concluded, what cannot, and what more would settle it."""

from __future__ import annotations

from medtune_jax.errors import UserError
from medtune_jax.evaluation.planning import ALPHA, POWER
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report import markup
from medtune_jax.report.evidence import Comparison, Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.size import needed, scratch_pairs, tuned_pairs

NOTHING = "No tuned depth has a finished run yet, so there is no depth to recommend."


def conclusion(evidence: Evidence) -> str:
    """The paragraph as text; the same words as on the page."""
    return " ".join(sentences(evidence))


def sentences(evidence: Evidence) -> list[str]:
    """The paragraph by sentence; the first says what to do."""
    fraction = evidence.main_fraction
    if fraction is None:
        return [NOTHING]
    compared = [c for c in evidence.comparisons if c.fraction == fraction]
    shown = [c for c in compared if _is_shown(c)]
    open_ = [c for c in compared if not _is_shown(c)]
    found = [
        *_advice(evidence, fraction),
        _reached(evidence, fraction),
        *_can(evidence, shown),
        *_cannot(evidence, fraction, open_, bool(shown)),
        *_would_settle(evidence, fraction, open_),
    ]
    return [text for text in found if text]


def _is_shown(comparison: Comparison) -> bool:
    return comparison.holm_p is not None and comparison.holm_p < ALPHA


def _advice(evidence: Evidence, fraction: float) -> list[str]:
    """If scratch beats every depth on validation data, that comes first."""
    study, depth = evidence.study, evidence.recommendations[fraction].depth
    stages = study.known_depths[depth].tuned
    only_last = len(stages) == 1
    tune = f"une only the last stage, {stages[0]}" if only_last else f"une from {stages[0]}"
    tune += "" if only_last else f" ({study.label(depth)})"
    scratch = evidence.scratch_wins(fraction)
    if scratch is None:
        return [f"T{tune}."]
    return [
        f"Train from {study.label(scratch)}.",
        f"On validation data it beats every tuned depth; if you fine-tune, t{tune}.",
    ]


def _reached(evidence: Evidence, fraction: float) -> str:
    """The test figure of the depth, and the metric beside it."""
    study, merit, metric = evidence.study, evidence.merit, evidence.metric
    depth = evidence.recommendations[fraction].depth
    cell = (depth, fraction)
    found, runs = merit.mean(cell), len(study.seeds(cell))
    if found.low is None:
        interval = "no interval: see below"
    else:
        interval = (
            f"95% interval by {study.words.group} and training run "
            f"{found.low:.{merit.digits}f}–{found.high:.{merit.digits}f}"
        )
    facts = [interval, f"mean of {runs} seeds" if runs > 1 else "one seed"]
    if merit.stated:
        facts.append(merit.stated)
    beside = ""
    if merit is not metric and merit.title != metric.title:
        other = metric.mean(cell)
        reach = "" if other.low is None else f" ({other.low:.3f}–{other.high:.3f})"
        beside = f", and a {study.words.case} {metric.title} of {other.estimate:.3f}{reach}"
    return (
        f"With {fraction_name(fraction)} of the training data {study.label(depth)} reaches a test {merit.title} of "
        f"{merit.number(found.estimate or 0.0)} ({'; '.join(facts)}){beside}."
    )


def _can(evidence: Evidence, shown: list[Comparison]) -> list[str]:
    if not shown:
        return []
    merit = evidence.merit
    parts = [
        f"{'better' if merit.sign * (c.difference.estimate or 0) > 0 else 'worse'} than {_named(evidence, c)} by "
        f"{merit.number(abs(c.difference.estimate or 0))} ({_bounds(evidence, c.difference)}, "
        f"Holm-corrected p {markup.equals(c.holm_p or 0.0)})"
        for c in shown
    ]
    return [f"This can be concluded: it is {', and '.join(parts)}."]


def _cannot(evidence: Evidence, fraction: float, open_: list[Comparison], after: bool) -> list[str]:
    """Comparisons that chance may explain, and how sure the depth is; `after` what can be concluded."""
    merit, found = evidence.merit, []
    begin = "This cannot" if after else "This cannot be concluded"
    tested = [c for c in open_ if c.holm_p is not None]
    untested = [c for c in open_ if c.holm_p is None]
    if tested:
        parts = [
            f"{_named(evidence, c)} ({merit.number(c.difference.estimate or 0, True)}, "
            f"{_bounds(evidence, c.difference)}, p {markup.equals(c.holm_p or 0.0)})"
            for c in tested
        ]
        found.append(f"{begin}: whether it differs from {', or from '.join(parts)}.")
    if untested:
        parts = [f"{_named(evidence, c)}{_bare(evidence, c.difference)}" for c in untested]
        found.append(
            f"{'Nor' if found else f'{begin}:'} whether it differs from {', or from '.join(parts)}: "
            f"{untested[0].difference.why}."
        )
    chances, why = evidence.chances(fraction)
    depth = evidence.recommendations[fraction].depth
    if not chances:
        lone = len(evidence.known_tuned(fraction)) < 2 or any(
            c.difference.why == why for c in untested
        )
        return found if lone else [*found, f"How sure the depth is cannot be said: {why}."]
    best = max(chances, key=chances.__getitem__)
    rival = "" if best == depth else f" ({evidence.study.label(best)}: {chances[best]:.0%})"
    return [
        *found,
        f"The chance that it lies within {merit.matters} of the best tuned depth is {chances[depth]:.0%}"
        f"{rival}.",
    ]


def _would_settle(evidence: Evidence, fraction: float, open_: list[Comparison]) -> list[str]:
    """How many patients and seeds would show a difference as large as the one seen, or as the margin."""
    merit, study = evidence.merit, evidence.study
    if merit.too_few or not open_:
        return []
    parts, reasons = [], []
    for c in open_:
        scratch = study.is_scratch(c.other)
        pairs = (scratch_pairs if scratch else tuned_pairs)(evidence, fraction)
        detect = max(abs(c.difference.estimate or 0.0), merit.margin)
        try:
            found = evidence.components(pairs, fraction)
            number = needed(found, detect, study.words.groups)
        except UserError as error:
            reasons.append(str(error))
            continue
        seen = "as large as the one seen" if detect > merit.margin else "that matters"
        parts.append(f"from {_named(evidence, c)}, {seen} ({merit.number(detect)}): {number}")
    text = []
    if parts:
        here = f"here {len(set(_groups(evidence)))} with {len(study.seeds((open_[0].recommended, fraction)))}"
        text.append(
            f"To show a difference with a power of {POWER} takes, {'; '.join(parts)} ({here})."
        )
    text += [
        f"How much more would settle it cannot be told yet: {why}."
        for why in dict.fromkeys(reasons)
    ]
    return text


def _groups(evidence: Evidence) -> list[str]:
    return list(map(str, evidence.groups))


def _named(evidence: Evidence, comparison: Comparison) -> str:
    study, other = evidence.study, comparison.other
    return f"{'training from' if study.is_scratch(other) else 'tuning'} {study.label(other)}"


def _bounds(evidence: Evidence, difference: Estimate) -> str:
    digits = evidence.merit.digits
    return f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}"


def _bare(evidence: Evidence, difference: Estimate) -> str:
    if difference.estimate is None:
        return ""
    return f" ({evidence.merit.number(difference.estimate, True)})"
