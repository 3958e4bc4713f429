"""What a finished study kept of its test volumes, and the detections on them by every run and by the baseline."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from medtune_jax.applications.embolism.truth import Truth
from medtune_jax.errors import UserError
from medtune_jax.evaluation.edwards import FrocModel
from medtune_jax.evaluation.froc import PER_VOLUME
from medtune_jax.evaluation.intervals import Interval
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.froc import FrocEvidence


def froc_evidence(evidence: Evidence) -> FrocEvidence[Truth]:
    """The candidates' scores by every run of a study, and by the hand-crafted baseline."""
    truth = Truth.from_json(kept(evidence, "truth.json"))
    rows = csv.DictReader(kept(evidence, "baseline.csv").decode().splitlines())
    score = {row["candidate"]: float(row["score"]) for row in rows}
    return FrocEvidence(evidence, truth, np.array([score[name] for name in truth.candidates]))


def cohort(evidence: Evidence) -> dict[str, Any]:
    """patients: a row each; left_out: {patient: reason}."""
    return json.loads(kept(evidence, "cohort.json"))


def kept(evidence: Evidence, name: str) -> bytes:
    """A file that the application wrote; UserError when the study's directory lacks it."""
    path = evidence.study.directory / "application" / name
    if not path.is_file():
        raise UserError(f"{path} is missing: run the same sweep again, which writes it anew")
    return path.read_bytes()


def model_intervals(fitted: Sequence[FrocModel]) -> list[Interval | None]:
    """Edwards' sensitivity at 1..5: estimate and bounds are means over the seeds' fits, None without a fit."""
    if not fitted:
        return [None] * len(PER_VOLUME)
    by_seed = np.array([model.sensitivity_at(PER_VOLUME) for model in fitted])
    return [Interval(*row) for row in by_seed.mean(axis=0)]
