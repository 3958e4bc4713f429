"""Candidates that a network marks, from which score on, and how many lesions that finds: polyps and emboli alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.predictions import (
    METRICS,
    PREDICTIONS,
    figures_text,
    metrics_file,
    score_table,
)
from medtune_jax.applications.protocol import Option
from medtune_jax.applications.scoring import mean_of_runs
from medtune_jax.applications.truth import Truth
from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.froc import sensitivity_at
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.words import count


def option(rate: float, image: str) -> Option:
    """How many false positives per image set the threshold, by default `rate`."""
    said = (
        f"per {image} of the study's test set: sets the score from which on a candidate is marked"
    )
    return Option("false_positives", rate, said, float)


def mean_score(scores: np.ndarray) -> np.ndarray:
    """float32 [M]: log-odds of a lesion, the mean over runs, of candidates' scores [S, M, 2]."""
    return mean_of_runs(scores)[0][:, 1]


def threshold_at(ensemble: Ensemble, truth: Truth, rate: float) -> float:
    """Log-odds from which on a candidate is marked: the lowest with at most `rate` false marks per image of the study's
    test set.

    truth: of that test set. Scores are the mean over the ensemble's runs. Marks are then the same on any new data.
    Raises UserError for a rate that is none.
    """
    if not 0 <= rate < inf:
        raise UserError(f"false_positives is {rate:g}: give how many an image may have, 0 or more")
    lost = next((run.run for run in ensemble.runs if run.scores is None), None)
    test = ensemble.results.test
    if lost or test is None:
        raise UserError(
            f"the result of {lost} is damaged or gone, and its scores set from which one on a candidate is marked: run "
            "the sweep again"
        )
    mean = mean_score(np.stack([run.scores for run in ensemble.runs if run.scores is not None]))
    scores = truth.in_order(test.names, mean)
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


def write_marked(
    ensemble: Ensemble,
    output: Path,
    columns: Mapping[str, Sequence[Any]],
    scores: np.ndarray,
    threshold: float,
    images: str,
) -> str:
    """predictions.csv, a row a candidate: `columns`, marked, and scores (log-odds [S, M, 2]); returns what to say of
    it. images: '12 frames'.
    """
    marked = mean_score(scores) >= threshold
    told = {**columns, "marked": marked.astype(int).tolist()}
    write_whole(output / PREDICTIONS, csv_bytes(score_table(ensemble, scores, told)))
    limit, found = log_odds.probabilities(np.array(threshold)), count(len(marked), "candidates")
    return (
        f"{images}, {found}, {int(marked.sum()):,} marked (probability {limit:.4g} or more): "
        f"{output / PREDICTIONS}"
    )


def write_found(
    output: Path,
    truth: Truth,
    names: Sequence[str],
    scores: np.ndarray,
    rates: Sequence[float],
    nouns: tuple[str, str],
    known: str = "",
) -> list[str]:
    """metrics.csv, the sensitivity by lesion; returns what to say of it. nouns: of lesions, of images. known: how
    their truth is known."""
    figures = found_lesions(truth, names, scores[..., 1], rates)
    images, groups = len(truth.images), len(np.unique(truth.groups))
    write_whole(output / METRICS, metrics_file(figures, images, groups))
    found = count(len(truth.lesion_image), nouns[0])
    said = f"{found} in {count(images, nouns[1])}{known}: {output / METRICS}"
    return [said, *figures_text(figures)]
