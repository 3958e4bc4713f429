"""What the finished runs say: every figure of the page that carries an interval.

All depths and fractions are bootstrapped on the same resamples of the test patients. A comparison
is then a weighted sum of columns of one table of draws, so any contrast is paired by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

import numpy as np

from medtune_jax.evaluation.intervals import (
    Difference,
    Interval,
    group_bootstrap,
    holm,
    percentile_interval,
    two_sided_p,
)
from medtune_jax.report.load import StudyResults
from medtune_jax.study.recommend import Recommendation, Regret, recommend, regret

Cell = tuple[str, float]  # depth, fraction


class Comparison(NamedTuple):
    """Test metric of the recommended depth minus that of another depth, at one fraction."""

    fraction: float
    recommended: str
    other: str
    difference: Difference
    holm_p: float


class Evidence:
    """Statistics of a study's finished runs, computed once.

    Raises:
      UserError: the test set has fewer than two patients or lacks a class.
    """

    def __init__(self, study: StudyResults, resamples: int = 2000, seed: int = 0):
        self.study = study
        self.cells: list[Cell] = [
            (depth, fraction)
            for fraction in study.fractions
            for depth in study.depths
            if study.cell(depth, fraction)
        ]
        self._column = {cell: i for i, cell in enumerate(self.cells)}
        self._estimates, self._draws = self._bootstrap(resamples, seed)

    def _bootstrap(self, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        test = self.study.test
        if test is None:
            return np.empty(0), np.empty((resamples, 0))
        labels, metric = test.labels[test.judged], self.study.metric
        scores = [self.scores(cell)[:, test.judged] for cell in self.cells]
        statistics = [metric.statistic(labels, each) for each in scores]

        def statistic(weights: np.ndarray) -> np.ndarray:
            return np.stack([s(weights) for s in statistics], axis=-1)

        draws = group_bootstrap(
            statistic,
            test.groups[test.judged],
            needed=metric.needed(labels, scores[0].shape[-1]),
            resamples=resamples,
            seed=seed,
        )
        return statistic(np.ones((1, labels.size)))[0], draws

    def scores(self, cell: Cell) -> np.ndarray:
        """Log-odds [S, N, C] of the test set by a cell's finished seeds."""
        return np.stack([run.scores for run in self.study.cell(*cell) if run.scores is not None])

    def has(self, depth: str, fraction: float) -> bool:
        return (depth, fraction) in self._column

    def test(self, depth: str, fraction: float) -> Interval:
        """Test metric of a cell, mean over seeds."""
        column = self._column[depth, fraction]
        return percentile_interval(self._estimates[column], self._draws[:, column])

    def contrast(self, coefficients: Mapping[Cell, float]) -> Difference:
        """A weighted sum of cells' test metrics, its interval, and the p of it being zero."""
        vector = np.zeros(len(self.cells))
        for cell, coefficient in coefficients.items():
            vector[self._column[cell]] += coefficient
        draws = self._draws @ vector
        return Difference(
            *percentile_interval(float(self._estimates @ vector), draws), two_sided_p(draws)
        )

    def validation(self, fraction: float) -> dict[str, dict[int, float]]:
        """Validation metric by depth and seed."""
        return self._by_seed("validation", fraction)

    def test_by_seed(self, fraction: float) -> dict[str, dict[int, float]]:
        return self._by_seed("test", fraction)

    def _by_seed(self, name: str, fraction: float) -> dict[str, dict[int, float]]:
        return {
            depth: {run.seed: run.result[name] for run in self.study.cell(depth, fraction)}
            for depth in self.study.depths
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
        found = [self.contrast({(one, f): 1, (other, f): -1}) for f, one, other in pairs]
        corrected = holm([difference.p for difference in found])
        return [
            Comparison(*pair, difference, p)
            for pair, difference, p in zip(pairs, found, corrected, strict=True)
        ]

    def comparison(self, fraction: float, other: str | None) -> Comparison | None:
        matching = (c for c in self.comparisons if (c.fraction, c.other) == (fraction, other))
        return next(matching, None)

    def shallowest(self, fraction: float) -> str | None:
        """Only the last stage, if it was run."""
        last = self.study.stages[-1]
        return last if self.has(last, fraction) else None

    def deepest(self, fraction: float) -> str | None:
        """The deepest tuned depth that has results."""
        known = [depth for depth in self.study.tuned_depths if self.has(depth, fraction)]
        return known[-1] if known else None
