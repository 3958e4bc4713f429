"""The report's sections on embolism: the candidates, FROC by depth, scratch and baseline compared."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from medtune_jax.applications.embolism.results import (
    cohort as read_cohort,
)
from medtune_jax.applications.embolism.results import froc_evidence, kept, model_intervals
from medtune_jax.applications.embolism.truth import Truth
from medtune_jax.evaluation.froc import PER_VOLUME
from medtune_jax.evaluation.intervals import Difference, Interval, holm
from medtune_jax.report import markup, palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, fraction_name
from medtune_jax.report.froc import HAND_CRAFTED, Detector, FrocEvidence
from medtune_jax.report.section import Section, SectionMaker

# The paper's axis: 0 to 10 false positives per volume.
GRID = np.linspace(0, 10, 201)


def cohort(evidence: Evidence) -> Section:
    """Patients, emboli and candidates, and montages of both kinds of candidate."""
    found = read_cohort(evidence)
    patients = found["patients"]
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
        *("Patients", "Number", "Emboli", "Hit by a candidate", "Candidates a volume"),
        *("True candidates", "False candidates", "No vessel found"),
    )
    parts = [markup.table(head, rows, "numbers")]
    for patient, reason in found["left_out"].items():
        parts.append(markup.paragraph(f"Left out: {patient}. {reason}"))
    drawings = [_montage(evidence, kind) for kind in ("true", "false")]
    for drawing, kind in zip(drawings, ("True", "False"), strict=True):
        caption = (
            f"{kind} candidates, drawn at random, 15 mm wide: above the vessel's cross-section, below its "
            "longitudinal plane, along which the vessel runs from top to bottom."
        )
        parts.append(markup.figure(drawing, caption))
    return Section("Emboli and candidates", markup.join(parts), drawings)


def froc(evidence: Evidence) -> Section | None:
    """FROC curves and the sensitivities at 1..5 false positives, by bootstrap and by Edwards' model."""
    fractions = _fractions(evidence)
    if not fractions:
        return None
    results = froc_evidence(evidence)
    drawing = _curves(results, fractions)
    caption = (
        "Sensitivity for emboli against false positives a volume, mean over seeds; a candidate's score is the mean "
        "over its variants, a hit lies in the embolus or within 5 mm, an embolus counts once. Shaded: 95% interval by "
        "bootstrap over patients of the recommended depth."
    )
    parts = [markup.figure(drawing, caption)]
    for fraction in fractions:
        judges = [*((depth, fraction) for depth in _depths(evidence, fraction)), HAND_CRAFTED]
        parts.append(markup.paragraph(f"With {fraction_name(fraction)} of the training emboli:"))
        parts.append(_table(results, judges))
    parts.append(
        markup.paragraph(
            "Smaller type: 95% intervals by bootstrap over patients; in the second line of a cell the maximum-"
            "likelihood FROC model of Edwards et al. 2002 with its own interval, which takes candidates as independent "
            "(means over the seeds' fits; a dash where the likelihood has no maximum). The hand-crafted baseline "
            "always learns from all training emboli."
        )
    )
    return Section("FROC: sensitivity by false positives a volume", markup.join(parts), [drawing])


def compared(evidence: Evidence) -> Section | None:
    """The deepest and the recommended tuning against scratch and the baseline, paired, by fraction."""
    fractions = _fractions(evidence)
    results, study = froc_evidence(evidence), evidence.study
    found: list[tuple[float, str, str, Difference]] = []
    for fraction in fractions:
        depth, scratch = evidence.recommendations[fraction].depth, evidence.best_scratch(fraction)
        deepest = evidence.deepest(fraction)
        for one in dict.fromkeys([depth, deepest]):
            if one is None:
                continue
            # The baseline learns from all training emboli: it is no rival of networks that had fewer.
            rivals = ((scratch, fraction) if scratch else None, HAND_CRAFTED)
            for rival in rivals if fraction == fractions[0] else rivals[:1]:
                if rival is not None:
                    gain = results.difference((one, fraction), rival, PER_VOLUME)
                    found.append((fraction, one, results.label(rival), gain))
    if not found:
        return None
    corrected = holm([difference.p for *_, difference in found])
    rows = [
        (
            fraction_name(fraction),
            study.label(one),
            other,
            markup.interval(Interval(*difference[:3])),
            markup.p_value(difference.p),
            markup.p_value(p),
        )
        for (fraction, one, other, difference), p in zip(found, corrected, strict=True)
    ]
    head = ("Training emboli", "Depth", "Minus", "Difference of mean sensitivity", "p", "Holm p")
    text = (
        "Mean of the sensitivities at 1 to 5 false positives a volume, differences paired by patient, for the depth "
        "that validation recommends and for the deepest. Positive: the tuned network finds more emboli."
    )
    parts = [markup.paragraph(text), markup.table(head, rows, "numbers")]
    return Section("Tuning against scratch and against hand-crafted features", markup.join(parts))


SECTIONS: tuple[SectionMaker, ...] = (cohort, froc, compared)


def _fractions(evidence: Evidence) -> list[float]:
    return [f for f in evidence.study.fractions if f in evidence.recommendations]


def _depths(evidence: Evidence, fraction: float) -> list[str]:
    return [depth for depth in evidence.study.depths if evidence.has(depth, fraction)]


def _table(results: FrocEvidence[Truth], judges: Sequence[Detector]) -> markup.Markup:
    rows = []
    for judge in judges:
        pairs = zip(
            results.sensitivity(judge, PER_VOLUME),
            model_intervals(results.models(judge)),
            strict=True,
        )
        cells = [
            markup.interval(found, 2) + markup.Markup("<br>") + markup.interval(model, 2)
            for found, model in pairs
        ]
        rows.append((results.label(judge), *cells))
    head = ("False positives a volume", *(f"{rate:g}" for rate in PER_VOLUME))
    return markup.table(head, rows, "numbers")


def _curves(results: FrocEvidence[Truth], fractions: Sequence[float]) -> Drawing:
    evidence = results.evidence
    shown = list(dict.fromkeys([fractions[0], fractions[-1]]))
    figure = Figure(figsize=(5.2 * len(shown), 4.6), layout="constrained")
    for ax, fraction in zip(
        np.atleast_1d(figure.subplots(1, len(shown), sharey=True)), shown, strict=True
    ):
        _draw(ax, results, fraction, evidence.recommendations[fraction].depth)
        ax.set_title(f"{fraction_name(fraction)} of the training emboli", fontsize=10)
    figure.axes[0].set_ylabel("Sensitivity (emboli found)")
    figure.axes[0].legend(loc="lower right", fontsize=8, frameon=False)
    return Drawing("froc", "FROC curves by tuning depth, of scratch and of the baseline.", figure)


def _draw(ax: Axes, results: FrocEvidence[Truth], fraction: float, recommended: str) -> None:
    lines: dict[Detector, palette.Line] = {
        (depth, fraction): line
        for depth, line in palette.depths(results.evidence.study).items()
        if results.evidence.has(depth, fraction)
    }
    for judge, (colour, style) in {**lines, HAND_CRAFTED: palette.ROLES[HAND_CRAFTED]}.items():
        curve = results.curve(judge, GRID)
        name = results.label(judge)
        ax.plot(GRID, curve, color=colour, ls=style, lw=1.6, label=name, drawstyle="steps-post")
    chosen = (recommended, fraction)
    rates = GRID[::5]
    low, high = np.array([i[1:] for i in results.sensitivity(chosen, rates)]).T
    ax.fill_between(rates, low, high, step="post", color=lines[chosen].colour, alpha=0.18, lw=0)
    ax.set(xlim=(0, 10), ylim=(0, 1.01), xlabel="False positives a volume")
    ax.grid(color=palette.GRID, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _montage(evidence: Evidence, kind: str) -> Drawing:
    picture = np.asarray(Image.open(io.BytesIO(kept(evidence, f"{kind}_candidates.png"))))
    height, width = picture.shape
    figure = Figure(figsize=(9.0, 9.0 * height / width))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    ax.set_axis_off()
    return Drawing(f"{kind}_candidates", f"Patches of {kind} candidates in two planes.", figure)
