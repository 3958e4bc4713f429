"""Tables of `evaluation.classification`: every depth and fraction, and sub-groups of those that the page shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.evaluation.classification import Classification, Figure
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report import palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.merit import Cell
from medtune_jax.report.reviewer import EMPTY, parts_by_subgroup, task_name


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
        f"threshold_{task_name(evidence, made, task)}": float(value)
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
                name, positives = task_name(evidence, whole, task), int(whole.positive(task).sum())
                yield from _figure_rows(cell, ("", ""), name, whole, whole.of_task(task), positives)
        if whole.classes > 2 and whole.exclusive:
            yield from _decided_rows(evidence, cell, whole)
        if cell in shown:
            for column, value, part in parts_by_subgroup(evidence, whole):
                yield from _rows(evidence, cell, (column, "" if value == EMPTY else value), part)


def _rows(
    evidence: Evidence, cell: Cell, where: tuple[str, str], part: Classification
) -> Iterator[tuple[Any, ...]]:
    single = len(part.tasks) == 1
    name, positives = (
        (task_name(evidence, part, 0), int(part.positive(0).sum())) if single else ("", None)
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
            name = task_name(evidence, made, task)
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
