"""Sections around a figure: the metric by depth, the curves behind it, convergence."""

from __future__ import annotations

from collections.abc import Sequence

from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, sensitivity_at
from medtune_jax.report import figures, markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.section import Section

_APART = {
    False: "Training from scratch is no depth and stands apart.",
    True: "Other ways to tune and training from scratch are no depths and stand apart.",
}


def by_depth(evidence: Evidence) -> Section | None:
    """Test metric by depth and fraction, as a figure and a table."""
    study, name = evidence.study, evidence.study.metric.title
    if not evidence.cells:
        return None
    drawing = figures.by_depth(evidence)
    main = evidence.main_fraction
    chosen = evidence.recommendations[main].depth if main is not None else None

    def row(depth: str) -> tuple[str, ...]:
        found = (
            evidence.test(depth, f) if evidence.has(depth, f) else None for f in study.fractions
        )
        return (study.label(depth), *map(markup.interval, found))

    caption = (
        f"Test {name}: mean over seeds with its 95% interval over {study.words.groups} and training runs. "
        f"Small dots are single seeds. {_APART[bool(study.way_depths)]}"
    )
    table = markup.table(
        ("Tuned stages", *map(fraction_name, study.fractions)),
        map(row, study.depths),
        "numbers stacked" if len(study.fractions) > 4 else "numbers",
        study.depths.index(chosen) if chosen else None,
    )
    title = f"{name} by depth and training-set size"
    note = markup.lacking(evidence.test(*cell) for cell in evidence.cells)
    return Section.of(title, markup.figure(drawing, caption), table, note, drawings=[drawing])


def precision_recall(evidence: Evidence) -> Section | None:
    """Precision-recall curves, where the metric is the area under them."""
    kind = figures.PRECISION_RECALL
    return _curves(evidence, kind) if evidence.study.metric.name == kind.metric else None


def roc(evidence: Evidence) -> Section | None:
    """ROC curves and, where the metric judges one binary task, sensitivities at the paper's operating points."""
    study, fraction = evidence.study, evidence.main_fraction
    section = _curves(evidence, figures.ROC)
    if section is None or fraction is None or len(study.metric.tasks(len(study.classes))) > 1:
        return section
    rows, given = [], []
    for depth in (evidence.recommendations[fraction].depth, evidence.best_scratch(fraction)):
        if depth is not None:
            scores = evidence.judged((depth, fraction))
            found = sensitivity_at(study.metric, evidence.labels, scores, evidence.groups)
            rows.append((study.label(depth), *map(markup.interval, found)))
            given += found
    head = ("Sensitivity at", *(f"FPR {rate:.2f}" for rate in FALSE_POSITIVE_RATES))
    table = markup.table(head, rows, "numbers")
    parts = (section.html, table, markup.lacking(given))
    return Section.of(section.title, *parts, drawings=section.drawings)


def _curves(evidence: Evidence, kind: figures.Curve) -> Section | None:
    study = evidence.study
    if evidence.main_fraction is None:
        return None
    drawing = figures.curves(evidence, kind)
    told = (
        "and over the findings"
        if study.findings
        else _tasks(study.classes, study.metric.tasks(len(study.classes)))
    )
    caption = f"Mean over seeds, {told}."
    if study.metric.name == kind.metric:
        caption += f" The legend gives the test {study.metric.title}, the area under the curve."
    return Section(kind.title, markup.figure(drawing, caption), [drawing])


def _tasks(classes: Sequence[str], tasks: Sequence[tuple[int, ...]]) -> str:
    """What the curves tell apart."""
    if len(tasks) > 1:
        return "and over the classes, one against the rest"
    positive = [name for c, name in enumerate(classes) if c in tasks[0]]
    negative = [name for name in classes if name not in positive]
    return f"{' or '.join(positive)} against {' or '.join(negative)}"


def convergence(evidence: Evidence) -> Section | None:
    """Validation metric against mini-batches."""
    if not any(len(run.history) for run in evidence.study.runs):
        return None
    drawing = figures.convergence(evidence)
    fraction = evidence.main_fraction or evidence.study.fractions[0]
    caption = (
        f"Validation {evidence.study.metric.title} after each epoch with {fraction_name(fraction)} "
        "of the training data. Thin lines are seeds; a thick line is their mean while all still "
        "trained."
    )
    return Section("Convergence", markup.figure(drawing, caption), [drawing])
