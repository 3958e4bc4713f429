"""Images of a prepared TFDS data set by name, in place of a folder: config.data.tfds."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax.applications.image_folder.assemble import assembled
from medtune_jax.applications.protocol import Dataset
from medtune_jax.applications.splits import check_groups
from medtune_jax.datasets.frames import check_disjoint
from medtune_jax.errors import UserError


def load_prepared(data: ConfigDict, size: int) -> Dataset:
    """The data set `data.tfds` prepared under `data.dir` (with file_format="array_record").

    data.label_feature must be a class label; data.group_feature names the feature that tells
    patients apart (empty: not known, every image is its own). A split called test is the test set
    and all others are for training; without one the test set is drawn by patient.
    Raises UserError for a set or feature that is not there, and a patient on both sides.
    """
    from medtune_jax.datasets import store  # TFDS takes seconds to import

    if not data.dir:
        raise UserError(
            f"no place given for data set {data.tfds}: set --config.data.dir to where it was prepared"
        )
    image, label, group = data.image_feature, data.label_feature, data.group_feature
    classes = tuple(store.tfds_class_names(data.tfds, data.dir, label))
    splits = store.splits(data.tfds, data.dir)
    parts = {
        split: store.read_tfds_images(
            data.tfds, data.dir, split, image, label, group or None, lambda x: _square(x, size)
        )
        for split in splits
    }
    pixels = np.stack([picture for images, _, _ in parts.values() for picture in images])
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
    return assembled(pixels, labels, classes, names, known, given, data, data.tfds)


def _square(image: np.ndarray, size: int) -> np.ndarray:
    picture = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture)
