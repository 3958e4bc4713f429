"""The first paragraph of the page: what to do, what can be concluded, what cannot, and what more would settle it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation.planning import ALPHA, POWER
from medtune_jax.evaluation.readers import ONE_RUN, TWO_RUNS, Estimate
from medtune_jax.report import markup
from medtune_jax.report.evidence import Comparison, Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.size import needed, scratch_pairs, tuned_pairs
from medtune_jax.words import count

SURE = 0.95
NOTHING = "No tuned depth has a finished run yet, so there is no depth to recommend."
_SEEDS = {
    ONE_RUN: "one seed tells nothing of other training runs and gives no test of a difference: run "
    "--config.sweep.seeds=3, better 5",
    TWO_RUNS: "two seeds give no test of a difference, since two runs may lie close together by chance: run "
    "--config.sweep.seeds=3, better 5",
}


def conclusion(evidence: Evidence) -> str:
    """The paragraph as text; the same words as on the page."""
    return " ".join(sentences(evidence))


def sentences(evidence: Evidence) -> list[str]:
    """The paragraph by sentence; the first says what to do."""
    fraction = evidence.main_fraction
    if fraction is None:
        return [NOTHING]
    broken = _broken(evidence, fraction)
    if broken:  # no comparison, and no chance of being best, means anything then
        return [*_advice(evidence, fraction), _reached(evidence, fraction), broken]
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


def _broken(evidence: Evidence, fraction: float) -> str:
    """What is wrong with the training of tuned depths at this size; empty where all trained.

    A depth that loses half of its runs or more is known by survivors only; a few lost ones are told beside its figure.
    """
    study = evidence.study
    told = []
    if dead := study.collapsed(fraction):
        scores = f"the same score for half or more of the test {study.words.cases}"
        told.append(f"training collapsed, with {scores} ({', '.join(map(study.label, dead))})")
    failures = {depth: study.failures(depth, fraction) for depth in study.tuned_depths}
    lost = {depth: counts for depth, counts in failures.items() if 2 * counts[0] >= counts[1] > 0}
    if lost:
        each = (f"{study.label(d)}: {failed} of {runs}" for d, (failed, runs) in lost.items())
        told.append(f"runs failed ({', '.join(each)})")
    if not told:
        return ""
    return (
        f"This cannot be concluded: how the depths compare, since {' and '.join(told)}. Mend the training first: lower "
        "rates (rates.tuned, rates.head, rates.scratch) or more of them (rates.search), another initialisation."
    )


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
    failed, planned = study.failures(depth, fraction)
    if failed:
        facts.append(f"{failed} of {planned} runs failed")
    if merit.stated:
        facts.append(merit.stated)
    beside = ""
    if merit is not metric and merit.title != metric.title:
        other = metric.mean(cell)
        reach = "" if other.low is None else f" ({other.low:.3f}–{other.high:.3f})"
        beside = f"; its {study.words.case} {metric.title} is {other.estimate:.3f}{reach}"
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
        f"{merit.number(abs(c.difference.estimate or 0))} ({_size(evidence, c.difference)}, "
        f"Holm-corrected p {markup.equals(c.holm_p or 0.0)})"
        for c in shown
    ]
    label = evidence.study.label(shown[0].recommended)
    return [f"This can be concluded: {label} is {', and '.join(parts)}."]


def _cannot(evidence: Evidence, fraction: float, open_: list[Comparison], after: bool) -> list[str]:
    """Comparisons that chance may explain, and how sure the depth is; `after` what can be concluded."""
    begin = "This cannot" if after else "This cannot be concluded"
    tested = [c for c in open_ if c.holm_p is not None]
    untested = [c for c in open_ if c.holm_p is None]
    found = _differences(evidence, begin, tested, untested)
    if len(evidence.known_tuned(fraction)) < 2:
        lone = f"{begin}: whether another depth would be better, since no other was run."
        return found or [lone]
    return [*found, *_how_sure(evidence, fraction, untested)]


def _differences(
    evidence: Evidence, begin: str, tested: list[Comparison], untested: list[Comparison]
) -> list[str]:
    merit, found = evidence.merit, []
    if tested:
        parts = [
            f"{_named(evidence, c)} ({merit.number(c.difference.estimate or 0, True)}, "
            f"{_bounds(evidence, c.difference)}, Holm-corrected p {markup.equals(c.holm_p or 0.0)})"
            for c in tested
        ]
        found.append(f"{begin}: whether it differs from {', or from '.join(parts)}.")
    if untested:
        parts = [f"{_named(evidence, c)}{_bare(evidence, c.difference)}" for c in untested]
        found.append(
            f"{'Nor' if found else f'{begin}:'} whether it differs from {', or from '.join(parts)}: "
            f"{_reason(untested[0].difference)}."
        )
    return found


def _how_sure(evidence: Evidence, fraction: float, untested: list[Comparison]) -> list[str]:
    """That the depth is the best, or why nobody can say, where `untested` have not said so."""
    chances, why = evidence.chances
    if not chances:
        said = any(c.difference.why == why for c in untested) or _few_seeds(untested)
        return [] if said else [f"How sure the depth is cannot be said: {why}."]
    depth, best = evidence.recommendations[fraction].depth, max(chances, key=lambda d: chances[d])
    rival = "" if best == depth else f" ({evidence.study.label(best)}: {chances[best]:.0%})"
    return [f"{_on_validation(evidence, fraction)}{chances[depth]:.0%}{rival}."]


def _on_validation(evidence: Evidence, fraction: float) -> str:
    """The chance by validation data, up to where that of the test set is to follow."""
    merit, metric = evidence.merit, evidence.metric
    chosen = evidence.recommendations[fraction]
    if chosen.depth not in chosen.chances:
        return f"The chance that it lies within {merit.matters} of the best tuned depth is "
    other = "" if merit.title == metric.title else f", within {merit.matters} of {merit.title},"
    share = f"{chosen.chances[chosen.depth]:.0%}"
    return (
        f"The chance that it lies within {metric.matters} of the best tuned depth is {share} "
        f"by validation {metric.title}, by which it was chosen, and on the test set{other} "
    )


def _few_seeds(untested: list[Comparison]) -> bool:
    return any(c.difference.why in _SEEDS for c in untested)


def _reason(difference: Estimate) -> str:
    return _SEEDS.get(difference.why, difference.why)


def _would_settle(evidence: Evidence, fraction: float, open_: list[Comparison]) -> list[str]:
    """How many patients and seeds would answer what is open."""
    study, merit = evidence.study, evidence.merit
    if merit.too_few:
        return []
    parts: list[str] = []
    reasons: list[str] = []
    for question in _questions(evidence, fraction, open_):
        try:
            found = evidence.components(question.pairs, fraction)
            number = needed(found, question.detect, study.words.groups)
            parts.append(f"{question.what} ({merit.number(question.detect)}) takes {number}")
        except UserError as error:
            reasons.append(str(error))
    text = [
        f"How much more would settle it cannot be told yet: {why}."
        for why in dict.fromkeys(reasons)
    ]
    if not parts:
        return text
    seeds = len(study.seeds((evidence.recommendations[fraction].depth, fraction)))
    here = f"{len(np.unique(evidence.groups))} with {count(seeds, 'seeds')}"
    settled = f"What would settle it, with a power of {POWER}: {'; '.join(parts)} (here {here})."
    return [settled, *text]


class _Question(NamedTuple):
    """A difference that is not shown yet. pairs: of depths that tell how much such a difference varies."""

    what: str
    pairs: list[tuple[str, str]]
    detect: float


def _questions(evidence: Evidence, fraction: float, open_: list[Comparison]) -> list[_Question]:
    """A difference as large as the one seen, or as matters; and tuned depths from one another where none is sure."""
    margin, tuned, found = evidence.merit.margin, tuned_pairs(evidence, fraction), []
    for c in open_:
        pairs = scratch_pairs(evidence, fraction) if evidence.study.is_scratch(c.other) else tuned
        detect = max(abs(c.difference.estimate or 0.0), margin)
        seen = "as large as seen" if detect > margin else "that matters"
        found.append(_Question(f"a difference from {_named(evidence, c)} {seen}", pairs, detect))
    chances, _ = evidence.chances
    depth = evidence.recommendations[fraction].depth
    asked = any(q.pairs is tuned and q.detect == margin for q in found)
    if chances and chances[depth] < SURE and not asked:
        found.append(_Question("a difference between tuned depths that matters", tuned, margin))
    return found


def _named(evidence: Evidence, comparison: Comparison) -> str:
    study, other = evidence.study, comparison.other
    return f"{'training from' if study.is_scratch(other) else 'tuning'} {study.label(other)}"


def _bounds(evidence: Evidence, difference: Estimate) -> str:
    digits = evidence.merit.digits
    return f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}"


def _size(evidence: Evidence, difference: Estimate) -> str:
    """The interval of a difference whose direction is said: it lies on one side of 0."""
    low, high = sorted(abs(bound or 0.0) for bound in (difference.low, difference.high))
    digits = evidence.merit.digits
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _bare(evidence: Evidence, difference: Estimate) -> str:
    if difference.estimate is None:
        return ""
    return f" ({evidence.merit.number(difference.estimate, True)})"
