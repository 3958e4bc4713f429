"""The polyp study: from frames to patches with their truth, and from test scores to the FROC."""

from __future__ import annotations

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.kinds import Kinds, colours_of
from medtune_jax.applications.polyps.candidates import (
    CandidateTable,
    detector_file,
    find_candidates,
)
from medtune_jax.applications.polyps.cases import Cases, read_cases
from medtune_jax.applications.polyps.config import DEFAULTS
from medtune_jax.applications.polyps.patches import (
    NUMBER,
    candidate_affines,
    spread,
    stratified_sample,
)
from medtune_jax.applications.polyps.predict import PREDICTION
from medtune_jax.applications.polyps.show import picture_files
from medtune_jax.applications.polyps.truth import truth_files, truth_of
from medtune_jax.applications.protocol import Application, Dataset, merit_of, points_of, sections_of
from medtune_jax.applications.truth import Truth
from medtune_jax.datasets.colonoscopy.show import show
from medtune_jax.datasets.frames import groups_of
from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import PER_FRAME
from medtune_jax.patches import Crops, padded
from medtune_jax.words import Words

CLASSES = ("no polyp", "polyp")


def load(config: ConfigDict, size: int) -> Dataset:
    """Candidates of every frame, as patches of the network's input size.

    Training: data.train_patches patches, half of them positive, spread evenly over the videos.
    Test: data.test_variants patches of every candidate. Groups and units are videos, names are
    candidates. Fields of config.data: see `config`. Raises UserError for data that cannot
    make a study (`read_cases`), or where no candidate, or every one, hits a lesion.
    """
    data = config.data
    cases = read_cases(data)
    table = CandidateTable.of(find_candidates(cases, data), cases, data.smallest_lesion)
    training = _training_patches(cases, table, data)
    testing = _test_patches(cases, table, data.test_variants)
    candidate, variant = np.concatenate([training, testing], 1)
    affines = candidate_affines(table.boxes[candidate], variant, size, data.square)
    images = [frame.image for frame in cases.frames]
    sources, shapes = padded(images)
    frame = table.frame[candidate]
    truth = truth_of(cases, table, data.smallest_lesion)
    dataset = Dataset(
        patches=Crops(sources, shapes, frame.astype(np.int32), affines, size),
        labels=(table.lesion[candidate] >= 0).astype(np.int32),
        classes=CLASSES,
        groups=groups_of(images, cases.videos.tolist())[frame],
        names=table.names[candidate],
        test=np.arange(len(candidate)) >= training.shape[1],
        units=cases.videos[frame],
        groups_known=cases.groups_known,
        also={"frames": (int((~cases.test).sum()), int(cases.test.sum()))},
        extra={"truth": truth},
    )
    dataset.files.update(truth_files(truth) | picture_files(dataset, cases))
    dataset.files.update(detector_file(cases, data))
    dataset.files.update(Kinds.of([], colours_of(images)).file)
    return dataset


def evaluate(dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
    """Sensitivity at the paper's false positives per frame."""
    truth: Truth = dataset.extra["truth"]
    return truth.figures(dataset.test_set[0].names, scores[:, 1], PER_FRAME)


def _training_patches(cases: Cases, table: CandidateTable, data: ConfigDict) -> np.ndarray:
    """(candidate, variant) [2, N]: stratified by class and video (docs/paper.md, 1)."""
    training = np.flatnonzero(~cases.test[table.frame])
    candidate, variant = stratified_sample(
        table.lesion[training] >= 0,
        cases.videos[table.frame[training]],
        NUMBER,
        data.train_patches,
        np.random.default_rng(data.patch_seed),
    )
    return np.stack([training[candidate], variant])


def _test_patches(cases: Cases, table: CandidateTable, count: int) -> np.ndarray:
    """(candidate, variant) [2, N] of every test candidate, with `count` variants spread over all."""
    testing = np.flatnonzero(cases.test[table.frame])
    positive = table.lesion[testing] >= 0
    if positive.all() or not positive.any():
        kind = "negative" if positive.any() else "positive"
        raise UserError(
            f"none of the {len(testing)} test candidates is {kind}: add test frames or check the masks."
        )
    shown = spread(count)
    return np.stack([np.repeat(testing, len(shown)), np.tile(shown, len(testing))])


POLYPS = Application(
    name="polyps",
    defaults=DEFAULTS,
    load=load,
    evaluate=evaluate,
    words=Words("video", "candidate"),
    sections=sections_of(__package__),
    merit=merit_of(__package__),
    points=points_of(__package__),
    show=show,
    predict=PREDICTION,
)
