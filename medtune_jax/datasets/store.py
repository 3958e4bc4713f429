"""Preparing the public data sets once, and reading prepared TFDS data without TensorFlow."""

import io
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from medtune_jax.datasets.builders import LabelledImages, builder_class
from medtune_jax.datasets.frames import Frame, Frames
from medtune_jax.errors import UserError


def prepare(name: str, manual_dir: str | Path, data_dir: str | Path) -> Path:
    """Turns a downloaded data set into array_record files under data_dir; returns their folder.

    Does nothing when it was prepared before. Raises UserError for an unknown name, a missing folder
    (and says the expected layout), and files that contradict each other.
    """
    builder = builder_class(name)
    manual_dir = Path(manual_dir)
    if not manual_dir.is_dir() or not any(manual_dir.iterdir()):
        raise UserError(
            f"{manual_dir}: no such folder, or empty; {name} is expected as {builder.layout}."
        )
    instance = builder(data_dir=str(data_dir), file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=str(manual_dir))
    instance.download_and_prepare(download_config=config)
    return Path(instance.data_dir)


def load(name: str, data_dir: str | Path, split: str = "train") -> Frames:
    """A data set that `prepare` made. Raises UserError when it or the split is not there."""
    builder = builder_class(name)
    prepared = _prepared(name, data_dir)
    _check_split(prepared, split)
    informative = builder.informative if issubclass(builder, LabelledImages) else ()
    return _TfdsFrames(prepared, split, informative)


def read_tfds_images(
    name: str,
    data_dir: str | Path,
    image_feature: str = "image",
    label_feature: str = "label",
    group_feature: str | None = None,
    split: str | None = None,
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Any prepared TFDS image data set, all its splits or one: images, labels, groups.

    images: uint8 RGB [H, W, 3] each (gray is repeated). labels: int64 [N]. groups: str [N], the
    text of group_feature; without one every image is its own group. The data set's own code is
    not needed, but it must have been prepared with file_format="array_record". Raises UserError
    otherwise.
    """
    builder = _prepared(name, data_dir)
    wanted = [f for f in (image_feature, label_feature, group_feature) if f is not None]
    for feature in wanted:
        if feature not in builder.info.features:
            raise UserError(
                f"data set {name!r} has no feature {feature!r}; "
                f"choose from {', '.join(sorted(builder.info.features))}."
            )
    if split is not None:
        _check_split(builder, split)
    records = [
        record
        for part in ([split] if split else sorted(builder.info.splits))
        for record in _source(builder, part, None)
    ]
    images = [_rgb(record[image_feature], name) for record in records]
    labels = np.array([int(record[label_feature]) for record in records], np.int64)
    if group_feature is None:
        return images, labels, np.arange(len(records)).astype(str)
    return images, labels, np.array([_text(record[group_feature]) for record in records])


def tfds_class_names(name: str, data_dir: str | Path, label_feature: str = "label") -> list[str]:
    """The names of the classes of a prepared TFDS data set, in label order."""
    feature = dict(_prepared(name, data_dir).info.features).get(label_feature)
    if not isinstance(feature, tfds.features.ClassLabel):
        raise UserError(f"feature {label_feature!r} of data set {name!r} is no class label.")
    return list(feature.names)


class _TfdsFrames(Frames):
    """Frames of a prepared data set. Images stay encoded until a frame is asked for."""

    def __init__(self, builder: Any, split: str, informative: tuple[str, ...]):
        pictures = {k for k in ("image", "mask") if k in builder.info.features}
        skip = {name: tfds.decode.SkipDecoding() for name in pictures}
        self._records = _source(builder, split, skip)
        self._features = builder.info.features
        self._informative = informative

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index):  # type: ignore[override]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        record = self._records[index % len(self)]
        image = np.asarray(Image.open(io.BytesIO(record["image"])).convert("RGB"))
        identity = _text(record["video"]), _text(record["name"])
        if "label" in record:
            label = self._features["label"].int2str(int(record["label"]))
            return Frame(*identity, image, quality=int(label in self._informative), label=label)
        mask = None
        if record["masked"]:
            mask = np.asarray(Image.open(io.BytesIO(record["mask"]))) > 0
        return Frame(*identity, image, mask)

    @cached_property
    def _videos(self) -> list[str]:
        return [_text(record["video"]) for record in self._records]

    @property
    def videos(self) -> list[str]:
        return list(self._videos)


def _prepared(name: str, data_dir: str | Path):
    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=str(data_dir))
    except tfds.core.DatasetNotFoundError:
        raise UserError(
            f"{data_dir}: data set {name!r} is not prepared there; "
            "prepare it first (medtune data prepare NAME --dir FOLDER)."
        ) from None


def _check_split(builder, split: str) -> None:
    if split not in builder.info.splits:
        raise UserError(
            f"data set {builder.name!r} has no split {split!r}; "
            f"choose from {', '.join(sorted(builder.info.splits))}."
        )


def _source(builder, split: str, decoders: dict | None):
    try:
        return builder.as_data_source(split, decoders=decoders)
    except NotImplementedError:
        raise UserError(
            f"data set {builder.name!r} in {builder.data_dir} cannot be read at random; "
            'prepare it again with file_format="array_record".'
        ) from None


def _rgb(image: np.ndarray, name: str) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise UserError(
            f"data set {name!r}: images are {image.dtype} {image.shape}, not uint8 gray or RGB."
        )
    return np.repeat(image, 3, -1) if image.shape[-1] == 1 else image


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
