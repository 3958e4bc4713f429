"""FROC figures of a finished study: by depth and fraction, mean over seeds, intervals over patients."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from medtune_jax.applications.embolism.truth import Truth
from medtune_jax.errors import UserError
from medtune_jax.evaluation.edwards import FrocModel, fit_froc
from medtune_jax.evaluation.froc import PER_VOLUME, Detections, froc_statistic
from medtune_jax.evaluation.intervals import (
    Difference,
    Interval,
    Statistic,
    group_bootstrap,
    paired_difference,
    percentile_interval,
)
from medtune_jax.report.evidence import Cell, Evidence

# The paper's axis: 0 to 10 false positives a volume.
GRID = np.linspace(0, 10, 201)


class FrocResults:
    """The candidates' scores by every run of a study, and by the hand-crafted baseline.

    A set of detections is one a seed; figures are means over the seeds. All intervals are by bootstrap over the test
    patients. Raises UserError when the study's directory lacks what the application wrote there.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._folder = evidence.study.directory / "application"
        self.truth = Truth.from_json(self._read("truth.json"))

    @cached_property
    def cohort(self) -> dict[str, Any]:
        """patients: a row each; left_out: {patient: reason}."""
        return json.loads(self._read("cohort.json"))

    @cached_property
    def baseline(self) -> list[Detections]:
        """The hand-crafted baseline on the same candidates."""
        rows = csv.DictReader(self._read("baseline.csv").decode().splitlines())
        score = {row["candidate"]: float(row["score"]) for row in rows}
        return [self.truth.detections(np.array([score[c] for c in self.truth.candidates]))]

    def of(self, cell: Cell) -> list[Detections]:
        """The detections of each seed of a depth and fraction."""
        seeds = self.evidence.scores(cell)
        return [self.truth.detections(self.scores(seed)) for seed in seeds]

    def scores(self, run: np.ndarray) -> np.ndarray:
        """Candidates' log-odds [n] from those of a run [N, C]."""
        test = self.evidence.study.test
        assert test is not None
        return self.truth.in_order(test.names, run[:, 1])

    def picture(self, name: str) -> bytes:
        """A montage."""
        return self._read(name)

    def curve(self, seeds: Sequence[Detections]) -> np.ndarray:
        """Sensitivity [201] on `GRID`."""
        return _mean(seeds, GRID)(np.ones((1, len(self.truth.volumes))))[0]

    def sensitivity(self, seeds: Sequence[Detections]) -> list[Interval]:
        """At 1, 2, ... 5 false positives a volume."""
        statistic = _mean(seeds, PER_VOLUME)
        estimates = statistic(np.ones((1, len(self.truth.volumes))))[0]
        draws = group_bootstrap(statistic, self.truth.volumes, needed=[self._ill])
        return [percentile_interval(e, d) for e, d in zip(estimates, draws.T, strict=True)]

    def difference(
        self, first: Sequence[Detections], second: Sequence[Detections], rates=PER_VOLUME
    ) -> Difference:
        """Mean sensitivity over the rates, first - second, paired by patient."""
        return paired_difference(
            _over_rates(first, rates),
            _over_rates(second, rates),
            self.truth.volumes,
            needed=[self._ill],
        )

    @property
    def _ill(self) -> np.ndarray:
        return np.isin(np.arange(len(self.truth.volumes)), self.truth.embolus_volume)

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing: run the same sweep again, which writes it anew")
        return path.read_bytes()


def models(seeds: Sequence[Detections]) -> list[FrocModel]:
    """Edwards' model of each seed; of none where its likelihood has no maximum for one of them."""
    try:
        return [fit_froc(seed) for seed in seeds]
    except UserError:
        return []


def model_intervals(fitted: Sequence[FrocModel]) -> list[Interval]:
    """Edwards' sensitivity at 1..5: estimate and bounds are means over the seeds' fits."""
    by_seed = np.array([model.sensitivity_at(PER_VOLUME) for model in fitted])
    return [Interval(*row) for row in by_seed.mean(axis=0)]


def _mean(seeds: Sequence[Detections], rates: Sequence[float] | np.ndarray) -> Statistic:
    statistics = [froc_statistic(seed, list(rates)) for seed in seeds]
    return lambda weights: np.mean([s(weights) for s in statistics], axis=0)


def _over_rates(seeds: Sequence[Detections], rates: Sequence[float]) -> Statistic:
    by_rate = _mean(seeds, rates)
    return lambda weights: by_rate(weights).mean(axis=-1)
