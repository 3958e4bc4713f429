"""What a reviewer asks for beside the metric: sections and tables of `evaluation.classification`.

Sections show the depths of the page's curves at the largest training set; the tables have every depth and fraction, and
sub-groups of those that are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from medtune_jax.evaluation.classification import AT_THRESHOLD, TITLES, Classification, Figure
from medtune_jax.evaluation.log_odds import probabilities
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report import markup, palette, reviewer_figures
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.merit import Cell
from medtune_jax.report.section import Section
from medtune_jax.words import count

_EMPTY = "(empty)"


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
    given = [figure.estimate for found in made.values() for figure in found.values()]
    best = evidence.classification((shown[0].depth, fraction))
    if len(best.tasks) > 1:
        each = [best.of_task(task) for task in range(len(best.tasks))]
        given += [figure.estimate for found in each for figure in found.values()]
        head = (_noun(evidence).capitalize(), "Prevalence", *(TITLES[name] for name in best.names))
        by_class = [
            (
                _task_name(evidence, best, task),
                f"{best.prevalence(task):.3f}",
                *_cells(found),
            )
            for task, found in enumerate(each)
        ]
        title = f"Each {_against(evidence)}, of {evidence.study.label(shown[0].depth)}"
        table = markup.table(head, by_class, "numbers stacked")
        parts.append(markup.details(title, table) if len(each) > 6 else _titled(title, table))
    title = "Beside the AUC" if evidence.study.metric.name == "auc" else "Other figures"
    return Section.of(title, *parts, markup.lacking(given))


def _noun(evidence: Evidence) -> str:
    return "finding" if evidence.study.findings else "class"


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
            f"{_task_name(evidence, best, 0)} (the prevalence): a guess has that AUPRC. "
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
        found = best.decided()
        rows = [
            (
                name,
                *(
                    markup.interval(found[f"{kind}_{c}"].estimate)
                    for kind in ("recall", "precision")
                ),
            )
            for c, name in enumerate(study.classes)
        ]
        head = ("Class", "Recall (sensitivity)", "Precision")
        parts.append(markup.table(head, rows, "numbers"))
        parts.append(markup.lacking(figure.estimate for figure in found.values()))
    return Section.of("Confusion matrix", *parts, drawings=[drawing])


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
        (column, value): (part, part.mean()) for column, value, part in _parts(evidence, whole)
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


def _parts(evidence: Evidence, whole: Classification) -> Iterator[tuple[str, str, Classification]]:
    """(column, value, the test cases of it), values in their order."""
    judged = evidence.test_set.judged
    for column, values in evidence.study.subgroups.items():
        values = values[judged]
        for value in sorted(np.unique(values), key=_in_order):
            yield column, str(value) or _EMPTY, whole.of(values == value)


def _in_order(value: str) -> tuple[bool, float, str]:
    """Numbers by their size, then words, and nothing last."""
    try:
        return False, float(value), value
    except ValueError:
        return True, float(not value), str(value)


def _task_name(evidence: Evidence, found: Classification, task: int) -> str:
    return " or ".join(evidence.study.classes[c] for c in found.tasks[task])


def by_run(evidence: Evidence) -> dict[str, dict[str, float]]:
    """The same figures of each run, by the run's name, with its threshold: columns of results.csv."""
    found: dict[str, dict[str, float]] = {}
    for cell in evidence.cells:
        made = evidence.classification(cell)
        means = {
            name: f.by_run for name, f in made.mean().items() if name != evidence.study.metric.name
        }
        for s, run in enumerate(
            run for run in evidence.study.cell(*cell) if run.scores is not None
        ):
            found[run.run] = {name: float(of[s]) for name, of in means.items() if len(of)}
            if made.thresholds is not None:
                found[run.run] |= _named_thresholds(evidence, made, made.thresholds[s])
    return found


def _named_thresholds(
    evidence: Evidence, made: Classification, thresholds: np.ndarray
) -> dict[str, float]:
    if len(made.tasks) == 1:
        return {"threshold": float(thresholds[0])}
    return {
        f"threshold_{_task_name(evidence, made, task)}": float(value)
        for task, value in enumerate(thresholds)
    }


def write_tables(evidence: Evidence) -> None:
    """classification.csv, confusion.csv and calibration.csv of a study with finished runs; see docs/outputs.md."""
    if not evidence.cells:
        return
    for name, rows in (
        ("classification", [_CLASSIFICATION, *_classification(evidence)]),
        ("confusion", [_CONFUSION, *_confusion(evidence)]),
        ("calibration", [_CALIBRATION, *_calibration(evidence)]),
    ):
        _write(evidence.study.directory / f"{name}.csv", rows)


_CLASSIFICATION = (
    *("depth", "fraction", "column", "value", "class", "figure"),
    *("estimate", "low", "high", "why", "runs", "groups", "cases", "positives"),
)
_CONFUSION = ("depth", "fraction", "seed", "true", "called", "cases")
_CALIBRATION = (
    *("depth", "fraction", "class", "from", "to", "cases"),
    *("probability", "share", "share_low", "share_high"),
)


def _write(path: Path, rows: list[tuple[Any, ...]]) -> None:
    write_whole(path, csv_bytes(rows))


def _classification(evidence: Evidence) -> Iterator[tuple[Any, ...]]:
    shown = _shown(evidence)
    for cell in evidence.cells:
        whole = evidence.classification(cell)
        yield from _rows(evidence, cell, ("", ""), whole)
        if len(whole.tasks) > 1:
            for task in range(len(whole.tasks)):
                name, positives = _task_name(evidence, whole, task), int(whole.positive(task).sum())
                yield from _figure_rows(cell, ("", ""), name, whole, whole.of_task(task), positives)
        if whole.classes > 2 and whole.exclusive:
            yield from _decided_rows(evidence, cell, whole)
        if cell in shown:
            for column, value, part in _parts(evidence, whole):
                yield from _rows(evidence, cell, (column, "" if value == _EMPTY else value), part)


def _rows(
    evidence: Evidence, cell: Cell, where: tuple[str, str], part: Classification
) -> Iterator[tuple[Any, ...]]:
    single = len(part.tasks) == 1
    name, positives = (
        (_task_name(evidence, part, 0), int(part.positive(0).sum())) if single else ("", None)
    )
    return _figure_rows(cell, where, name, part, part.mean(), positives)


def _decided_rows(
    evidence: Evidence, cell: Cell, whole: Classification
) -> Iterator[tuple[Any, ...]]:
    found, classes = whole.decided(), evidence.study.classes
    for c, name in enumerate(classes):
        of_class = {kind: found[f"{kind}_{c}"] for kind in ("recall", "precision")}
        positives = int((whole.labels == c).sum())
        yield from _figure_rows(cell, ("", ""), name, whole, of_class, positives)
    if len(whole.tasks) == 1:  # of several it is among the means
        balanced = {"balanced_accuracy": found["balanced_accuracy"]}
        yield from _figure_rows(cell, ("", ""), "", whole, balanced, None)


def _figure_rows(
    cell: Cell,
    where: tuple[str, str],
    name: str,
    part: Classification,
    found: Mapping[str, Figure],
    positives: int | None,
) -> Iterator[tuple[Any, ...]]:
    size = (len(part.scores), len(np.unique(part.groups)), len(part.labels), positives)
    for figure, (value, _) in found.items():
        yield (*cell, *where, name, figure, *_numbers(value), value.why, *size)


def _numbers(value: Estimate) -> tuple[float | None, ...]:
    return value.estimate, value.low, value.high


def _confusion(evidence: Evidence) -> Iterator[tuple[Any, ...]]:
    classes = evidence.study.classes
    for cell in evidence.cells:
        matrix = evidence.classification(cell).confusion()
        for seed, counts in zip(
            evidence.seeds(cell), () if matrix is None else matrix, strict=matrix is not None
        ):
            for true, called in np.ndindex(counts.shape):
                yield (*cell, seed, classes[true], classes[called], int(counts[true, called]))


def _calibration(evidence: Evidence) -> Iterator[tuple[Any, ...]]:
    for cell in evidence.cells:
        made = evidence.classification(cell)
        for task in range(len(made.tasks)):
            name = _task_name(evidence, made, task)
            for one in made.reliability(task):
                yield (
                    *cell,
                    name,
                    one.low,
                    one.high,
                    one.images,
                    one.probability,
                    *_numbers(one.share),
                )


def _shown(evidence: Evidence) -> list[Cell]:
    fraction = evidence.main_fraction
    if fraction is None:
        return []
    return [(part.depth, fraction) for part in palette.cast(evidence, fraction)]
