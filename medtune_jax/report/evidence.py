"""What the finished runs say: every figure of the page that carries an interval.

Every cell (a depth at a fraction) is read once by run and without each of the test set's groups (`evaluation.readers`).
Any contrast of cells is then a weighted sum of readings, paired by group and by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

import numpy as np

from medtune_jax.evaluation import intervals, readers
from medtune_jax.evaluation.classification import Classification
from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.readers import Estimate, Readings
from medtune_jax.evaluation.recommend import Recommendation, Regret, recommend, regret
from medtune_jax.evaluation.scores import TestSet
from medtune_jax.evaluation.sweep import estimate
from medtune_jax.report.load import Run, StudyResults

Cell = tuple[str, float]  # depth, fraction
NO_SHARED_SEED = "no seed has finished in both: runs are compared seed by seed"


class Comparison(NamedTuple):
    """Test metric of the recommended depth minus that of another depth, at one fraction."""

    fraction: float
    recommended: str
    other: str
    difference: Estimate
    holm_p: float | None


class Evidence:
    """Statistics of a study's finished runs, computed once."""

    def __init__(self, study: StudyResults):
        self.study = study
        self.cells: list[Cell] = [
            (depth, fraction)
            for fraction in study.fractions
            for depth in study.depths
            if study.cell(depth, fraction)
        ]
        self._read: dict[Cell, Readings] = {}
        self._classified: dict[Cell, Classification] = {}

    @cached_property
    def too_few(self) -> str:
        """Why the test set is too small for any interval, as a sentence without its stop; empty if it is not."""
        if not self.cells:
            return ""
        words = (self.study.words.groups, self.study.words.cases)
        scores = self.judged(self.cells[0])
        return intervals.too_few(self.study.metric, self.labels, scores, self.groups, words=words)

    def readings(self, cell: Cell, seeds: Sequence[int] | None = None) -> Readings:
        """The test metric of a cell by run and without each group; of some seeds, or of all."""
        if cell not in self._read:
            self._read[cell] = self._readings(self.judged(cell))
        known = self.seeds(cell)
        rows = range(len(known)) if seeds is None else [known.index(seed) for seed in seeds]
        return self._read[cell].of_runs(rows)

    def _readings(self, scores: np.ndarray) -> Readings:
        metric, labels = self.study.metric, self.labels
        if not self.too_few:
            return intervals.readings(metric, labels, scores, self.groups)
        # Without one of very few groups there may be no figure at all, and nothing is made of it.
        figures = estimate(metric.statistic(labels, scores), labels.size)
        return Readings(figures, np.empty((0, len(figures))), np.empty(0, int))

    def seeds(self, cell: Cell) -> list[int]:
        """Of a cell's runs, in the order of its scores."""
        return [run.seed for run in self.study.cell(*cell) if run.scores is not None]

    def shared_seeds(self, cells: Iterable[Cell]) -> list[int]:
        """The seeds that all cells have: what a paired comparison is made of."""
        first, *rest = [self.seeds(cell) for cell in cells]
        return [seed for seed in first if all(seed in other for other in rest)]

    @property
    def test_set(self) -> TestSet:
        """The test set of the finished runs; there must be one."""
        assert self.study.test is not None
        return self.study.test

    @property
    def labels(self) -> np.ndarray:
        """int [n]: classes of the n test cases that are judged."""
        return self.test_set.labels[self.test_set.judged]

    @property
    def groups(self) -> np.ndarray:
        """str [n]: their groups."""
        return self.test_set.groups[self.test_set.judged]

    def scores(self, cell: Cell) -> np.ndarray:
        """Log-odds [S, N, C] of the test set by a cell's finished seeds."""
        return np.stack([run.scores for run in self.study.cell(*cell) if run.scores is not None])

    def judged(self, cell: Cell) -> np.ndarray:
        """Log-odds [S, n, C] of the test cases that are judged: what the metric and its curves are made of."""
        return self.scores(cell)[:, self.test_set.judged]

    def classification(self, cell: Cell) -> Classification:
        """What a cell's runs make of the test cases: the figures beside the metric."""
        if cell not in self._classified:
            runs = [run for run in self.study.cell(*cell) if run.scores is not None]
            thresholds = [run.thresholds for run in runs if run.thresholds is not None]
            self._classified[cell] = Classification(
                self.labels,
                self.judged(cell),
                self.groups,
                self.study.metric,
                np.stack(thresholds) if len(thresholds) == len(runs) else None,
                next((run.no_threshold for run in runs if run.no_threshold), ""),
                (self.study.words.groups, self.study.words.cases),
            )
        return self._classified[cell]

    def has(self, depth: str, fraction: float) -> bool:
        return bool(self.study.cell(depth, fraction))

    def test(self, depth: str, fraction: float) -> Estimate:
        """Test metric of a cell, mean over seeds."""
        read = self.readings((depth, fraction))
        return Estimate(read.mean, why=self.too_few) if self.too_few else readers.of_mean(read)

    def contrast(self, coefficients: Mapping[Cell, float]) -> Estimate:
        """A weighted sum of cells' test metrics over the seeds that all have, its interval, and the p of 0."""
        seeds = self.shared_seeds(coefficients)
        if not seeds:
            return Estimate(None, why=NO_SHARED_SEED)
        terms = [(factor, self.readings(cell, seeds)) for cell, factor in coefficients.items()]
        if self.too_few:
            return Estimate(sum(factor * read.mean for factor, read in terms), why=self.too_few)
        return readers.of_contrast(terms)

    def minus(self, depth: str, other: str, fraction: float) -> Estimate:
        """Test metric of one depth less that of another, paired by group and by seed."""
        one, two = (depth, fraction), (other, fraction)
        seeds = self.shared_seeds([one, two])
        if self.too_few or not seeds:
            return self.contrast({one: 1, two: -1})
        return readers.of_difference(self.readings(one, seeds), self.readings(two, seeds))

    def validation(self, fraction: float) -> dict[str, dict[int, float]]:
        """Validation metric by depth and seed."""
        return self._by_seed(lambda run: run.result["validation"], fraction)

    def test_by_seed(self, fraction: float) -> dict[str, dict[int, float]]:
        """Test metric by depth and seed, from the scores."""
        return self._by_seed(lambda run: run.test, fraction)

    def _by_seed(
        self, figure: Callable[[Run], float | None], fraction: float
    ) -> dict[str, dict[int, float]]:
        cells = {depth: self.study.cell(depth, fraction) for depth in self.study.depths}
        return {
            depth: {run.seed: value for run in runs if (value := figure(run)) is not None}
            for depth, runs in cells.items()
        }

    @cached_property
    def recommendations(self) -> dict[float, Recommendation]:
        """The rule's answer at each fraction that has finished tuned runs; validation data only."""
        found = {
            fraction: recommend(self.study.tuned_depths, self.validation(fraction))
            for fraction in self.study.fractions
        }
        return {fraction: answer for fraction, answer in found.items() if answer}

    @property
    def main_fraction(self) -> float | None:
        """The largest fraction that has an answer."""
        return max(self.recommendations, default=None)

    @property
    def shown_fractions(self) -> list[float]:
        """The largest and the smallest fraction that have an answer: the panels of a figure."""
        known = sorted(self.recommendations, reverse=True)
        return list(dict.fromkeys([*known[:1], *known[-1:]]))

    def scratch_wins(self, fraction: float) -> str | None:
        """The best scratch, if it beats the recommended depth by the rule's own validation test."""
        depth, scratch = self.recommendations[fraction].depth, self.best_scratch(fraction)
        if scratch is None:
            return None
        duel = recommend((depth, scratch), self.validation(fraction))
        return scratch if duel is not None and duel.depth == scratch else None

    def regret(self, fraction: float) -> Regret:
        return regret(
            self.recommendations[fraction],
            self.study.tuned_depths,
            self.validation(fraction),
            self.test_by_seed(fraction),
        )

    def best_scratch(self, fraction: float) -> str | None:
        """The initialisation from scratch with the best mean validation metric."""
        validation = self.validation(fraction)
        known = [depth for depth in self.study.scratch_depths if validation[depth]]
        return max(known, key=lambda depth: fmean(validation[depth].values()), default=None)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Recommended depth against scratch and against only the last stage, at each fraction.

        Holm's correction is over all of them: every test that the page shows as a test.
        """
        pairs = [
            (fraction, answer.depth, other)
            for fraction, answer in self.recommendations.items()
            for other in (self.best_scratch(fraction), self.shallowest(fraction))
            if other is not None and other != answer.depth
        ]
        found = [self.minus(one, other, fraction) for fraction, one, other in pairs]
        corrected = holm([difference.p for difference in found])
        return [
            Comparison(*pair, difference, p)
            for pair, difference, p in zip(pairs, found, corrected, strict=True)
        ]

    def shallowest(self, fraction: float) -> str | None:
        """Only the last stage, if it was run."""
        first = self.known_tuned(fraction)[:1]
        return next((d for d in first if len(self.study.known_depths[d].tuned) == 1), None)

    def deepest(self, fraction: float) -> str | None:
        """The deepest tuned depth that has results."""
        return next(reversed(self.known_tuned(fraction)), None)

    def known_tuned(self, fraction: float) -> list[str]:
        """The tuned depths that have results."""
        return [depth for depth in self.study.tuned_depths if self.has(depth, fraction)]
