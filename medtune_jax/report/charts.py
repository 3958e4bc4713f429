"""Sections around a figure: the metric by depth, the curves behind it, convergence."""

from __future__ import annotations

from collections.abc import Sequence

from medtune_jax.evaluation.intervals import Interval
from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, sensitivity_at
from medtune_jax.report import figures, markup
from medtune_jax.report.evidence import Cell, Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.section import Section


def by_depth(evidence: Evidence) -> Section | None:
    """Test metric by depth and fraction, as a figure and a table."""
    study, name = evidence.study, evidence.study.metric.title
    if not evidence.cells:
        return None
    drawing = figures.by_depth(evidence)
    main = evidence.main_fraction
    chosen = evidence.recommendations[main].depth if main is not None else None
    rows = [
        (
            study.label(depth),
            *(
                markup.interval(evidence.test(depth, f) if evidence.has(depth, f) else None)
                for f in study.fractions
            ),
        )
        for depth in study.depths
    ]
    caption = (
        f"Test {name}: mean over seeds with its 95% interval by bootstrap over {study.words.groups} "
        "(2000 resamples, the same for all). Small dots are single seeds. Training from scratch is no "
        "depth and stands apart."
    )
    return Section(
        f"{name} by depth and training-set size",
        markup.join(
            [
                markup.figure(drawing, caption),
                markup.table(
                    ("Tuned stages", *(fraction_name(f) for f in study.fractions)),
                    rows,
                    "numbers stacked" if len(study.fractions) > 4 else "numbers",
                    study.depths.index(chosen) if chosen else None,
                ),
            ]
        ),
        [drawing],
    )


def precision_recall(evidence: Evidence) -> Section | None:
    """Precision-recall curves, where the metric is the area under them."""
    return _curves(evidence, figures.PRECISION_RECALL) if _is(evidence, "auprc") else None


def roc(evidence: Evidence) -> Section | None:
    """ROC curves and, where the metric judges one binary task, sensitivities at the paper's operating points."""
    study, fraction = evidence.study, evidence.main_fraction
    section = _curves(evidence, figures.ROC)
    tasks = study.metric.tasks(len(study.classes))
    if section is None or fraction is None or len(tasks) > 1:
        return section
    depths = (evidence.recommendations[fraction].depth, evidence.best_scratch(fraction))
    rows = [
        (study.label(depth), *map(markup.interval, _sensitivities(evidence, (depth, fraction))))
        for depth in depths
        if depth is not None
    ]
    head = ("Sensitivity at", *(f"FPR {rate:.2f}" for rate in FALSE_POSITIVE_RATES))
    table = markup.table(head, rows, "numbers")
    return section._replace(html=markup.join([section.html, table]))


def _is(evidence: Evidence, metric: str) -> bool:
    return evidence.study.metric.name == metric


def _curves(evidence: Evidence, kind: figures.Curve) -> Section | None:
    study = evidence.study
    if evidence.main_fraction is None or study.test is None:
        return None
    drawing = figures.curves(evidence, kind)
    tasks = study.metric.tasks(len(study.classes))
    caption = f"Mean over seeds, {_tasks(study.classes, tasks)}."
    if _is(evidence, kind.metric):
        caption += f" The legend gives the test {study.metric.title}, the area under the curve."
    return Section(kind.title, markup.figure(drawing, caption), [drawing])


def _tasks(classes: Sequence[str], tasks: Sequence[tuple[int, ...]]) -> str:
    """What the curves tell apart."""
    if len(tasks) > 1:
        return "and over the classes, one against the rest"
    positive = [name for c, name in enumerate(classes) if c in tasks[0]]
    negative = [name for name in classes if name not in positive]
    return f"{' or '.join(positive)} against {' or '.join(negative)}"


def _sensitivities(evidence: Evidence, cell: Cell) -> list[Interval]:
    scores = evidence.judged(cell)
    return sensitivity_at(evidence.study.metric, evidence.labels, scores, evidence.groups)


def convergence(evidence: Evidence) -> Section | None:
    """Validation metric against mini-batches."""
    if not evidence.cells or not figures.has_history(evidence.study):
        return None
    drawing = figures.convergence(evidence)
    fraction = evidence.main_fraction or evidence.study.fractions[0]
    caption = (
        f"Validation {evidence.study.metric.title} after each epoch with {fraction_name(fraction)} "
        "of the training data. Thin lines are seeds; a thick line is their mean while all still "
        "trained."
    )
    return Section("Convergence", markup.figure(drawing, caption), [drawing])
