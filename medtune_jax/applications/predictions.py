"""What predictions are written as, and judged by: shared by the applications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.scoring import mean_of_runs
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.classification import TITLES, Classification
from medtune_jax.evaluation.metric import task_score
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.evaluation.scores import BETWEEN, score_columns
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.words import count

PREDICTIONS, METRICS = "predictions.csv", "metrics.csv"
NO_LABELS = "none"
"""`labels` of a prediction that leaves out what is known of the inputs."""


def score_table(
    ensemble: Ensemble, scores: np.ndarray, columns: Mapping[str, Sequence[Any]]
) -> list[tuple[Any, ...]]:
    """Rows of predictions.csv, the first the header: `columns`, then as scores.csv, then the spread over runs.

    scores: log-odds float32 [S, N, C]. columns: name -> [N].
    """
    classes = ensemble.classes
    probabilities, logits = score_columns(classes)
    mean, spread = mean_of_runs(scores)
    several = len(scores) > 1
    spreads = [f"spread_{name}" for name in probabilities] if several else []
    head = (*columns, *probabilities, *logits, *spreads)
    cells = zip(*columns.values(), mean, spread, strict=True)
    rows = [
        (
            *own,
            *(f"{x:.9g}" for x in (*log_odds.probabilities(row), *row)),
            *(f"{x:.4g}" for x in (far if several else ())),
        )
        for *own, row, far in cells
    ]
    return [head, *rows]


def write_classified(
    ensemble: Ensemble,
    output: Path,
    columns: Mapping[str, Sequence[Any]],
    scores: np.ndarray,
    labels: Sequence[int | Sequence[int] | None],
    groups: Sequence[str],
) -> list[str]:
    """predictions.csv and, where any label is known, metrics.csv; returns what to say of them.

    columns: name -> [N], the first columns. scores: log-odds float32 [S, N, C]. labels: of each of N cases its class,
    its findings, or None where it is not known. groups: [N], patients or videos.
    """
    words, known = ensemble.application.words, np.array([label is not None for label in labels])
    told = {**columns, "called": called(ensemble, scores)}
    write_whole(output / PREDICTIONS, csv_bytes(score_table(ensemble, scores, told)))
    said = [f"{count(len(labels), words.cases)}: {output / PREDICTIONS}"]
    if not any(told["called"]) and not ensemble.findings:
        why = thresholds_of(ensemble)[1] or "a run's result is damaged or gone: run the sweep again"
        said.append(f"note: nothing is called, since no threshold is known ({why})")
    if not known.any():
        return said
    own, of = np.array([label for label in labels if label is not None]), np.array(groups)[known]
    found = classification(ensemble, own, scores[:, known], of)
    number = len(np.unique(of))
    write_whole(output / METRICS, metrics_file(found, len(own), number))
    said.append(
        f"{count(len(own), words.cases)} of {count(number, words.groups)} with labels: {output / METRICS}"
    )
    return [*said, *figures_text(found)]


def classification(
    ensemble: Ensemble, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> dict[str, Estimate]:
    """The study's figures on new data, with 95% intervals over patients and runs.

    labels: int [N] or [N, C] of findings. scores: log-odds [S, N, C]. Each run is judged at the threshold that it chose
    on its own validation images.
    """
    thresholds, why = thresholds_of(ensemble)
    words = ensemble.application.words
    found = Classification(
        *(labels, np.asarray(scores, float), groups, ensemble.results.metric, thresholds, why),
        (words.groups, words.cases),
    )
    return {name: figure.estimate for name, figure in found.mean().items()}


def thresholds_of(ensemble: Ensemble) -> tuple[np.ndarray | None, str]:
    """Log-odds [S, K] of each run's binary tasks, chosen on its validation images; or None and why."""
    runs = ensemble.runs
    found = [run.thresholds for run in runs if run.thresholds is not None]
    if len(found) < len(ensemble.members):
        return None, next((run.no_threshold for run in runs if run.no_threshold), "")
    return np.stack(found), ""


def threshold_words(ensemble: Ensemble) -> str:
    """From which probability on each class is called, as `called` does it; '' where no threshold decides."""
    thresholds, classes = thresholds_of(ensemble)[0], ensemble.classes
    if thresholds is None or (len(classes) > 2 and not ensemble.findings):
        return ""
    limits = log_odds.probabilities(thresholds.mean(axis=0)).tolist()
    positive = classes if ensemble.findings else classes[1:]
    said = ", ".join(f"{name} from {x:.3g}" for name, x in zip(positive, limits, strict=True))
    return f"Called by its probability: {said} on, chosen on validation {ensemble.application.words.cases}."


def called(ensemble: Ensemble, scores: np.ndarray) -> list[str]:
    """What each of N images is called, of scores [S, N, C]: a class, or the findings that are there, apart by |.

    Of two classes, and of each finding, by the mean over runs of their thresholds (log-odds); of several classes the
    most probable. '' where no threshold was chosen.
    """
    mean, classes = mean_of_runs(scores)[0], np.array(ensemble.classes)
    if len(classes) > 2 and not ensemble.findings:
        return classes[mean.argmax(axis=1)].tolist()
    thresholds = thresholds_of(ensemble)[0]
    if thresholds is None:
        return [""] * len(mean)
    tasks = ensemble.results.metric.tasks(len(classes))
    above = np.stack([task_score(mean, task) for task in tasks], axis=1) >= thresholds.mean(axis=0)
    if not ensemble.findings:
        return classes[above[:, 0].astype(int)].tolist()
    return [BETWEEN.join(classes[row]) for row in above]


def explained_classes(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """int [N], of scores [S, N, C]: the class that an image is called, and so is explained for; where it is called
    several findings or nothing, the most probable one.
    """
    classes = ensemble.classes
    likely = mean_of_runs(scores)[0].argmax(axis=1)
    words = called(ensemble, scores)
    own = [classes.index(w) if w in classes else k for w, k in zip(words, likely, strict=True)]
    return np.array(own, int)


def metrics_file(figures: Mapping[str, Estimate], images: int, groups: int) -> bytes:
    """metrics.csv: a row a figure, with its interval, or why there is none."""
    head = ("figure", "estimate", "low", "high", "cases", "groups", "why")
    rows = [
        (name, *map(_digits, (e.estimate, e.low, e.high)), images, groups, e.why)
        for name, e in figures.items()
    ]
    return csv_bytes([head, *rows])


def figures_text(figures: Mapping[str, Estimate]) -> list[str]:
    """'AUC 0.91 (0.85 to 0.95)': a line a figure."""
    return [f"{TITLES.get(name, name)}: {_said(e)}" for name, e in figures.items()]


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _said(found: Estimate) -> str:
    if found.estimate is None:
        return f"none ({found.why})"
    if found.low is None:
        return f"{found.estimate:.3f} ({found.why})"
    return f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"
