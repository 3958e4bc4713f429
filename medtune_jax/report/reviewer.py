"""What a reviewer asks for beside the metric: sections of `evaluation.classification`.

They show the depths of the page's curves at the largest training set; `reviewer_tables` has every depth and fraction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from medtune_jax.evaluation.classification import AT_THRESHOLD, TITLES, Classification, Figure
from medtune_jax.evaluation.log_odds import probabilities
from medtune_jax.report import markup, palette, reviewer_figures
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.section import Section
from medtune_jax.words import count

EMPTY = "(empty)"


def figures(evidence: Evidence) -> Section | None:
    """AUPRC, sensitivity, specificity, balanced accuracy, Brier score and calibration error of the shown depths."""
    fraction = evidence.main_fraction
    if fraction is None:
        return None
    shown = palette.cast(evidence, fraction)
    made = {part: evidence.classification((part.depth, fraction)).mean() for part in shown}
    rows = [(evidence.study.label(part.depth), *_cells(found)) for part, found in made.items()]
    parts = [markup.paragraph(text) for text in _explained(evidence, fraction)]
    parts.append(markup.table(("Tuned stages", *TITLES.values()), rows, "numbers stacked"))
    best = evidence.classification((shown[0].depth, fraction))
    each = [best.of_task(task) for task in range(len(best.tasks))] if len(best.tasks) > 1 else []
    if each:
        title = f"Each {_against(evidence)}, of {evidence.study.label(shown[0].depth)}"
        table = _by_task(evidence, best, each)
        parts.append(markup.details(title, table) if len(each) > 6 else _titled(title, table))
    title = "Beside the AUC" if evidence.study.metric.name == "auc" else "Other figures"
    given = (figure.estimate for found in (*made.values(), *each) for figure in found.values())
    return Section.of(title, *parts, markup.lacking(given))


def _by_task(evidence: Evidence, best: Classification, each: list[dict[str, Figure]]) -> Markup:
    noun = "Finding" if evidence.study.findings else "Class"
    rows = [
        (task_name(evidence, best, task), f"{best.prevalence(task):.3f}", *_cells(found))
        for task, found in enumerate(each)
    ]
    head = (noun, "Prevalence", *(TITLES[name] for name in best.names))
    return markup.table(head, rows, "numbers stacked")


def _against(evidence: Evidence) -> str:
    return "finding for itself" if evidence.study.findings else "class against the rest"


def _titled(title: str, table: Markup) -> Markup:
    return markup.join((markup.paragraph(f"{title}:"), table))


def _cells(found: Mapping[str, Figure]) -> Iterator[Markup]:
    return (markup.interval(figure.estimate) for figure in found.values())


def _explained(evidence: Evidence, fraction: float) -> Iterator[str]:
    study, words = evidence.study, evidence.study.words
    best = evidence.classification((evidence.recommendations[fraction].depth, fraction))
    said = f"With {fraction_name(fraction)} of the training data; 95% intervals over {words.groups} and training runs. "
    if not best.exclusive:
        said += (
            f"Means over the {len(best.tasks)} findings, each for itself: an {words.case} may have several, and counts "
            "in no figure of a finding of which the data do not say whether it is there. A guess has an AUPRC of the "
            "prevalence. "
        )
    elif len(best.tasks) > 1:
        said += (
            f"Means over the {len(best.tasks)} classes, each against the rest; the balanced accuracy is the mean "
            f"recall where each {words.case} is called the class of the highest probability. "
        )
    else:
        said += (
            f"{best.prevalence(0):.1%} of the {count(len(best.labels), words.cases)} in the test set are "
            f"{task_name(evidence, best, 0)} (the prevalence): a guess has that AUPRC. "
        )
    yield said + (
        "Lower is better for the Brier score (mean squared error of the probability) and the calibration error (see "
        "below)."
    )
    if best.thresholds is not None:
        yield (
            f"Sensitivity and specificity are at the threshold that each run chose on its own validation "
            f"{words.cases}: {study.rule}. {_thresholds(evidence, best)}"
        )


def _thresholds(evidence: Evidence, best: Classification) -> str:
    """Which they were, where there is one for each run."""
    if best.thresholds is None or len(best.tasks) > 1:
        return ""
    chosen = probabilities(best.thresholds[:, 0])
    found = f"{chosen[0]:.3f}"
    if len(chosen) > 1:
        found = f"{chosen.min():.3f} to {chosen.max():.3f} in {len(chosen)} runs"
    return f"Of the recommended depth it is a probability of {found}."


def calibration(evidence: Evidence) -> Section | None:
    """Reliability curves and expected calibration error."""
    fraction = evidence.main_fraction
    if fraction is None:
        return None
    words = evidence.study.words
    drawing = reviewer_figures.reliability(evidence, fraction)
    several = len(evidence.study.metric.tasks(len(evidence.study.classes))) > 1
    bars = (
        f"All together, each {_against(evidence)}."
        if several
        else f"Bars are 95% intervals, where a bin has enough {words.groups}."
    )
    caption = (
        f"Left: share of positives among the test {words.cases} of a probability, in ten bins of equal width; the "
        f"dotted line is a perfectly calibrated network. Larger dots hold more {words.cases}. {bars} Right: how many "
        f"{words.cases} have which probability. The calibration error is the mean distance from the line; even a "
        f"perfect network has some by chance, more with fewer {words.cases}."
    )
    note, balance = Markup(""), evidence.study.balance
    if balance:
        note = markup.paragraph(
            f"In training {balance.done} (training.balance={balance.name}), so that probabilities are of "
            f"{balance.mix}: where the prevalence in the test set is another, curves lie off the line for this reason "
            "alone.",
            "note",
        )
    return Section.of("Calibration", markup.figure(drawing, caption), note, drawings=[drawing])


def confusion(evidence: Evidence) -> Section | None:
    """The confusion matrix of the recommended depth; of several classes, with recall and precision of each."""
    fraction = evidence.main_fraction
    if fraction is None:
        return None
    study = evidence.study
    depth = evidence.recommendations[fraction].depth
    best = evidence.classification((depth, fraction))
    matrix = best.confusion()
    if not best.exclusive:
        return None
    if matrix is None:
        text = f"No confusion matrix can be given: {best.undefined or best.no_threshold}."
        return Section.of("Confusion matrix", markup.paragraph(text, "note"))
    drawing = reviewer_figures.confusion(matrix.mean(axis=0), study.classes)
    how = (
        "the class of the highest probability" if len(study.classes) > 2 else "the threshold above"
    )
    runs = f"mean of {len(matrix)} runs" if len(matrix) > 1 else "one run"
    caption = (
        f"Test {study.words.cases} of {study.label(depth)} ({runs}), called by {how}. Below each number its share of "
        "the row: on the diagonal the recall."
    )
    parts = [markup.figure(drawing, caption)]
    if len(study.classes) > 2:
        parts += _by_class(best.decided(), study.classes)
    return Section.of("Confusion matrix", *parts, drawings=[drawing])


def _by_class(found: Mapping[str, Figure], classes: Sequence[str]) -> tuple[Markup, Markup]:
    kinds = ("recall", "precision")
    rows = [
        (name, *(markup.interval(found[f"{kind}_{c}"].estimate) for kind in kinds))
        for c, name in enumerate(classes)
    ]
    table = markup.table(("Class", "Recall (sensitivity)", "Precision"), rows, "numbers")
    return table, markup.lacking(figure.estimate for figure in found.values())


def subgroups(evidence: Evidence) -> Section | None:
    """Figures of the recommended depth in every sub-group of the test set."""
    study, fraction = evidence.study, evidence.main_fraction
    if fraction is None or not study.subgroups:
        return None
    depth = evidence.recommendations[fraction].depth
    whole = evidence.classification((depth, fraction))
    names = list(
        dict.fromkeys(
            (
                study.metric.name,
                *(n for n in TITLES if whole.thresholds is not None or n not in AT_THRESHOLD),
            )
        )
    )
    found = {
        (column, value): (part, part.mean())
        for column, value, part in parts_by_subgroup(evidence, whole)
    }
    metric = study.metric.name
    drawing = reviewer_figures.subgroups(
        {key: figures[metric].estimate for key, (_, figures) in found.items()},
        whole.mean()[metric].estimate,
        TITLES[metric],
    )
    text = (
        f"Of {study.label(depth)}, by columns of the data. {_many(len(found))}Every threshold is that of the whole: "
        "none is chosen for a sub-group."
    )
    parts = [markup.paragraph(text), markup.figure(drawing, _CAPTION)]
    for column in study.subgroups:
        mine = {value: both for (of, value), both in found.items() if of == column}
        parts.append(_subgroup_table(evidence, column, mine, names))
    return Section.of("Sub-groups", *parts, drawings=[drawing])


_CAPTION = (
    "Means over seeds with 95% intervals, where there is enough to judge; the line is the whole test set. A sub-group "
    "without a dot has no figure."
)


def _many(groups: int) -> str:
    return (
        f"With {groups} intervals some miss the truth by chance: a difference between sub-groups is no test of it. "
        if groups > 4
        else ""
    )


def _subgroup_table(
    evidence: Evidence,
    column: str,
    found: Mapping[str, tuple[Classification, Mapping[str, Figure]]],
    names: list[str],
) -> Markup:
    words = evidence.study.words
    single = len(next(iter(found.values()))[0].tasks) == 1
    head = [column, f"{words.cases.capitalize()} ({words.groups})"]
    head += ["Prevalence"] if single else []
    rows = []
    for value, (part, figures) in found.items():
        size = [f"{len(part.labels):,} ({len(np.unique(part.groups)):,})"]
        size += [f"{part.prevalence(0):.3f}"] if single else []
        rows.append((value, *size, *(markup.interval(figures[name].estimate) for name in names)))
    table = markup.table([*head, *(TITLES[n] for n in names)], rows, "numbers stacked")
    reasons: dict[str, list[str]] = {}
    for value, (_, figures) in found.items():
        for why in dict.fromkeys(
            f.estimate.why for f in figures.values() if f.estimate.low is None
        ):
            reasons.setdefault(why, []).append(value)
    notes = (
        markup.paragraph(f"Where {', '.join(values)} has no figure or no interval: {why}.", "note")
        for why, values in reasons.items()
        if why
    )
    return markup.join((table, *notes))


def parts_by_subgroup(
    evidence: Evidence, whole: Classification
) -> Iterator[tuple[str, str, Classification]]:
    """(column, value, the test cases of it), values in their order."""
    judged = evidence.test_set.judged
    for column, values in evidence.study.subgroups.items():
        values = values[judged]
        for value in sorted(np.unique(values), key=_in_order):
            yield column, str(value) or EMPTY, whole.of(values == value)


def _in_order(value: str) -> tuple[bool, float, str]:
    """Numbers by their size, then words, and nothing last."""
    try:
        return False, float(value), value
    except ValueError:
        return True, float(not value), str(value)


def task_name(evidence: Evidence, found: Classification, task: int) -> str:
    return " or ".join(evidence.study.classes[c] for c in found.tasks[task])
