"""The report's sections on embolism: the candidates, FROC by depth, scratch and baseline compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product

import numpy as np
from markupsafe import Markup

from medtune_jax.applications.drawings import detectors, froc_panels, picture
from medtune_jax.applications.embolism.truth import read_truth
from medtune_jax.applications.kept import study_file
from medtune_jax.applications.truth import Truth
from medtune_jax.evaluation.edwards import FrocModel
from medtune_jax.evaluation.froc import PER_VOLUME
from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, bounds, fraction_name
from medtune_jax.report.froc import HAND_CRAFTED, Detector, FrocEvidence
from medtune_jax.report.merit import Merit
from medtune_jax.report.section import Section, SectionMaker

# The paper's axis: 0 to 10 false positives per volume.
GRID = np.linspace(0, 10, 201)


def cohort(evidence: Evidence) -> Section:
    """Patients, emboli and candidates, and montages of both kinds of candidate."""
    summary = json.loads(study_file(evidence.study.directory, "cohort.json").read_bytes())
    patients = summary["patients"]
    rows = []
    for name, side in (("training", False), ("test", True)):
        chosen = [row for row in patients if row["test"] is side]
        total = {key: sum(row[key] for row in chosen) for key in chosen[0] if key != "patient"}
        most = max(row["candidates"] for row in chosen)
        rows.append(
            (
                name,
                f"{len(chosen)} ({sum(row['emboli'] == 0 for row in chosen)} without emboli)",
                total["emboli"],
                f"{total['hit']} ({total['hit'] / max(total['emboli'], 1):.1%})",
                f"{total['candidates'] / len(chosen):.1f} (at most {most})",
                total["true"],
                total["candidates"] - total["true"],
                total["no_vessel"],
            )
        )
    head = (
        *("Patients", "Number", "Emboli", "Hit by a candidate", "Candidates per volume"),
        *("True candidates", "False candidates", "No vessel found"),
    )
    parts = [markup.table(head, rows, "numbers")]
    for patient, reason in summary["left_out"].items():
        parts.append(markup.paragraph(f"Left out: {patient}. {reason}"))
    for patient, notes in summary.get("notes", {}).items():
        parts.append(markup.paragraph(f"{patient}: {' '.join(notes)}"))
    drawings = []
    for kind in ("true", "false"):
        name, description = f"{kind}_candidates", f"Patches of {kind} candidates in two planes."
        path = study_file(evidence.study.directory, f"{name}.png")
        drawing = picture(name, description, path)
        drawings.append(drawing)
        caption = (
            f"{kind.title()} candidates, drawn at random, 15 mm wide: above the vessel's cross-section, below its "
            "longitudinal plane, along which the vessel runs from top to bottom."
        )
        parts.append(markup.figure(drawing, caption))
    return Section("Emboli and candidates", markup.join(parts), drawings)


def froc(evidence: Evidence) -> Section | None:
    """FROC curves and the sensitivities at 1..5 false positives, counted and by Edwards' model."""
    fractions = list(evidence.recommendations)
    if not fractions:
        return None
    results = froc_evidence(evidence)
    drawing = _curves(results)
    caption = (
        "Sensitivity for emboli against false positives per volume, mean over seeds; a candidate's score is the mean "
        "over its variants, a hit lies in the embolus or within 5 mm, an embolus counts once. Shaded: 95% interval "
        "over patients and runs of the recommended depth."
    )
    parts = [markup.figure(drawing, caption)]
    for fraction in fractions:
        parts.append(markup.paragraph(f"With {fraction_name(fraction)} of the training emboli:"))
        parts.append(_table(results, detectors(evidence, fraction)))
    parts.append(
        markup.paragraph(
            "Smaller type: 95% intervals over patients and runs; in the second line of a cell the maximum-"
            "likelihood FROC model of Edwards et al. 2002 with its own interval, which takes candidates as independent "
            "(means over the seeds' fits; a dash where the likelihood has no maximum). The hand-crafted baseline "
            "always learns from all training emboli."
        )
    )
    return Section("FROC: sensitivity by false positives per volume", markup.join(parts), [drawing])


def compared(evidence: Evidence) -> Section | None:
    """The deepest and the recommended tuning against scratch and the baseline, paired, by fraction."""
    fractions = list(evidence.recommendations)
    results, study = froc_evidence(evidence), evidence.study
    gains: list[tuple[float, str, str, Estimate]] = []
    for fraction in fractions:
        tuned = (evidence.recommendations[fraction].depth, evidence.deepest(fraction))
        scratch = evidence.best_scratch(fraction)
        rivals: list[Detector] = [] if scratch is None else [(scratch, fraction)]
        if fraction == fractions[0]:
            # The baseline learns from all training emboli: it is no rival of networks that had fewer.
            rivals.append(HAND_CRAFTED)
        for depth, rival in product(dict.fromkeys(d for d in tuned if d is not None), rivals):
            gain = results.difference((depth, fraction), rival, PER_VOLUME)
            gains.append((fraction, depth, results.label(rival), gain))
    if not gains:
        return None
    corrected = holm([gain.p for *_, gain in gains])
    rows = [
        (
            fraction_name(fraction),
            study.label(depth),
            rival,
            markup.difference(gain),
            markup.p_value(gain.p),
            markup.p_value(p),
        )
        for (fraction, depth, rival, gain), p in zip(gains, corrected, strict=True)
    ]
    head = ("Training emboli", "Depth", "Minus", "Difference of mean sensitivity", "p", "Holm p")
    text = (
        "Mean of the sensitivities at 1 to 5 false positives per volume, differences paired by patient, for the depth "
        "that validation recommends and for the deepest. Positive: the tuned network finds more emboli."
    )
    note = markup.lacking((gain for *_, gain in gains), tested=True)
    parts = [markup.paragraph(text), markup.table(head, rows, "numbers"), note]
    return Section("Tuning against scratch and against hand-crafted features", markup.join(parts))


def froc_evidence(evidence: Evidence) -> FrocEvidence[Truth]:
    """The candidates' scores by every run of a study, and by the hand-crafted baseline."""
    truth = read_truth(evidence.study.directory)
    return FrocEvidence(evidence, truth, truth.hand_crafted)


def merit(evidence: Evidence) -> Merit:
    """Sensitivity for lesions over the paper's false positives per volume."""
    return froc_evidence(evidence).merit(PER_VOLUME, "volume")


def points(evidence: Evidence) -> list[Merit]:
    """Sensitivity for lesions at each of them."""
    return froc_evidence(evidence).points(PER_VOLUME, "volume")


SECTIONS: tuple[SectionMaker, ...] = (cohort, froc, compared)


def _table(results: FrocEvidence[Truth], judges: Sequence[Detector]) -> Markup:
    rows, given = [], []
    for judge in judges:
        counted = results.sensitivity(judge, PER_VOLUME)
        given += counted
        modelled = _model_intervals(results.models(judge))
        cells = [
            markup.interval(one, 2) + Markup("<br>") + markup.interval(other, 2)
            for one, other in zip(counted, modelled, strict=True)
        ]
        rows.append((results.label(judge), *cells))
    head = ("False positives per volume", *(f"{rate:g}" for rate in PER_VOLUME))
    return markup.join([markup.table(head, rows, "numbers"), markup.lacking(given)])


def _model_intervals(fitted: Sequence[FrocModel]) -> list[Estimate | None]:
    """Edwards' sensitivity at 1..5: estimate and bounds are means over the seeds' fits, None without a fit."""
    if not fitted:
        return [None] * len(PER_VOLUME)
    by_seed = np.array([bounds(model.sensitivity_at(PER_VOLUME)) for model in fitted])
    return [Estimate(*row) for row in by_seed.mean(axis=0).T]


def _curves(results: FrocEvidence[Truth]) -> Drawing:
    """Every depth and the hand-crafted score, with the interval of the recommended depth shaded."""
    figure, panels = froc_panels(results, GRID, "training emboli")
    rates = GRID[::5]
    for ax, fraction, colours in panels:
        chosen = (results.evidence.recommendations[fraction].depth, fraction)
        _, low, high = bounds(results.sensitivity(chosen, rates))
        ax.fill_between(rates, low, high, step="post", color=colours[chosen], alpha=0.18, lw=0)
        ax.set(xlim=(0, 10), ylim=(0, 1.01), xlabel="False positives per volume")
    panels[0][0].set_ylabel("Sensitivity (emboli found)")
    return Drawing("froc", "FROC curves by tuning depth, of scratch and of the baseline.", figure)
