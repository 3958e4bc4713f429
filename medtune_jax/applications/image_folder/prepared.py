"""Images of a prepared TFDS data set by name, in place of a folder: config.data.tfds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax.applications.image_folder.assemble import assembled
from medtune_jax.applications.image_folder.decoded import Pictures, held, read_ahead
from medtune_jax.applications.image_folder.reader import squared
from medtune_jax.applications.protocol import Dataset
from medtune_jax.applications.splits import check_groups
from medtune_jax.datasets.frames import check_disjoint
from medtune_jax.errors import UserError

if TYPE_CHECKING:  # TFDS takes seconds to import
    from medtune_jax.datasets.store import StoredImages


def load_prepared(data: ConfigDict, size: int, memory: ConfigDict) -> Dataset:
    """The data set `data.tfds` prepared under `data.dir` (with file_format="array_record").

    data.label_feature must be a class label; data.group_feature names the feature that tells
    patients apart (empty: not known, every image is its own). A split called test is the test set
    and all others are for training; without one the test set is drawn by patient.
    memory: of a config (see `held`). Raises UserError for a set or feature that is not there, and
    a patient on both sides.
    """
    from medtune_jax.datasets import store

    if not data.dir:
        raise UserError(
            f"no place given for data set {data.tfds}: set --config.data.dir to where it was prepared"
        )
    image, label, group = data.image_feature, data.label_feature, data.group_feature
    classes = tuple(store.tfds_class_names(data.tfds, data.dir, label))
    splits = store.splits(data.tfds, data.dir)
    parts = {
        split: store.read_tfds_images(data.tfds, data.dir, split, image, label, group or None)
        for split in splits
    }
    labels = np.concatenate([labels for _, labels, _ in parts.values()]).astype(np.int32)
    names = np.array([f"{s}/{i:06d}" for s, part in parts.items() for i in range(len(part[1]))])
    groups = np.concatenate([groups for _, _, groups in parts.values()]) if group else names
    given = None
    if "test" in splits and len(splits) > 1:
        given = np.concatenate([np.full(len(p[1]), split == "test") for split, p in parts.items()])
        check_disjoint(groups[~given].tolist(), groups[given].tolist(), "patient")
    else:
        check_groups(labels, groups, classes, f"data set {data.tfds}")
    known = groups if group else None
    pixels = held(_pictures([images for images, _, _ in parts.values()], size), size, memory)
    return assembled(pixels, labels, classes, names, known, given, data, data.tfds)


def _pictures(parts: Sequence[StoredImages], size: int) -> Pictures:
    """The images of all splits, one split after another."""
    places = [(part, k) for part in parts for k in range(len(part))]

    def read(row: int) -> np.ndarray:
        part, k = places[row]
        return squared(Image.fromarray(part[k]), size)

    keys = [f"{part.stamp} {k}" for part, k in places]
    return Pictures(keys, partial(read_ahead, read=read))
