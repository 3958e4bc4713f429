"""What the finished runs say: every figure of the page that carries an interval.

The figures themselves are `Merit`s: of the metric, and of what the application gives its answer in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation import intervals, readers
from medtune_jax.evaluation.choice import MARGIN, VALID_FRACTION, Choice, choose, on_test
from medtune_jax.evaluation.classification import Classification
from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.metric import Metric
from medtune_jax.evaluation.planning import Components, components
from medtune_jax.evaluation.readers import Estimate, Readings
from medtune_jax.evaluation.recommend import Recommendation, Regret, recommend, regret
from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, at_false_positive_rate
from medtune_jax.evaluation.scores import TestSet
from medtune_jax.evaluation.sweep import estimate
from medtune_jax.report.merit import Cell, Merit
from medtune_jax.report.runs import Run, StudyResults


class Comparison(NamedTuple):
    """The recommended depth minus another one at one fraction, in the answer's figure, and in the metric beside it."""

    fraction: float
    recommended: str
    other: str
    difference: Estimate
    beside: Estimate
    holm_p: float | None


class Pair(NamedTuple):
    """One depth's figure less that of another, deeper one. holm_p: corrected over all pairs of the figure."""

    depth: str
    other: str
    difference: Estimate
    holm_p: float | None


def of_the_roc(evidence: Evidence) -> list[Merit]:
    """Sensitivity at each of the paper's false positive rates, for the metric's binary tasks."""
    study = evidence.study
    found = [at_false_positive_rate(study.metric, rate) for rate in FALSE_POSITIVE_RATES]
    return [
        Merit(study, own.title, partial(evidence.read, own, in_steps=True), evidence.too_few)
        for own in found
    ]


class Evidence:
    """Statistics of a study's finished runs, computed once."""

    def __init__(
        self,
        study: StudyResults,
        own: Callable[[Evidence], Merit] | None = None,
        points: Callable[[Evidence], Sequence[Merit]] | None = None,
    ):
        """own: makes the figure that the application gives its answer in, if that is not the metric; points: those of
        its operating points, if they are not of the metric's ROC.
        """
        self.study = study
        self._own, self._points = own, points or of_the_roc
        self.cells: list[Cell] = [
            (depth, fraction)
            for fraction in study.fractions
            for depth in study.depths
            if study.cell(depth, fraction)
        ]
        self._classified: dict[Cell, Classification] = {}

    @cached_property
    def metric(self) -> Merit:
        """The test figure of the study's metric."""
        study = self.study
        words, why = (study.words.groups, study.words.cases), ""
        if self.cells:
            scores = self.judged(self.cells[0])
            why = intervals.too_few(study.metric, self.labels, scores, self.groups, words=words)
        margin = study.answer.get("validation_margin", MARGIN)
        return Merit(study, study.metric.title, self._read_metric, why, margin=margin)

    @cached_property
    def merit(self) -> Merit:
        """The figure that the answer is given in: the application's own, or that of the metric."""
        own = self._own(self) if self._own else self.metric
        margin = self.study.answer.get("margin")
        return replace(own, margin=margin) if margin else own

    @cached_property
    def points(self) -> Sequence[Merit]:
        """The figures at operating points."""
        return self._points(self)

    @property
    def too_few(self) -> str:
        return self.metric.too_few

    def _read_metric(self, cell: Cell) -> Readings:
        return self.read(self.study.metric, cell)

    def read(self, metric: Metric, cell: Cell, in_steps: bool = False) -> Readings:
        """A metric of the binary tasks that the study's has, by run and without each group."""
        labels, scores = self.labels, self.judged(cell)
        if not self.too_few:
            return intervals.readings(metric, labels, scores, self.groups, in_steps)
        # Without one of very few groups there may be no figure at all, and nothing is made of it.
        return readers.without_any(estimate(metric.statistic(labels, scores), len(labels)))

    def seeds(self, cell: Cell) -> list[int]:
        return self.study.seeds(cell)

    def shared_seeds(self, cells: Iterable[Cell]) -> list[int]:
        return self.study.shared_seeds(cells)

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
        return self.metric.mean((depth, fraction))

    def contrast(self, coefficients: Mapping[Cell, float]) -> Estimate:
        """A weighted sum of cells' test metrics."""
        return self.metric.contrast(coefficients)

    def minus(self, depth: str, other: str, fraction: float) -> Estimate:
        """Test metric of one depth less that of another, paired by group and by seed."""
        return self.metric.minus((depth, fraction), (other, fraction))

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
    def recommendations(self) -> dict[float, Choice]:
        """The depth to use at each fraction with finished tuned runs, by validation data only (`evaluation.choice`)."""
        found = {
            fraction: self._choose(self.study.tuned_depths, fraction)
            for fraction in self.study.fractions
        }
        return {fraction: answer for fraction, answer in found.items() if answer}

    def _choose(self, depths: Sequence[str], fraction: float) -> Choice | None:
        held = self.study.manifest.get("config", {}).get("training", {}).get("valid_fraction")
        return choose(depths, self.validation(fraction), self.metric.margin, held or VALID_FRACTION)

    @cached_property
    def chances(self) -> tuple[dict[str, float], str]:
        """Of each tuned depth to be within the margin of the best in the answer's figure; empty with a reason.

        At the largest fraction, which must have an answer.
        """
        merit, fraction = self.merit, self.main_fraction
        assert fraction is not None
        depths = self.known_tuned(fraction)
        if merit.too_few:
            return {}, merit.too_few
        readings = {d: merit.readings((d, fraction)).times(merit.sign) for d in depths}
        seeds = {d: self.seeds((d, fraction)) for d in depths}
        return on_test(readings, seeds, merit.margin)

    def components(self, pairs: Iterable[tuple[str, str]], fraction: float) -> Components:
        """What differences of the answer's figure vary by; UserError where the study cannot bear it."""
        merit = self.merit
        if merit.too_few:
            raise UserError(merit.too_few)
        cells = [[(depth, fraction) for depth in pair] for pair in pairs]
        shared = [(pair, seeds) for pair in cells if (seeds := self.study.shared_seeds(pair))]
        read = [(merit.readings(one, s), merit.readings(other, s)) for (one, other), s in shared]
        return components(read, merit.tested_on)

    def walk(self, fraction: float) -> Recommendation | None:
        """The paper's rule from the head downwards, which looks at some depths only."""
        return recommend(self.study.tuned_depths, self.validation(fraction))

    @property
    def main_fraction(self) -> float | None:
        """The largest fraction that has an answer."""
        return max(self.recommendations, default=None)

    @property
    def recommended(self) -> Cell | None:
        """The answer: its depth and training-set size; None of a study without one."""
        fraction = self.main_fraction
        return None if fraction is None else (self.recommendations[fraction].depth, fraction)

    @property
    def shown_fractions(self) -> list[float]:
        """The largest and the smallest fraction that have an answer: the panels of a figure."""
        known = sorted(self.recommendations, reverse=True)
        return list(dict.fromkeys([*known[:1], *known[-1:]]))

    def scratch_wins(self, fraction: float) -> str | None:
        """The best scratch, if by validation it is above every depth by more than the margin, more likely than not."""
        scratch = self.best_scratch(fraction)
        if scratch is None:
            return None
        best = self.recommendations[fraction].best
        duel = self._choose((best, scratch), fraction)
        assert duel is not None  # both have results
        above = duel.means[scratch] > duel.means[best] + self.metric.margin
        return scratch if above and duel.chances.get(best, 0.0) < 0.5 else None

    def regret(self, fraction: float) -> Regret | None:
        """What the paper's rule gives up against the best of the whole sweep."""
        walk = self.walk(fraction)
        if walk is None:
            return None
        validation, test = self.validation(fraction), self.test_by_seed(fraction)
        return regret(walk, self.study.tuned_depths, validation, test)

    def best_scratch(self, fraction: float) -> str | None:
        """The initialisation from scratch with the best mean validation metric."""
        validation = self.validation(fraction)
        known = [depth for depth in self.study.scratch_depths if validation[depth]]
        return max(known, key=lambda depth: fmean(validation[depth].values()), default=None)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Recommended depth against scratch, only the last stage and the best by validation, at each fraction.

        Holm's correction is over all of them: every test that the page shows as a test.
        """
        pairs = [
            (fraction, answer.depth, other)
            for fraction, answer in self.recommendations.items()
            for other in dict.fromkeys(
                (self.best_scratch(fraction), self.shallowest(fraction), answer.best)
            )
            if other is not None and other != answer.depth
        ]
        cells = [((one, fraction), (other, fraction)) for fraction, one, other in pairs]
        found = [self.merit.minus(*pair) for pair in cells]
        beside = [self.metric.minus(*pair) for pair in cells]
        corrected = holm([difference.p for difference in found])
        rows = zip(pairs, found, beside, corrected, strict=True)
        return [Comparison(*pair, difference, other, p) for pair, difference, other, p in rows]

    @cached_property
    def pairs(self) -> dict[float, list[tuple[Merit, list[Pair]]]]:
        """All pairs of the depths with results, shallow to deep, by fraction: in the answer's figure, then at the
        operating points.
        """
        merits = (self.merit, *self.points)
        return {
            fraction: [(merit, self._pairs(merit, fraction)) for merit in merits]
            for fraction in self.study.fractions
        }

    def _pairs(self, merit: Merit, fraction: float) -> list[Pair]:
        depths = [depth for depth, own in self.cells if own == fraction]
        pairs = list(combinations(depths, 2))
        found = [merit.minus((one, fraction), (other, fraction)) for one, other in pairs]
        corrected = holm([difference.p for difference in found])
        return [Pair(*pair, d, p) for pair, d, p in zip(pairs, found, corrected, strict=True)]

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
