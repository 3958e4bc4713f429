"""The judged frames of a study: from folders, videos, prepared public sets or the phantom generator."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax.applications.frame_quality.features import quality_features
from medtune_jax.applications.splits import check_groups, test_split
from medtune_jax.datasets import Frame, Frames
from medtune_jax.datasets.colonoscopy import plain
from medtune_jax.datasets.frames import check_disjoint
from medtune_jax.errors import UserError
from medtune_jax.paths import user_cache

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
    known = [(part, index) for part in parts.values() for index in _judged(part)]
    where = data.dir or "the phantoms"
    if not known:
        raise UserError(
            f"{where}: no frame is known to be informative or not; "
            "list them in quality.csv (video,frame,quality)."
        )
    read = _reader(data.frame_height)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(pool.map(lambda place: read(place[0][place[1]]), known))
    images, features, quality, videos, names = (list(column) for column in zip(*rows, strict=True))
    labels, groups = np.array(quality, np.int32), np.array(videos)
    if "test" in parts:
        test = np.array([part is parts["test"] for part, _ in known])
        check_disjoint(groups[~test].tolist(), groups[test].tolist())
    else:
        check_groups(labels, groups, CLASSES, where, "video")
        test = test_split(labels, groups, data.test_fraction, data.split_seed)
    for side, chosen in (("training", ~test), ("test", test)):
        _check_side(labels[chosen], groups[chosen], side, where)
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


def _judged(part: Frames) -> list[int]:
    return [index for index, quality in enumerate(part.quality) if quality is not None]


def _parts(data: ConfigDict) -> dict[str, Frames]:
    """{"train": ..., "test": ...} where the data fix the split, else {"all": ...}."""
    if data.tfds:
        from medtune_jax.datasets import store  # imports TFDS, which takes seconds

        return store.load_parts(data.tfds, data.dir)
    root = Path(data.dir) if data.dir else phantom_videos(data.phantom)
    if (root / "train").is_dir() and (root / "test").is_dir():
        return dict(plain.read_splits(root, data.seconds_between_frames))
    return {"all": plain.read(root, data.seconds_between_frames)}


def phantom_videos(phantom: ConfigDict) -> Path:
    """Generated videos in the plain layout, half of each video's frames spoilt; made once and kept."""
    from medtune_jax.phantoms.colonoscopy import write_videos
    from medtune_jax.phantoms.colonoscopy.layouts import VERSION

    wanted = json.dumps({**phantom.to_dict(), "version": VERSION}, sort_keys=True)
    name = f"frame-quality-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    return write_videos(
        user_cache() / "phantoms" / name,
        positives=phantom.videos // 2,
        negatives=phantom.videos - phantom.videos // 2,
        frames=phantom.frames,
        size=(phantom.height, phantom.width),
        seed=phantom.seed,
        defect_rate=0.5,
    )


def _reader(height: int) -> Callable[[Frame], tuple]:
    def read(frame: Frame) -> tuple:
        features = quality_features(frame.image)
        return scaled(frame.image, height), features, frame.quality, frame.video, frame.title

    return read


def scaled(image: np.ndarray, height: int) -> np.ndarray:
    """A frame at `height` pixels (0: as it is), so that a crop sees the same part of every video."""
    if height in (0, len(image)):
        return image
    width = max(1, round(image.shape[1] * height / len(image)))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _check_side(labels: np.ndarray, videos: np.ndarray, side: str, where: str) -> None:
    for label, name in enumerate(CLASSES):
        if label not in labels:
            raise UserError(f"{where}: the {side} set has no {name} frame; add some.")
    if len(np.unique(videos)) < 2:
        raise UserError(
            f"{where}: the {side} set has one video only ({videos[0]}); it needs two, "
            "one to train and one to validate on, or for an interval over videos."
        )
