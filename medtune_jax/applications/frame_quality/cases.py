"""The judged frames of a study: from folders, videos, prepared public sets or the phantom generator."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax.applications.frame_quality.features import quality_features
from medtune_jax.applications.splits import check_groups, test_split
from medtune_jax.datasets import Frames
from medtune_jax.datasets.colonoscopy import FileFrames, on_ground, plain
from medtune_jax.datasets.frames import check_classes, check_copies, check_disjoint, united
from medtune_jax.errors import UserError
from medtune_jax.phantoms.colonoscopy.layouts import kept_videos

CLASSES = ("non_informative", "informative")
"""In label order: informative, the class whose probability is the score, is 1."""


@dataclass(frozen=True)
class Cases:
    """Frames of known quality, n of them, at the study's scale.

    images: uint8 RGB [H, W, 3] each. quality: int32 [n], 1 informative. videos, names: str [n]; a
    name is unique. test: bool [n]. features: float32 [n, d] of the baseline, from the frames as
    they were recorded. left_out: frames of unknown quality.
    """

    images: list[np.ndarray]
    quality: np.ndarray
    videos: np.ndarray
    names: np.ndarray
    test: np.ndarray
    features: np.ndarray
    groups_known: bool
    left_out: int


def read_cases(data: ConfigDict) -> Cases:
    """The frames that `config.data` names, and their split (docs/paper.md, 3: by video, about half each).

    dir with tfds: a set prepared by `medtune data prepare`. dir with the folders train and test: the
    user's split. dir alone: the plain layout (`medtune_jax.datasets.colonoscopy.plain`). No dir: phantoms.
    Raises UserError where the frames cannot make a study: no known quality, a class or a second
    video missing in a split, a video in both, a file that cannot be read.
    """
    parts = _parts(data)
    known = [
        (part, index)
        for part in parts.values()
        for index, quality in enumerate(part.quality)
        if quality is not None
    ]
    where = data.dir or "the phantoms"
    if not known:
        raise UserError(
            f"{where}: no frame is known to be informative or not; "
            "list them in quality.csv (video,frame,quality)."
        )

    def read(place: tuple[Frames, int]) -> tuple:
        part, index = place
        frame = part[index]
        features = quality_features(frame.image)
        image = scaled(frame.image, data.frame_height)
        return image, features, frame.quality, frame.video, frame.title

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(pool.map(read, known))
    images, features, quality, videos, names = (list(column) for column in zip(*rows, strict=True))
    labels, groups = np.array(quality, np.int32), np.array(videos)
    if "test" in parts:
        test = np.array([part is parts["test"] for part, _ in known])
        check_disjoint(groups[~test].tolist(), groups[test].tolist())
    else:
        check_groups(labels, groups, CLASSES, where, "video")
        test = test_split(labels, united(images, videos), data.test_fraction, data.split_seed)
    for side, chosen in (("training", ~test), ("test", test)):
        present = [CLASSES[label] for label in np.unique(labels[chosen])]
        check_classes(present, CLASSES, f"{where}, {side} set")
        only = np.unique(groups[chosen])
        if len(only) < 2:
            raise UserError(
                f"{where}: the {side} set has one video only ({only[0]}); it needs two, "
                "one to train and one to validate on, or for an interval over videos."
            )
    if "test" in parts:
        check_copies(images, videos, test)
    return Cases(
        images,
        labels,
        groups,
        np.array(names),
        test,
        np.stack(features),
        all(part.groups_known for part in parts.values()),
        sum(map(len, parts.values())) - len(rows),
    )


def _parts(data: ConfigDict) -> dict[str, Frames]:
    """{"train": ..., "test": ...} where the data fix the split, else {"all": ...}."""
    if data.tfds:
        from medtune_jax.datasets import store  # imports TFDS, which takes seconds

        return store.load_parts(data.tfds, data.dir)
    if data.dir:
        root = Path(data.dir)
    else:  # generated videos, half of each video's frames spoilt
        root = kept_videos(data.phantom, data.phantom.videos // 2, defect_rate=0.5)

    def read(part: Path) -> FileFrames:
        found = plain.read(part, data.seconds_between_frames)
        return FileFrames(on_ground(found.files, data.mask_background))

    return dict(plain.parts(root, read))


def scaled(image: np.ndarray, height: int) -> np.ndarray:
    """A frame at `height` pixels (0: as it is), so that a crop sees the same part of every video."""
    if height in (0, len(image)):
        return image
    width = max(1, round(image.shape[1] * height / len(image)))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
