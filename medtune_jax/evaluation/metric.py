"""The figure of merit: one object that picks the snapshot, scores the test set and carries the interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import sides
from medtune_jax.evaluation.sweep import (
    Statistic,
    ThresholdSweep,
    area_under,
    average_precision,
    estimate,
)

# Counts of positives and of negatives at falling thresholds, [R, K + 1] each -> [R] or [R, T].
Area = Callable[[np.ndarray, np.ndarray], np.ndarray]


def one_vs_rest(classes: int) -> list[tuple[int, ...]]:
    """The positive classes of each binary task: with two classes the second, else every class in turn."""
    return [(1,)] if classes == 2 else [(c,) for c in range(classes)]


def each(classes: int) -> list[tuple[int, ...]]:
    """The same of findings that do not exclude each other: every one in turn, with and without."""
    return [(c,) for c in range(classes)]


@dataclass(frozen=True)
class Metric:
    """A figure in 0..1, higher is better, of labels and log-odds.

    name: in configs and results. title: on a page. area: of one binary task, from counts at every threshold.
    tasks: number of classes -> the classes that are positive in each binary task, over which the figure is averaged.
    """

    name: str
    title: str
    area: Area
    tasks: Callable[[int], list[tuple[int, ...]]] = one_vs_rest

    def __call__(self, labels: np.ndarray, scores: np.ndarray) -> float:
        """labels: int [N], or [N, C] of several findings an image (`evaluation.labels`). scores: log-odds [N, C], or
        [S, N, C] of S seeds, whose figures are averaged.
        """
        labels = np.asarray(labels)
        statistic = self.statistic(labels, scores)
        if not all(mask.any() for mask in self.needed(labels, scores)):
            raise UserError(
                f"A class has no image in this set: its {self.title} is undefined; add images of it or drop the class."
            )
        return float(estimate(statistic, len(labels)).mean())

    def statistic(self, labels: np.ndarray, scores: np.ndarray) -> Statistic:
        """The figure of each of S runs as a function of weights [R, N] -> [R, S], or [R, S, T] where `area` returns T.

        Arguments as of a call.
        """
        labels, scores = np.asarray(labels), np.asarray(scores, float)
        if not np.isfinite(scores).all():
            raise UserError(
                f"Scores hold NaN or infinity: the {self.title} of a diverged run is undefined."
            )
        if scores.shape[-2] != len(labels):
            raise UserError(
                f"Scores of {scores.shape[-2]} images cannot be judged by {len(labels)} labels: give one label "
                "per image."
            )
        tasks = self.binary(labels, scores)
        sweeps = [(ThresholdSweep(score), with_, without) for score, with_, without in tasks]
        runs = 1 if scores.ndim == 2 else len(scores)

        def figures(weights: np.ndarray) -> np.ndarray:
            areas = np.stack(
                [
                    self.area(sweep.counts(weights * positive), sweep.counts(weights * negative))
                    for sweep, positive, negative in sweeps
                ],
                axis=1,
            )
            of_tasks = areas.reshape(len(weights), runs, -1, *areas.shape[2:])
            return np.asarray(of_tasks.mean(axis=2))

        return figures

    def binary(
        self, labels: np.ndarray, scores: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(score float [N], positive, negative bool [N]) of each seed and binary task; arguments as of a call."""
        seeds = np.asarray(scores, float).reshape(-1, *np.shape(scores)[-2:])
        return [
            (task_score(seed, positive), *sides(labels, positive))
            for seed in seeds
            for positive in self.tasks(np.shape(scores)[-1])
        ]

    def needed(self, labels: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
        """The sets of images bool [N] of which none may be empty; arguments as of a call."""
        tasks = self.tasks(np.shape(scores)[-1])
        return [side for positive in tasks for side in sides(labels, positive)]


def task_score(scores: np.ndarray, positive: Sequence[int]) -> np.ndarray:
    """Log-odds [N] that an image belongs to any of the `positive` classes, from scores [N, C]."""
    if len(positive) == 1:
        return scores[:, positive[0]]
    rest = [c for c in range(scores.shape[1]) if c not in positive]
    if len(rest) != 1:
        raise ValueError("positive classes must be one class, or all but one")
    return -scores[:, rest[0]]


AUC = Metric("auc", "AUC", area_under)
AUPRC = Metric("auprc", "AUPRC", average_precision)
METRICS = {metric.name: metric for metric in (AUC, AUPRC)}


def chosen(name: str, own: Metric) -> Metric:
    """The metric of a config's `metric`: empty for the application's own; UserError with the nearest name.

    Another metric judges the same binary tasks as the application's own. Of findings that do not exclude each other:
    `of_findings`.
    """
    if not name:
        return own
    if name not in METRICS:
        near = get_close_matches(name, METRICS, 1, 0)[0]
        raise UserError(
            f"unknown metric '{name}'; did you mean '{near}'? (metrics: {', '.join(METRICS)})"
        )
    return replace(METRICS[name], tasks=own.tasks)


def of_findings(metric: Metric) -> Metric:
    """The metric's mean over findings that do not exclude each other."""
    return replace(metric, tasks=each)
