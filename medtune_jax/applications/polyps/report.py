"""The report's sections on polyp detection: FROC, networks against the hand-crafted score, pictures."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from medtune_jax.applications.drawings import detectors, picture
from medtune_jax.applications.polyps import drawings
from medtune_jax.applications.polyps.show import PATCHES, read_shown
from medtune_jax.applications.polyps.truth import FrameTruth, read_truth
from medtune_jax.evaluation.froc import PER_FRAME
from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.froc import FIRST_SEED, HAND_CRAFTED, Detector, FrocEvidence
from medtune_jax.report.merit import Merit
from medtune_jax.report.section import Section

_RATES = tuple(f"{rate:g}" for rate in PER_FRAME)


def froc(evidence: Evidence) -> Section | None:
    """FROC curves of all depths, and sensitivities at the paper's operating points."""
    if evidence.main_fraction is None:
        return None
    results = _read(evidence)
    curves = drawings.froc_curves(results)
    truth = results.truth
    caption = (
        f"Sensitivity by lesion against false positives per frame, on {len(truth.images)} test "
        f"frames of {len(np.unique(truth.groups))} videos with {len(truth.lesion_image)} lesions; mean "
        f"over seeds. No curve can rise above the {truth.reachable:.1%} of lesions that a candidate "
        "hits. Bars: 95% intervals over videos and runs."
    )
    rules = (
        "A candidate hits the lesion in whose mask its centre lies. A lesion counts once; further "
        "hits on it are neither true nor false. A lesion without candidate is a miss. False "
        "positives are divided by all test frames, those without lesion or candidate included; "
        f"{1 / len(truth.images):.2g} per frame is a single one, so that below it no false positive "
        "is allowed at all."
    )
    parts = [markup.figure(curves, caption)]
    for fraction in evidence.study.fractions:
        found = {
            results.label(d): results.sensitivity(d, PER_FRAME)
            for d in detectors(evidence, fraction)
        }
        rows = [(label, *map(markup.interval, each)) for label, each in found.items()]
        head = f"Sensitivity at false positives per frame, {fraction_name(fraction)} of the videos"
        parts.append(markup.table((head, *_RATES), rows, "numbers"))
        parts.append(markup.lacking(x for each in found.values() for x in each))
    parts.append(markup.paragraph(rules, "note"))
    return Section("Polyp detection: FROC", markup.join(parts), [curves])


def likelihood(evidence: Evidence) -> Section | None:
    """Maximum-likelihood FROC curves beside the empirical ones."""
    fraction = evidence.main_fraction
    if fraction is None:
        return None
    results = _read(evidence)
    leading = _leading(evidence, fraction)
    fitted = {detector: results.models(detector, FIRST_SEED) for detector in leading}
    models = {detector: each[0] if each else None for detector, each in fitted.items()}
    drawing = drawings.froc_models(results, models)
    rows = [
        (
            results.label(detector),
            *(
                (f"{model.detection:.3f}", f"{model.rate:.2f}", f"{model.a:.2f}", f"{model.b:.2f}")
                if model
                else ("–",) * 4
            ),
            *map(markup.interval, model.sensitivity_at(PER_FRAME) if model else [None] * 3),
        )
        for detector, model in models.items()
    ]
    head = ("Model", "lesions raised", "false per frame", "a", "b", *(f"at {r}" for r in _RATES))
    caption = (
        "Steps: what was counted, with the 95% band over videos. Smooth lines: the "
        "maximum-likelihood model of Edwards et al. (2002) with its 95% band (hatched). One seed of "
        f"each, {fraction_name(fraction)} of the videos."
    )
    note = (
        "The model takes candidates as independent; frames of one video are not, so the band "
        "by video is the interval to trust. A dash: the scores do not determine the model."
    )
    parts = [
        markup.figure(drawing, caption),
        markup.table(head, rows, "numbers"),
        markup.paragraph(note, "note"),
    ]
    return Section("Maximum-likelihood FROC", markup.join(parts), [drawing])


def against_hand_crafted(evidence: Evidence) -> Section | None:
    """Each network minus the hand-crafted score on the same candidates, paired by video."""
    if evidence.main_fraction is None:
        return None
    results = _read(evidence)
    parts = []
    for fraction in evidence.study.fractions:
        depths = [d for d in evidence.study.depths if evidence.has(d, fraction)]
        table = [_differences(results, (depth, fraction)) for depth in depths]
        corrected = holm([d.p for row in table for d in row])
        p = iter(corrected)
        rows = [
            (evidence.study.label(depth), *(_difference(d, next(p)) for d in row))
            for depth, row in zip(depths, table, strict=True)
        ]
        head = f"Network minus hand-crafted, {fraction_name(fraction)} of the videos"
        columns = (head, *(f"sensitivity at {rate}" for rate in _RATES), "candidate AUC")
        parts.append(markup.table(columns, rows, "numbers stacked"))
        parts.append(markup.lacking((d for row in table for d in row), tested=True))
    note = (
        "Both judge the same candidates of the same test frames. The hand-crafted score has learned "
        "from all training videos, also where the networks had a fraction of them. 95% intervals over "
        "test videos and runs, paired; mean over seeds. p: two-sided, corrected (Holm) for a whole table. "
        "Marked: the whole interval lies above 0."
    )
    parts.append(markup.paragraph(note, "note"))
    return Section("Networks against the hand-crafted score", markup.join(parts))


def detections(evidence: Evidence) -> Section | None:
    """The recommended depth's detections drawn on test frames."""
    fraction = evidence.main_fraction
    if fraction is None:
        return None
    results = _read(evidence)
    detector = (evidence.recommendations[fraction].depth, fraction)
    shown = read_shown(evidence.study.directory / "application")
    drawing = drawings.overlays(results, detector, shown)
    caption = (
        "Test frames, taken evenly from all. Green: the true lesion. Boxes: the candidates that "
        f"{results.label(detector)} finds most probable, with their probability (mean over "
        "patches and seeds)."
    )
    return Section("Detections to check", markup.figure(drawing, caption), [drawing])


def patches(evidence: Evidence) -> Section | None:
    """Training patches as the networks see them."""
    path = evidence.study.directory / "application" / PATCHES
    if not path.is_file():
        return None
    drawing = picture("patches", "Training patches with and without a polyp.", path)
    caption = (
        "Training patches drawn at random, as the network is given them: upper half from candidates "
        "in a lesion, lower half from candidates outside. Box, scale, shift and mirror variant vary."
    )
    return Section("Patches to check", markup.figure(drawing, caption), [drawing])


def merit(evidence: Evidence) -> Merit:
    """Sensitivity for lesions over the paper's false positives per frame."""
    return _read(evidence).merit(PER_FRAME, "frame")


def points(evidence: Evidence) -> list[Merit]:
    """Sensitivity for lesions at each of them."""
    return _read(evidence).points(PER_FRAME, "frame")


SECTIONS = (froc, likelihood, against_hand_crafted, detections, patches)


def _read(evidence: Evidence) -> FrocEvidence[FrameTruth]:
    truth = read_truth(evidence.study.directory)
    return FrocEvidence(evidence, truth, truth.hand_crafted)


def _leading(evidence: Evidence, fraction: float) -> list[Detector]:
    """Hand-crafted, the recommended depth and scratch."""
    depths = (evidence.recommendations[fraction].depth, evidence.best_scratch(fraction))
    return [HAND_CRAFTED, *((depth, fraction) for depth in depths if depth is not None)]


def _differences(results: FrocEvidence[FrameTruth], detector: Detector) -> list[Estimate]:
    rates = [results.difference(detector, HAND_CRAFTED, [rate]) for rate in PER_FRAME]
    return [*rates, results.auc_difference(detector, HAND_CRAFTED)]


def _difference(d: Estimate, p: float | None) -> Markup:
    if p is None or d.low is None:
        return markup.difference(d)
    strong = Markup("<strong>{:+.3f}</strong>") if d.low > 0 else Markup("{:+.3f}")
    interval = Markup(' <span class="interval">{:+.3f} to {:+.3f}, p {}</span>')
    return strong.format(d.estimate) + interval.format(d.low, d.high, markup.p_value(p))
