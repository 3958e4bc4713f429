"""Candidates that a network marks, from which score on, and how many lesions that finds: polyps and emboli alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.scoring import mean_of_runs
from medtune_jax.applications.truth import Truth
from medtune_jax.evaluation.froc import sensitivity_at
from medtune_jax.evaluation.readers import Estimate


def threshold_at(ensemble: Ensemble, truth: Truth, rate: float) -> float:
    """Log-odds from which on a candidate is marked: the lowest with at most `rate` false marks per image of the study's
    test set.

    truth: of that test set. Scores are the mean over the ensemble's runs. Marks are then the same on any new data.
    """
    test = ensemble.results.test
    assert test is not None  # a run with weights has scores
    mean = mean_of_runs(np.stack([run.scores for run in ensemble.runs if run.scores is not None]))
    scores = truth.in_order(test.names, mean[0][:, 1])
    false = np.sort(scores[~truth.positive])[::-1]
    allowed = int(rate * len(truth.images) + 1e-9)
    if allowed >= len(false):
        return float(scores.min())
    return float(np.nextafter(np.float32(false[allowed]), np.float32(np.inf)))


def found_lesions(
    truth: Truth, names: Sequence[str], scores: np.ndarray, rates: Sequence[float]
) -> dict[str, Estimate]:
    """sensitivity_at_RATE on new images with 95% intervals over groups and runs; scores: log-odds [S, M] by name."""
    if not len(truth.lesion_image):
        why = "the new images show no lesion, so that there is nothing to find"
        return {f"sensitivity_at_{rate:g}": Estimate(None, why=why) for rate in rates}
    runs = [truth.detections(truth.in_order(names, run)) for run in scores]
    found = sensitivity_at(runs, rates, truth.groups)
    return {f"sensitivity_at_{rate:g}": e for rate, e in zip(rates, found, strict=True)}
