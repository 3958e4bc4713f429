"""What a reviewer asks for beside the AUC: figures of a classification, with intervals by `readers`.

Every figure is a function of what each patient weighs, so one jackknife gives the intervals of all. Several classes are
several binary tasks (each against the rest) whose figures are averaged, and one decision, the class of the highest
probability, from which the confusion matrix and its recalls and precisions are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation import intervals, log_odds, readers
from medtune_jax.evaluation.labels import several, sides
from medtune_jax.evaluation.metric import AUC, Metric, task_score
from medtune_jax.evaluation.readers import Estimate, Readings
from medtune_jax.evaluation.sweep import Statistic, area_under, average_precision, estimate

BINS = 10  # of equal width, of the reliability curve and the expected calibration error

RANKED = {"auc": "AUC", "auprc": "AUPRC"}
AT_THRESHOLD = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "balanced_accuracy": "Balanced accuracy",
}
CALIBRATION = {"brier": "Brier score", "calibration_error": "Calibration error"}
TITLES = {**RANKED, **AT_THRESHOLD, **CALIBRATION}
"""Figures of a binary task, by name. AUC, AUPRC, sensitivity, specificity, balanced accuracy: higher is better, 0..1.
Brier score: mean squared error of the probability, and expected calibration error (no interval: docs/statistics.md):
lower is better, 0..1."""
_OF_POSITIVES, _OF_NEGATIVES = ("sensitivity",), ("specificity",)

_NEVER_BELOW_0 = (
    "a bin's distance from the line is never below 0, so that chance alone adds to the calibration error: an interval "
    "around it would not hold"
)
_UNDEFINED = "nothing is called so in a run, or nothing would be if one patient were left out"


class Figure(NamedTuple):
    """A figure of S runs: the mean with its interval, and each run's own [S] (empty where there is none)."""

    estimate: Estimate
    by_run: np.ndarray = np.empty(0)


class Bin(NamedTuple):
    """Images whose probability lies in low..high: how many in a run, their mean probability, and the share that is
    positive (None in an empty bin)."""

    low: float
    high: float
    images: float
    probability: float | None
    share: Estimate


@dataclass(frozen=True)
class Classification:
    """Images under S runs of one method.

    labels: int [N], or [N, C] of several findings. scores: log-odds [S, N, C]. groups: [N], patients. thresholds:
    [S, K] log-odds of the K binary tasks of `metric`, from validation (`operating`); None without, and `no_threshold`
    says why.
    """

    labels: np.ndarray
    scores: np.ndarray
    groups: np.ndarray
    metric: Metric = AUC
    thresholds: np.ndarray | None = None
    no_threshold: str = "no threshold was chosen on validation images"
    words: tuple[str, str] = ("patients", "images")

    def of(self, rows: np.ndarray) -> Classification:
        """The same of some of the images, bool [N]."""
        return replace(
            self,
            labels=self.labels[rows],
            scores=self.scores[:, rows],
            groups=self.groups[rows],
        )

    @property
    def classes(self) -> int:
        return int(self.scores.shape[-1])

    @cached_property
    def tasks(self) -> list[tuple[int, ...]]:
        """The positive classes of each of the K binary tasks."""
        return self.metric.tasks(self.classes)

    @property
    def exclusive(self) -> bool:
        """Whether an image is of one class; else it may have several findings, and no class is decided on."""
        return not several(self.labels)

    def positive(self, task: int) -> np.ndarray:
        """bool [N]."""
        return sides(self.labels, self.tasks[task])[0]

    def negative(self, task: int) -> np.ndarray:
        """bool [N]."""
        return sides(self.labels, self.tasks[task])[1]

    def prevalence(self, task: int) -> float:
        """Share of the positives among the images of which it is known."""
        positive, negative = self.positive(task).sum(), self.negative(task).sum()
        return float(positive / max(positive + negative, 1))

    def score(self, task: int) -> np.ndarray:
        """Log-odds [S, N]."""
        return np.stack([task_score(run, self.tasks[task]) for run in self.scores])

    @cached_property
    def undefined(self) -> str:
        """Why there is no figure at all; empty where there are figures."""
        return intervals.undefined(replace(self.metric, title="figure"), self.labels, self.scores)

    @property
    def names(self) -> list[str]:
        """Figures of a binary task. Of several classes no balanced accuracy, which is that of the decision."""
        return [name for name in TITLES if name != "balanced_accuracy" or self._alone]

    @property
    def _alone(self) -> bool:
        """Whether a binary task is decided for itself."""
        return len(self.tasks) == 1 or not self.exclusive

    def of_task(self, task: int) -> dict[str, Figure]:
        """By name, of one binary task."""
        if self.undefined:
            return dict.fromkeys(self.names, _none(self.undefined))
        sides = {name: self._sides(name, [task]) for name in self.names}
        return {
            name: self._figure(name, one, sides[name])
            for name, one in zip(self.names, self._read[task], strict=True)
        }

    def mean(self) -> dict[str, Figure]:
        """By name, means over the binary tasks; of several, with the balanced accuracy of the decision."""
        if self.undefined:
            return dict.fromkeys(TITLES, _none(self.undefined))
        found = {
            name: self._figure(
                name, _averaged([task[t] for task in self._read]), self._sides(name, None)
            )
            for t, name in enumerate(self.names)
        }
        if not self._alone:
            found["balanced_accuracy"] = self.decided()["balanced_accuracy"]
        return {name: found[name] for name in TITLES}

    def _figure(self, name: str, read: Readings, sides: Sequence[np.ndarray]) -> Figure:
        if name in AT_THRESHOLD and self.thresholds is None:
            return _none(self.no_threshold)
        if name == "calibration_error":
            return Figure(Estimate(read.mean, why=_NEVER_BELOW_0), read.figures)
        return self._of(read, sides)

    def _of(self, read: Readings, sides: Sequence[np.ndarray]) -> Figure:
        """sides: bool [N] each, the images that the figure is of, none of which may be few."""
        if not np.isfinite(read.figures).all():
            return _none(_UNDEFINED)
        few = self._too_few or readers.lacking(
            [self.groups[side] for side in sides], words=self.words
        )
        if few or not np.isfinite(read.without).all():
            return Figure(Estimate(read.mean, why=few or _UNDEFINED), read.figures)
        return Figure(readers.of_mean(read), read.figures)

    def _sides(self, name: str, tasks: Sequence[int] | None) -> list[np.ndarray]:
        found = []
        for task in range(len(self.tasks)) if tasks is None else tasks:
            positive = self.positive(task)
            found += [] if name in _OF_NEGATIVES else [positive]
            found += [] if name in _OF_POSITIVES else [self.negative(task)]
        return found

    @cached_property
    def _too_few(self) -> str:
        """Why no patient can be left out at all, whatever the figure: a class of one patient would be gone."""
        kinds = self.metric.needed(self.labels, self.scores)
        lone = any(len(np.unique(self.groups[kind])) < 2 for kind in kinds)
        return (
            intervals.too_few(self.metric, self.labels, self.scores, self.groups, words=self.words)
            if lone
            else ""
        )

    @cached_property
    def _read(self) -> list[list[Readings]]:
        """Of each task, of each of `names`."""
        return [self._readings(self.statistic(task)).each for task in range(len(self.tasks))]

    def _readings(self, statistic: Statistic) -> Readings:
        if self._too_few:
            as_is = estimate(statistic, len(self.labels))
            return Readings(as_is, np.empty((0, *as_is.shape)), np.empty(0, int))
        kinds = self.metric.needed(self.labels, self.scores)
        return readers.read(statistic, self.groups, kinds)

    def statistic(self, task: int) -> Statistic:
        """weights [R, N] -> [R, S, T] of `names`."""
        positive, negative, score = self.positive(task), self.negative(task), self.score(task)
        curves = replace(self.metric, area=_areas, tasks=lambda classes: [self.tasks[task]])
        areas = curves.statistic(self.labels, self.scores)
        probability = log_odds.probabilities(score)
        if self.thresholds is None:
            called = np.zeros(score.shape, bool)
        else:
            called = score >= self.thresholds[:, task, None]
        parts: dict[str, Statistic] = {
            "sensitivity": _share(called, positive),
            "specificity": _share(~called, negative),
            "brier": _share((probability - positive) ** 2, positive | negative),
            "calibration_error": _calibration_error(probability, positive, negative),
        }
        alone = self._alone

        def figures(weights: np.ndarray) -> np.ndarray:
            found = {name: part(weights) for name, part in parts.items()}
            of_areas = areas(weights)
            found |= {"auc": of_areas[..., 0], "auprc": of_areas[..., 1]}
            if alone:
                found["balanced_accuracy"] = (found["sensitivity"] + found["specificity"]) / 2
            return np.stack([found[name] for name in self.names], axis=-1)

        return figures

    @cached_property
    def decisions(self) -> np.ndarray | None:
        """int [S, N]: the class that each run calls each image; None where two classes have no threshold, and of
        findings.

        Of two classes by the threshold, of several the class of the highest probability.
        """
        if self.undefined or not self.exclusive:
            return None
        if self.classes > 2:
            return np.asarray(self.scores.argmax(axis=-1))
        if self.thresholds is None:
            return None
        return (self.score(0) >= self.thresholds[:, :1]).astype(int)

    def confusion(self) -> np.ndarray | None:
        """Numbers of images [S, C, C] by run, true class and class called; None as `decisions`."""
        if self.decisions is None:
            return None
        # As scikit-learn's confusion_matrix, whose checks of each run take longer than all runs here.
        cells, square = self.labels * self.classes + self.decisions, (self.classes, self.classes)
        return np.stack(
            [np.bincount(run, minlength=self.classes**2).reshape(square) for run in cells]
        )

    def decided(self) -> dict[str, Figure]:
        """Of the decisions: recall_c and precision_c of each class c, and their balanced accuracy, the mean recall."""
        names = [f"{kind}_{c}" for kind in ("recall", "precision") for c in range(self.classes)]
        names.append("balanced_accuracy")
        if self.decisions is None:
            return dict.fromkeys(names, _none(self.undefined or self.no_threshold))
        decisions, labels = self.decisions, self.labels
        kinds = [labels == c for c in range(self.classes)]
        if not all(kind.any() for kind in kinds):
            return dict.fromkeys(names, _none("a class has no image here"))
        recall = [_share(decisions == c, kind) for c, kind in enumerate(kinds)]
        precision = [_share(kind, decisions == c) for c, kind in enumerate(kinds)]

        def figures(weights: np.ndarray) -> np.ndarray:
            found = [one(weights) for one in (*recall, *precision)]
            return np.stack([*found, np.mean(found[: len(kinds)], axis=0)], axis=-1)

        each = self._readings(figures).each
        sides = [*([kind] for kind in kinds), *([kind, ~kind] for kind in kinds), kinds]
        return {
            name: self._of(read, side) for name, read, side in zip(names, each, sides, strict=True)
        }

    def reliability(self, task: int) -> list[Bin]:
        """The reliability curve of a binary task, means over the runs."""
        if self.undefined:
            return []
        probability, positive = log_odds.probabilities(self.score(task)), self.positive(task)
        place, known = _bins(probability), positive | self.negative(task)
        return [self._bin(b, probability, positive, (place == b) & known) for b in range(BINS)]

    def _bin(self, b: int, probability: np.ndarray, positive: np.ndarray, here: np.ndarray) -> Bin:
        used = here.any(axis=1)  # runs with images in it
        images, low, high = float(here.sum(axis=1).mean()), b / BINS, (b + 1) / BINS
        if not used.any():
            return Bin(low, high, 0.0, None, Estimate(None, why="no image has such a probability"))
        mean = float(
            np.mean(
                [
                    p[inside].mean()
                    for p, inside in zip(probability, here, strict=True)
                    if inside.any()
                ]
            )
        )
        share = _share(positive, here[used])
        few = next(
            (
                why
                for inside in here
                if (why := readers.lacking([self.groups[inside]], words=self.words))
            ),
            "",
        )
        if few or self._too_few:
            why = "a bin has too few images of too few patients in a run"
            return Bin(
                low,
                high,
                images,
                mean,
                Estimate(float(estimate(share, len(positive)).mean()), why=why),
            )
        found = self._of(self._readings(share), [])
        return Bin(low, high, images, mean, found.estimate)


def figures(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    thresholds: np.ndarray | Sequence[float] | float | None = None,
    metric: Metric = AUC,
) -> dict[str, Estimate]:
    """The figures of `TITLES` with their 95% intervals over patients and training runs, means over the tasks.

    Args:
      labels: int [N]. scores: log-odds of class 1 [N] or [S, N], of each class [S, N, C]. groups: [N], patients.
      thresholds: log-odds from which on an image is called positive, chosen on other images: one for all, of each run
        [S], or of each run and task [S, K]. None: no sensitivity, specificity and, of two classes, balanced accuracy.
    """
    labels = np.asarray(labels)
    runs = intervals.of_runs(scores, len(labels))
    tasks = len(metric.tasks(runs.shape[-1]))
    given = None if thresholds is None else _of_runs_and_tasks(thresholds, len(runs), tasks)
    found = Classification(labels, runs, np.asarray(groups), metric, given).mean()
    return {name: figure.estimate for name, figure in found.items()}


def _of_runs_and_tasks(
    thresholds: np.ndarray | Sequence[float] | float, runs: int, tasks: int
) -> np.ndarray:
    values = np.asarray(thresholds, float)
    if not np.isfinite(values).all():
        raise UserError(
            "a threshold is no number: choose it on the scores of a run that did not diverge"
        )
    try:
        return np.broadcast_to(values[:, None] if values.ndim == 1 else values, (runs, tasks))
    except ValueError as error:
        raise UserError(
            f"thresholds of shape {values.shape} do not belong to {runs} runs of {tasks} binary tasks: give one for "
            "all, [runs] or [runs, tasks]"
        ) from error


def _none(why: str) -> Figure:
    return Figure(Estimate(None, why=why))


def _averaged(parts: Sequence[Readings]) -> Readings:
    figures, without = (np.mean([part[i] for part in parts], axis=0) for i in (0, 1))
    return Readings(figures, without, parts[0].stratum)


def _areas(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    return np.stack([area_under(hits, alarms), average_precision(hits, alarms)], axis=-1)


def _share(value: np.ndarray, among: np.ndarray) -> Statistic:
    """Weighted mean [R, S] of values [S, N], or [N], among some images [N], or [S, N] of each run; NaN among none."""
    both, all_ = (np.atleast_2d(part).T.astype(float) for part in (value * among, among))

    def share(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ both) / (weights @ all_))

    return share


def _bins(probability: np.ndarray) -> np.ndarray:
    """int, which of the BINS; an upper edge belongs to the bin above it, 1 to the last."""
    return np.minimum((probability * BINS).astype(int), BINS - 1)


def _calibration_error(
    probability: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> Statistic:
    """[R, S]: share of the images in a bin x distance of its mean probability and its share of positives, summed."""
    known = positive | negative
    gap, place = known * (positive - probability), _bins(probability)
    parts = [(gap * (place == b)).T for b in range(BINS)]
    return lambda weights: np.asarray(
        sum(np.abs(weights @ part) for part in parts) / (weights @ known)[:, None]
    )
