"""FROC statistics of a finished study: every network and the hand-crafted score on the same candidates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from medtune_jax.applications.polyps.truth import Truth
from medtune_jax.errors import UserError
from medtune_jax.evaluation.edwards import FrocModel, fit_froc
from medtune_jax.evaluation.froc import Detections, froc_statistic
from medtune_jax.evaluation.intervals import (
    Difference,
    Interval,
    Statistic,
    auc_statistic,
    group_bootstrap,
    paired_difference,
    percentile_interval,
)
from medtune_jax.report.evidence import Evidence

HAND_CRAFTED = "hand-crafted"
Detector = tuple[str, float] | str  # a depth at a fraction, or HAND_CRAFTED
FIRST_SEED, ALL_SEEDS = slice(1), slice(None)


class FrocEvidence:
    """Detections of each detector, one for each seed, and statistics that are means over the seeds.

    All resamples draw test videos, the same ones for all detectors.
    """

    def __init__(self, evidence: Evidence, truth: Truth):
        self.evidence, self.truth = evidence, truth
        self._known: dict[Detector, np.ndarray] = {}

    def scores(self, detector: Detector) -> np.ndarray:
        """Candidate scores [S, M], one row a seed."""
        if detector not in self._known:
            self._known[detector] = self._scores(detector)
        return self._known[detector]

    def _scores(self, detector: Detector) -> np.ndarray:
        if detector == HAND_CRAFTED:
            return self.truth.hand_crafted[None]
        test = self.evidence.study.test
        assert test is not None and not isinstance(detector, str)
        return self.truth.in_order(test.names, self.evidence.scores(detector)[..., 1])

    def detections(self, detector: Detector, seeds: slice = ALL_SEEDS) -> list[Detections]:
        return [self.truth.detections(row) for row in self.scores(detector)[seeds]]

    def model(self, detector: Detector) -> FrocModel | None:
        """Edwards' model of the first seed; None where the scores do not determine it."""
        try:
            return fit_froc(self.detections(detector, FIRST_SEED)[0])
        except UserError:
            return None

    def curve(self, detector: Detector, rates: Sequence[float] | np.ndarray) -> np.ndarray:
        """Sensitivity [T] at each rate, mean over seeds."""
        return self._statistic(detector, rates)(np.ones((1, len(self.truth.frames))))[0]

    def sensitivity(
        self,
        detector: Detector,
        rates: Sequence[float] | np.ndarray,
        seeds: slice = ALL_SEEDS,
    ) -> list[Interval]:
        """Sensitivity at each rate, mean over seeds, with its interval by bootstrap over videos."""
        statistic = self._statistic(detector, rates, seeds)
        estimates = statistic(np.ones((1, len(self.truth.frames))))[0]
        draws = group_bootstrap(statistic, self.truth.videos, needed=[self._with_lesion])
        return [percentile_interval(e, d) for e, d in zip(estimates, draws.T, strict=True)]

    def difference(self, first: Detector, second: Detector, rate: float) -> Difference:
        """Sensitivity of the first minus that of the second at a rate, paired by video."""
        one, other = (self._statistic(detector, [rate]) for detector in (first, second))
        return paired_difference(
            lambda weights: one(weights)[:, 0],
            lambda weights: other(weights)[:, 0],
            self.truth.videos,
            needed=[self._with_lesion],
        )

    def auc_difference(self, first: Detector, second: Detector) -> Difference:
        """The same for the AUC of telling candidates that hit a lesion from the others."""
        positive = self.truth.positive
        return paired_difference(
            auc_statistic(positive, self.scores(first)),
            auc_statistic(positive, self.scores(second)),
            self.truth.videos[self.truth.frame],
            needed=[positive, ~positive],
        )

    def _statistic(
        self,
        detector: Detector,
        rates: Sequence[float] | np.ndarray,
        seeds: slice = ALL_SEEDS,
    ) -> Statistic:
        each = [froc_statistic(d, tuple(rates)) for d in self.detections(detector, seeds)]
        return lambda weights: np.mean([statistic(weights) for statistic in each], axis=0)

    @cached_property
    def _with_lesion(self) -> np.ndarray:
        return self.truth.lesions > 0
