"""FROC figures of a finished study: every network, and the hand-crafted score, on the same candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation.edwards import FrocModel, fit_froc
from medtune_jax.evaluation.froc import (
    Detections,
    Rates,
    readings,
    sensitivities,
    sensitivity_at,
    sensitivity_difference,
    too_few,
)
from medtune_jax.evaluation.intervals import difference
from medtune_jax.evaluation.metric import AUC
from medtune_jax.evaluation.readers import Estimate, Readings, without_any
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.merit import NO_SHARED_SEED, Cell, Merit

HAND_CRAFTED = "hand-crafted"
Detector = Cell | str  # a depth at a fraction, or HAND_CRAFTED
FIRST_SEED, ALL_SEEDS = slice(1), slice(None)
MARGIN = 0.02  # of sensitivity: one lesion in fifty


class Truth(Protocol):
    """What candidates [M] on images [I] are judged against."""

    @property
    def groups(self) -> np.ndarray:
        """str [I]: patient or video of each image."""

    @property
    def candidate_groups(self) -> np.ndarray:
        """str [M]: patient or video of each candidate."""

    @property
    def positive(self) -> np.ndarray:
        """bool [M]: the candidate hits a lesion."""

    def in_order(self, names: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values [..., M] of candidates by name, in the truth's own order."""

    def detections(self, scores: np.ndarray) -> Detections:
        """The candidates with the scores [M] of one detector."""


T = TypeVar("T", bound=Truth)


class FrocEvidence(Generic[T]):
    """Detections of each detector, one set a seed, and figures that are means over the seeds.

    All intervals are over the truth's groups and the seeds. hand_crafted: scores [M] of the candidates.
    """

    def __init__(self, evidence: Evidence, truth: T, hand_crafted: np.ndarray) -> None:
        self.evidence, self.truth = evidence, truth
        self._scores: dict[Detector, np.ndarray] = {HAND_CRAFTED: hand_crafted[None]}

    def label(self, detector: Detector) -> str:
        return detector if isinstance(detector, str) else self.evidence.study.label(detector[0])

    def scores(self, detector: Detector) -> np.ndarray:
        """Scores [S, M] of the candidates, a row a seed: log-odds, or the hand-crafted score."""
        if detector not in self._scores:
            test = self.evidence.study.test
            assert test is not None and not isinstance(detector, str)
            values = self.evidence.scores(detector)[..., 1]
            self._scores[detector] = self.truth.in_order(test.names, values)
        return self._scores[detector]

    def scores_of(self, cell: Cell, seeds: Sequence[int]) -> np.ndarray:
        """`scores` of some seeds, in their order."""
        known = self.evidence.seeds(cell)
        return self.scores(cell)[[known.index(seed) for seed in seeds]]

    def detections(self, detector: Detector, seeds: slice = ALL_SEEDS) -> list[Detections]:
        return [self.truth.detections(row) for row in self.scores(detector)[seeds]]

    def curve(self, detector: Detector, rates: Rates) -> np.ndarray:
        """Sensitivity [T] at each number of false positives per image."""
        return sensitivities(self.detections(detector), rates)

    def sensitivity(
        self, detector: Detector, rates: Rates, seeds: slice = ALL_SEEDS
    ) -> list[Estimate]:
        """The same with 95% intervals."""
        return sensitivity_at(self.detections(detector, seeds), rates, self.truth.groups)

    def difference(self, first: Detector, second: Detector, rates: Rates) -> Estimate:
        """Sensitivity of the first minus that of the second, mean over the rates, paired by group and by seed."""
        one, other = self._paired(first, second)
        if not len(one):
            return Estimate(None, why=NO_SHARED_SEED)
        marks, others = ([self.truth.detections(row) for row in rows] for rows in (one, other))
        return sensitivity_difference(marks, others, rates, self.truth.groups)

    def auc_difference(self, first: Detector, second: Detector) -> Estimate:
        """The same for the AUC of telling candidates that hit a lesion from the others."""
        one, other = self._paired(first, second)
        if not len(one):
            return Estimate(None, why=NO_SHARED_SEED)
        positive = self.truth.positive.astype(int)
        return difference(AUC, positive, one, other, self.truth.candidate_groups)

    def merit(self, rates: Sequence[float], image: str) -> Merit:
        """The sensitivity, mean over the rates, as the figure that the answer is given in. image: 'frame', 'volume'."""
        *most, last = (f"{rate:g}" for rate in rates)
        stated = f"mean of those at {', '.join(most)} and {last} false positives per {image}"
        return self._merit("FROC sensitivity", rates, stated)

    def points(self, rates: Sequence[float], image: str) -> list[Merit]:
        """The sensitivity at each rate."""
        titles = (f"sensitivity at {rate:g} false positives per {image}" for rate in rates)
        return [self._merit(title, [rate]) for title, rate in zip(titles, rates, strict=True)]

    def _merit(self, title: str, rates: Sequence[float], stated: str = "") -> Merit:
        cells, groups = self.evidence.cells, self.truth.groups
        why = too_few(self.detections(cells[0]), groups) if cells else ""

        def read(cell: Cell) -> Readings:
            runs = self.detections(cell)
            if not why:
                return readings(runs, rates, groups).averaged()
            return without_any(np.array([sensitivities([run], rates).mean() for run in runs]))

        return Merit(self.evidence.study, title, read, why, stated, MARGIN)

    def _paired(self, first: Detector, second: Detector) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the seeds that both have; the hand-crafted score is one run, which goes with all."""
        networks = [d for d in (first, second) if not isinstance(d, str)]
        shared = self.evidence.shared_seeds(networks)

        def rows(detector: Detector) -> np.ndarray:
            if isinstance(detector, str):
                return self.scores(detector)[: len(shared)]
            return self.scores_of(detector, shared)

        return rows(first), rows(second)

    def models(self, detector: Detector, seeds: slice = ALL_SEEDS) -> list[FrocModel]:
        """Edwards' model of each seed; of none where the scores do not determine that of one of them."""
        try:
            return [fit_froc(detections) for detections in self.detections(detector, seeds)]
        except UserError:
            return []
