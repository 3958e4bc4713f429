"""The hand-crafted judge of frame quality: a random forest on the DCT reconstruction errors of `features`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from sklearn.ensemble import RandomForestClassifier

from medtune_jax.applications.frame_quality.cases import Cases
from medtune_jax.applications.frame_quality.truth import test_frames
from medtune_jax.applications.kept import study_rows
from medtune_jax.applications.protocol import Dataset
from medtune_jax.applications.splits import training_subset
from medtune_jax.errors import UserError
from medtune_jax.fields import numbers
from medtune_jax.paths import csv_bytes

BASELINE = "baseline.csv"


def fit(
    features: np.ndarray, quality: Sequence[int] | np.ndarray, seed: int = 0
) -> RandomForestClassifier:
    """A forest on the `quality_features` [n, d] of frames and their quality (1 informative, 0 not).

    Raises UserError when one of the two classes has no frame.
    """
    labels = np.asarray(quality, int)
    for value, meaning in ((1, "informative"), (0, "non-informative")):
        if value not in labels:
            raise UserError(
                f"no {meaning} frame (quality {value}) among the {len(labels)} training "
                "frames; the quality baseline needs both classes."
            )
    forest = RandomForestClassifier(
        200, min_samples_leaf=2, class_weight="balanced", n_jobs=2, random_state=seed
    )
    return forest.fit(features, labels).set_params(n_jobs=1)


def informative(forest: RandomForestClassifier, features: np.ndarray) -> np.ndarray:
    """P(informative) of each frame, float64 [n]."""
    probabilities: np.ndarray = forest.predict_proba(features)
    return probabilities[:, 1]


def baseline_file(
    config: ConfigDict, cases: Cases, dataset: Dataset, frame: np.ndarray
) -> dict[str, bytes]:
    """Scores of the test frames by the judge of every training fraction and seed.

    frame: [N], the frame of each patch of the dataset. The forest learns from the very frames that a run of that
    fraction and seed is given; it needs no early stopping, so it also has those that a network only validates on.
    """
    test, training = test_frames(cases), config.training
    rows = []
    for fraction in numbers(config.sweep.fractions, "sweep.fractions"):
        for seed in range(config.sweep.seeds):
            subset = training_subset(
                dataset, fraction, seed, training.valid_fraction, training.balance
            )
            seen = np.unique(frame[np.concatenate([subset.train, subset.valid])])
            forest = fit(cases.features[seen], cases.quality[seen], seed)
            scores = informative(forest, cases.features[test])
            rows += [
                (f"{fraction:g}", seed, name, f"{score:.6g}")
                for name, score in zip(cases.names[test], scores, strict=True)
            ]
    return {BASELINE: csv_bytes([("fraction", "seed", "frame", "score"), *rows])}


def read_baseline(study: Path) -> dict[float, np.ndarray]:
    """Scores [S, F] of the test frames, in the order of their names, by training fraction; a row a seed, from 0 on."""
    scores: dict[float, dict[int, list[tuple[str, float]]]] = {}
    for row in study_rows(study, BASELINE):
        seeds = scores.setdefault(float(row["fraction"]), {})
        seeds.setdefault(int(row["seed"]), []).append((row["frame"], float(row["score"])))
    return {
        fraction: np.array([[score for _, score in sorted(rows)] for rows in seeds.values()])
        for fraction, seeds in scores.items()
    }
