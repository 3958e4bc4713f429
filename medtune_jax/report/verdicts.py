"""The paper's four conclusions (Tajbakhsh et al. 2016), judged on the user's own data.

A verdict is "supported", "not supported" or "cannot say". The rules, with D a difference of test
metric and its 95% interval over patients and runs, and MARGIN a difference too small to matter.
Without such an interval (few patients, one run of each) a rule that needs it cannot say:

1. "Adequately fine-tuned is at least as good as from scratch." D = recommended depth - best scratch
   (by validation) at the largest fraction. Supported if the interval lies above -MARGIN
   (non-inferior), even wholly below 0; not supported if it lies below 0 otherwise; else cannot say.
2. "More robust to small training sets, and converges faster." Both parts must hold; one that is not
   supported refutes the whole.
   Robust: D = (scratch's loss from the largest to the smallest fraction) - (the same loss of the
   recommended depth). Supported if the interval lies above 0, not supported if below 0.
   Faster: for each seed at the largest fraction, count mini-batches until the validation metric
   first reaches 99% of the lower of both runs' best. Supported if tuning needs no more in any seed
   and fewer on the whole; not supported the other way round.
3. "Neither shallow nor deep tuning is best for every task." One data set can show it, by a depth
   between the extremes that beats both (both intervals above 0), but cannot refute it: otherwise
   cannot say.
4. "Add layers until validation stops improving." D = the exhaustive sweep's depth (best mean
   validation) - the rule's depth. Supported if the interval lies below MARGIN; not supported if it
   lies above 0 otherwise; else cannot say. It takes at least three depths to have a choice.

Where training collapsed at the largest fraction (`Run.collapsed`), every verdict is "cannot say": a
broken run refutes no method and supports none. At smaller fractions a collapse may be the very
finding (scratch with too few images), so there it only brings a warning.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report.evidence import Evidence

SUPPORTED, NOT_SUPPORTED, CANNOT_SAY = "supported", "not supported", "cannot say"
MARGIN = 0.02
_REACHED = 0.99


class Verdict(NamedTuple):
    """A conclusion of the paper, the verdict on it, and the numbers behind the verdict."""

    conclusion: str
    verdict: str
    why: str


def judge(evidence: Evidence) -> list[Verdict]:
    """The four verdicts, in the paper's order."""
    rules = {
        "A pre-trained network, tuned deep enough, is at least as good as one from scratch.": _as_good,
        "It is more robust to small training sets, and converges faster.": _robust_and_fast,
        "Neither shallow nor deep tuning is best for every task.": _neither_extreme,
        "Start at the last layer and add layers until validation stops improving.": _rule_works,
    }
    main = evidence.main_fraction
    if main is None:
        return [Verdict(conclusion, *_unfinished("a tuned depth")) for conclusion in rules]
    found = [Verdict(conclusion, *rule(evidence, main)) for conclusion, rule in rules.items()]
    collapsed = evidence.study.collapsed(main)
    if not collapsed:
        return found
    names = ", ".join(map(evidence.study.label, collapsed))
    return [
        Verdict(v.conclusion, CANNOT_SAY, f"Training collapsed ({names}). Otherwise: {v.why}")
        for v in found
    ]


def _show(difference: Estimate) -> str:
    if difference.estimate is None:
        return f"unknown ({difference.why})"
    if difference.low is None:
        return f"{difference.estimate:+.3f} (no interval: {difference.why})"
    text = (
        f"{difference.estimate:+.3f} (95% interval {difference.low:+.3f} to {difference.high:+.3f}"
    )
    return (
        f"{text})"
        if difference.p is not None
        else f"{text}, of these runs alone: {difference.why})"
    )


def _bounds(difference: Estimate) -> tuple[float, float]:
    """The interval as far as it speaks of other runs too: an endless one decides nothing."""
    if difference.p is None or difference.low is None or difference.high is None:
        return -math.inf, math.inf
    return difference.low, difference.high


def _unfinished(what: str) -> tuple[str, str]:
    return CANNOT_SAY, f"No finished runs of {what}."


_NO_SCRATCH = _unfinished("training from scratch at the largest training set")


def _as_good(evidence: Evidence, main: float) -> tuple[str, str]:
    depth, scratch = evidence.recommendations[main].depth, evidence.best_scratch(main)
    if scratch is None:
        return _NO_SCRATCH
    difference = evidence.minus(depth, scratch, main)
    label, name = evidence.study.label, evidence.study.metric.title
    why = f"{label(depth)} minus {label(scratch)}: test {name} {_show(difference)}"
    low, high = _bounds(difference)
    if low > -MARGIN:
        return SUPPORTED, f"{why}, not worse by {MARGIN} or more."
    if high < 0:
        return NOT_SUPPORTED, f"{why}, below 0."
    if math.isinf(low):
        return CANNOT_SAY, f"{why}."
    return CANNOT_SAY, f"{why}: the interval reaches below -{MARGIN}."


def _robust_and_fast(evidence: Evidence, main: float) -> tuple[str, str]:
    depth, scratch = evidence.recommendations[main].depth, evidence.best_scratch(main)
    if scratch is None:
        return _NO_SCRATCH
    robust, why_robust = _robust(evidence, main, depth, scratch)
    fast, why_fast = _fast(evidence, main, depth, scratch)
    parts = f"Small training sets ({robust}): {why_robust} Convergence ({fast}): {why_fast}"
    if NOT_SUPPORTED in (robust, fast):
        return NOT_SUPPORTED, parts
    return (SUPPORTED if robust == fast == SUPPORTED else CANNOT_SAY), parts


def _robust(evidence: Evidence, main: float, depth: str, scratch: str) -> tuple[str, str]:
    both = [
        f for f in evidence.study.fractions if evidence.has(depth, f) and evidence.has(scratch, f)
    ]
    small = min(both, default=main)
    if small >= main:
        return CANNOT_SAY, "Only one training-set size has finished runs of both."
    saved = evidence.contrast(
        {(depth, small): 1, (depth, main): -1, (scratch, small): -1, (scratch, main): 1}
    )
    low, high = _bounds(saved)
    verdict = SUPPORTED if low > 0 else NOT_SUPPORTED if high < 0 else CANNOT_SAY

    def loss(d: str) -> str:
        lost = evidence.metric.readings((d, main)).mean - evidence.metric.readings((d, small)).mean
        return f"{evidence.study.label(d)} loses {lost:.3f}"

    return verdict, (
        f"from {main:.3g} to {small:.3g} of the training data {loss(scratch)} of test "
        f"{evidence.study.metric.title} and {loss(depth)}; the difference of the losses is {_show(saved)}."
    )


def _fast(evidence: Evidence, main: float, depth: str, scratch: str) -> tuple[str, str]:
    tuned, fresh = (
        {run.seed: run.history for run in evidence.study.cell(d, main) if len(run.history)}
        for d in (depth, scratch)
    )
    shared = sorted(tuned.keys() & fresh.keys())
    if not shared:
        return CANNOT_SAY, "no seed has a training history of both."
    needed = np.array([_batches_needed(tuned[seed], fresh[seed]) for seed in shared])
    faster, slower = (needed[:, 0] <= needed[:, 1]).all(), (needed[:, 0] >= needed[:, 1]).all()
    verdict = CANNOT_SAY
    if faster != slower:
        verdict = SUPPORTED if faster else NOT_SUPPORTED
    medians = np.median(needed, axis=0)
    label = evidence.study.label
    return verdict, (
        f"{label(depth)} needs {medians[0]:.0f} mini-batches, {label(scratch)} {medians[1]:.0f} "
        f"(median of {len(shared)} seeds) to reach {_REACHED:.0%} of the lower of both best "
        f"validation {evidence.study.metric.title}s."
    )


def _batches_needed(*histories: np.ndarray) -> list[float]:
    """Mini-batches until each history reaches the target that both reach."""
    target = _REACHED * min(history[:, 1].max() for history in histories)
    return [float(history[np.argmax(history[:, 1] >= target), 0]) for history in histories]


def _neither_extreme(evidence: Evidence, main: float) -> tuple[str, str]:
    depth = evidence.recommendations[main].depth
    shallowest, deepest = evidence.shallowest(main), evidence.deepest(main)
    label = evidence.study.label
    if shallowest is None or deepest is None:
        return _unfinished("tuning only the last stage")
    if depth in (shallowest, deepest):
        return CANNOT_SAY, (
            f"Validation chose {label(depth)}, an extreme of the depths that were run; one data "
            "set cannot refute a statement about all tasks."
        )
    gains = {other: evidence.minus(depth, other, main) for other in (shallowest, deepest)}
    shown = " and ".join(f"{_show(gain)} over {label(other)}" for other, gain in gains.items())
    why = f"{label(depth)} gains in test {evidence.study.metric.title} {shown}."
    return (SUPPORTED if all(_bounds(gain)[0] > 0 for gain in gains.values()) else CANNOT_SAY), why


def _rule_works(evidence: Evidence, main: float) -> tuple[str, str]:
    known = len(evidence.known_tuned(main))
    if known < 3:
        return CANNOT_SAY, f"Only {known} tuned depths have finished runs: nothing to choose."
    answer, lost = evidence.walk(main), evidence.regret(main)
    assert answer is not None and lost is not None  # three depths have results
    label, name = evidence.study.label, evidence.study.metric.title
    looked = (
        f"The rule looked at {len(answer.steps)} of {known} depths and chose {label(answer.depth)}"
    )
    if lost.best == answer.depth:
        why = f"{looked}, which is also the best of the whole sweep by validation {name}."
        return SUPPORTED, why
    difference = evidence.minus(lost.best, answer.depth, main)
    why = (
        f"{looked}; the whole sweep would have chosen {label(lost.best)}, better by "
        f"{lost.validation:.3f} in validation {name} and by {_show(difference)} in test {name}."
    )
    low, high = _bounds(difference)
    if high < MARGIN:
        return SUPPORTED, why
    return (NOT_SUPPORTED if low > 0 else CANNOT_SAY), why
