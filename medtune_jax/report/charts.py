"""Sections around a figure: the metric by depth, ROC curves, convergence."""

from __future__ import annotations

from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, sensitivity_at
from medtune_jax.report import figures, markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.section import Section


def by_depth(evidence: Evidence) -> Section | None:
    """Test metric by depth and fraction, as a figure and a table."""
    study = evidence.study
    if not evidence.cells:
        return None
    name = study.metric.title
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
        f"Test {name}: mean over seeds with its 95% interval by bootstrap over patients (2000 "
        "resamples, the same for all). Small dots are single seeds. Training from scratch is no "
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


def roc(evidence: Evidence) -> Section | None:
    """ROC curves, and sensitivities at the paper's operating points for two classes."""
    study, fraction = evidence.study, evidence.main_fraction
    if fraction is None or study.test is None:
        return None
    drawing = figures.roc_curves(evidence)
    many = len(study.classes) > 2
    caption = "Mean over seeds" + (" and classes (one against the rest)." if many else ".")
    parts = [markup.figure(drawing, f"{caption} The legend gives the test {study.metric.title}.")]
    if not many:
        depths = (evidence.recommendations[fraction].depth, evidence.best_scratch(fraction))
        rows = [
            (
                study.label(depth),
                *map(
                    markup.interval,
                    sensitivity_at(
                        study.test.labels,
                        evidence.scores((depth, fraction))[:, :, 1],
                        study.test.groups,
                    ),
                ),
            )
            for depth in depths
            if depth is not None
        ]
        head = ("Sensitivity at", *(f"FPR {rate:.2f}" for rate in FALSE_POSITIVE_RATES))
        parts.append(markup.table(head, rows, "numbers"))
    return Section("ROC curves", markup.join(parts), [drawing])


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
