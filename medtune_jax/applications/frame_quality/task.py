"""From judged frames to crops, and from a network's scores to sensitivities by frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.frame_quality.baseline import baseline_file
from medtune_jax.applications.frame_quality.cases import CLASSES, read_cases
from medtune_jax.applications.frame_quality.config import DEFAULTS
from medtune_jax.applications.frame_quality.patches import judged_crops, random_crops
from medtune_jax.applications.frame_quality.predict import PREDICTION
from medtune_jax.applications.frame_quality.truth import truth_files
from medtune_jax.applications.kinds import Kinds, colours_of
from medtune_jax.applications.protocol import Application, Dataset, sections_of
from medtune_jax.datasets.colonoscopy.show import show
from medtune_jax.datasets.frames import groups_of
from medtune_jax.evaluation.metric import AUC
from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, sensitivities
from medtune_jax.patches import Crops, padded
from medtune_jax.words import Words


def load(config: ConfigDict, size: int) -> Dataset:
    """Every frame of known quality as random crops of the network's input size.

    config.data.crops of a frame to train on, config.data.test_crops of a test frame.
    Fields of config.data: see `config`. Groups are videos, units are cases.
    Raises UserError for frames that cannot make a study (`read_cases`).
    """
    data = config.data
    cases = read_cases(data)
    sources, shapes = padded(cases.images)
    rng = np.random.default_rng(data.crop_seed)
    number = np.where(cases.test, data.test_crops, data.crops)
    frame, affines = random_crops(shapes, rng, number, size)
    for judged in np.flatnonzero(cases.test):
        crops = judged_crops(shapes[judged], data.crop_seed, data.test_crops, size)
        affines[frame == judged] = crops
    dataset = Dataset(
        patches=Crops(sources, shapes, frame, affines, size),
        labels=cases.quality[frame],
        classes=CLASSES,
        groups=groups_of(cases.images, cases.videos.tolist())[frame],
        names=cases.names[frame],
        test=cases.test[frame],
        units=cases.names[frame],
        groups_known=cases.groups_known,
    )
    dataset.files.update(truth_files(cases, data.test_crops))
    dataset.files.update(Kinds.of([], colours_of(cases.images)).file)
    dataset.files.update(baseline_file(config, cases, dataset, frame))
    return dataset


def evaluate(dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
    """Sensitivity by frame at the paper's false positive rates."""
    labels = dataset.test_set[0].labels
    values = sensitivities(AUC, labels, scores)
    return {
        f"sensitivity_at_fpr_{rate:.2f}": float(value)
        for rate, value in zip(FALSE_POSITIVE_RATES, values, strict=True)
    }


FRAME_QUALITY = Application(
    name="frame_quality",
    defaults=DEFAULTS,
    load=load,
    evaluate=evaluate,
    words=Words("video", "frame"),
    sections=sections_of(__package__),
    show=show,
    predict=PREDICTION,
)
