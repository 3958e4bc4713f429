"""From judged frames to crops, and from a network's scores to sensitivities by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.frame_quality.config import DEFAULTS
from medtune_jax.applications.frame_quality.files import report_files
from medtune_jax.applications.frame_quality.frames import CLASSES, read_frames
from medtune_jax.applications.frame_quality.patches import random_crops
from medtune_jax.applications.protocol import Application, Dataset, Words
from medtune_jax.datasets.colonoscopy.show import show
from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, sensitivities
from medtune_jax.patches import Crops, padded

if TYPE_CHECKING:
    from medtune_jax.report.section import SectionMaker


def load(config: ConfigDict, size: int) -> Dataset:
    """Every frame of known quality as random crops of the network's input size.

    config.data.crops of a frame to train on, config.data.test_crops of a test frame.
    Fields of config.data: see `config`. Groups are videos, units are frames.
    Raises UserError for frames that cannot make a study (`read_frames`).
    """
    data = config.data
    frames = read_frames(data)
    sources, shapes = padded(frames.images)
    rng = np.random.default_rng(data.crop_seed)
    number = np.where(frames.test, data.test_crops, data.crops)
    frame, affines = random_crops(shapes, rng, number, size)
    dataset = Dataset(
        patches=Crops(sources, shapes, frame, affines, size),
        labels=frames.quality[frame],
        classes=CLASSES,
        groups=frames.videos[frame],
        names=frames.names[frame],
        test=frames.test[frame],
        units=frames.names[frame],
        groups_known=frames.groups_known,
    )
    dataset.files.update(report_files(config, frames, dataset, frame))
    return dataset


def evaluate(dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
    """Sensitivity by frame at the paper's false positive rates."""
    labels = dataset.test_set[0].labels
    found = sensitivities(labels, scores[:, 1])
    return {
        f"sensitivity_at_fpr_{rate:.2f}": float(value)
        for rate, value in zip(FALSE_POSITIVE_RATES, found, strict=True)
    }


def sections() -> Sequence[SectionMaker]:
    """What the report adds: networks against the hand-crafted judge, and the worst mistakes."""
    from medtune_jax.applications.frame_quality.report import SECTIONS

    return SECTIONS


FRAME_QUALITY = Application(
    name="frame_quality",
    defaults=DEFAULTS,
    load=load,
    evaluate=evaluate,
    words=Words("video", "frame"),
    sections=sections,
    show=show,
)
