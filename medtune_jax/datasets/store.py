"""Preparing the public data sets once, and reading prepared TFDS data without TensorFlow."""

import hashlib
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from medtune_jax.datasets.frames import Frame, Frames
from medtune_jax.datasets.manual import ManualDataset, text
from medtune_jax.errors import UserError


def every_builder() -> dict[str, type[ManualDataset]]:
    """{name: TFDS builder class} of every public set, of all applications; each says its layout, licence, citation."""
    from medtune_jax.datasets.carotid.cubs import Cubs  # which reads through this module
    from medtune_jax.datasets.colonoscopy.builders import DATASETS
    from medtune_jax.datasets.ct.builders import CT_DATASETS

    return {**DATASETS, **CT_DATASETS, Cubs.name: Cubs}


def find_builder(name: str) -> type[ManualDataset]:
    """The builder of a data set. Raises UserError that lists the names when there is none."""
    known = every_builder()
    if name not in known:
        raise UserError(f"unknown data set {name!r}; choose from {', '.join(sorted(known))}.")
    return known[name]


def prepare(name: str, manual_dir: str | Path, data_dir: str | Path) -> Path:
    """Turns a downloaded data set into array_record files under data_dir; returns their folder.

    Does nothing when it was prepared before. Raises UserError for an unknown name, a missing folder
    (and says the expected layout), and files that contradict each other.
    """
    builder = find_builder(name)
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
    prepared = find_prepared(name, data_dir)
    _check_split(prepared, split)
    return _TfdsFrames(prepared, [split])


def load_parts(name: str, data_dir: str | Path) -> dict[str, Frames]:
    """{"train": ..., "test": ...} of a set that fixes the split, else its first split as {"all": ...}."""
    known = splits(name, data_dir)
    if {"train", "test"} <= set(known):
        return {part: load(name, data_dir, part) for part in ("train", "test")}
    return {"all": load(name, data_dir, known[0])}


def open_prepared(directory: str | Path) -> Frames:
    """All splits of any prepared TFDS image data set, given the folder of its dataset_info.json.

    Raises UserError when the folder cannot be read as one, or its records hold no image.
    """
    try:
        builder = tfds.core.read_only_builder.builder_from_directory(str(directory))
    except (OSError, ValueError, tfds.core.DatasetNotFoundError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{directory}: no prepared data set ({reason}).") from None
    return _TfdsFrames(builder, sorted(builder.info.splits))


def find_prepared(name: str, data_dir: str | Path) -> Any:
    """The builder of a prepared data set. Raises UserError when it is not there."""
    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=str(data_dir))
    except tfds.core.DatasetNotFoundError:
        raise UserError(
            f"{data_dir}: data set {name!r} is not prepared there; "
            "prepare it first (medtune data prepare NAME --dir FOLDER --output DIR)."
        ) from None


def splits(name: str, data_dir: str | Path) -> list[str]:
    """The names of the splits of a prepared data set, sorted. Raises UserError if it is not there."""
    return sorted(find_prepared(name, data_dir).info.splits)


class StoredImages:
    """The images of a split of any prepared TFDS image data set: uint8 RGB [H, W, 3] each (gray is repeated).

    Read when it is asked for, by any number of threads. stamp: a text that changes with the files and the feature.
    """

    def __init__(self, builder: Any, split: str, feature: str) -> None:
        self._name, self._feature = builder.name, feature
        self._records = _source(builder, split, _skipping(builder, but=feature))
        files = [
            (str(path), path.stat()) for path in map(Path, builder.info.splits[split].filepaths)
        ]
        stamp = f"{feature} {[(p, s.st_size, s.st_mtime_ns) for p, s in files]}"
        self.stamp = hashlib.sha256(stamp.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> np.ndarray:
        return _rgb(self._records[range(len(self))[index]][self._feature], self._name)


def read_tfds_images(
    name: str,
    data_dir: str | Path,
    split: str,
    image_feature: str = "image",
    label_feature: str = "label",
    group_feature: str | None = None,
) -> tuple[StoredImages, np.ndarray, np.ndarray]:
    """A split of any prepared TFDS image data set: images, labels, groups.

    labels: int64 [N]. groups: str [N], the text of group_feature; without one every image is its own group. The data
    set's own code is not needed, but it must have been prepared with file_format="array_record". Raises UserError
    otherwise.
    """
    builder = find_prepared(name, data_dir)
    wanted = [f for f in (image_feature, label_feature, group_feature) if f is not None]
    for feature in wanted:
        if feature not in builder.info.features:
            raise UserError(
                f"data set {name!r} has no feature {feature!r}; "
                f"choose from {', '.join(sorted(builder.info.features))}."
            )
    _check_split(builder, split)
    labels: list[int] = []
    groups: list[str] = []
    for record in _source(builder, split, _skipping(builder)):
        labels.append(int(record[label_feature]))
        groups.append(text(record[group_feature]) if group_feature else str(len(groups)))
    images = StoredImages(builder, split, image_feature)
    return images, np.array(labels, np.int64), np.array(groups)


def _skipping(builder: Any, but: str = "") -> dict[str, Any]:
    """Decoders that leave images encoded, all of them or all but one feature."""
    features = dict(builder.info.features)
    pictures = (k for k, v in features.items() if isinstance(v, tfds.features.Image) and k != but)
    return {name: tfds.decode.SkipDecoding() for name in pictures}


def tfds_class_names(name: str, data_dir: str | Path, label_feature: str = "label") -> list[str]:
    """The names of the classes of a prepared TFDS data set, in label order."""
    feature = dict(find_prepared(name, data_dir).info.features).get(label_feature)
    if not isinstance(feature, tfds.features.ClassLabel):
        raise UserError(f"feature {label_feature!r} of data set {name!r} is no class label.")
    return list(feature.names)


class _TfdsFrames(Frames):
    """Frames of a prepared data set. Images stay encoded until a frame is asked for.

    Sets that are not ours are understood by their features: the picture is the one called image, or
    the first; the label is the first class label; without a video every record is its own.
    """

    def __init__(self, builder: Any, parts: Sequence[str]):
        features = dict(builder.info.features)
        pictures = [k for k, v in features.items() if isinstance(v, tfds.features.Image)]
        if not pictures:
            raise UserError(f"data set {builder.name!r} holds no image feature: nothing to show.")
        self._image = "image" if "image" in pictures else pictures[0]
        classes = (k for k, v in features.items() if isinstance(v, tfds.features.ClassLabel))
        self._label = next(classes, None)
        self._features = features
        ours = every_builder().get(builder.name)
        self._informative = ours.informative if ours else None
        sources = [_source(builder, part, _skipping(builder)) for part in parts]
        self._records = [(source, i) for source in sources for i in range(len(source))]

    def __len__(self) -> int:
        return len(self._records)

    def _record(self, index: int) -> dict[str, Any]:
        source, position = self._records[index]
        return source[position]

    def __getitem__(self, index):  # type: ignore[override]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        record = self._record(index)
        image = np.asarray(Image.open(io.BytesIO(record[self._image])).convert("RGB"))
        mask = None
        if record.get("masked"):
            mask = np.asarray(Image.open(io.BytesIO(record["mask"]))) > 0
        label = self._class(record)
        name, video = self._name(record, index), self._video(record, index)
        return Frame(video, name, image, mask, self._judged(label), label)

    def _class(self, record: dict[str, Any]) -> str | None:
        if self._label is None:
            return None
        return self._features[self._label].int2str(int(record[self._label]))

    def _judged(self, label: str | None) -> int | None:
        return None if self._informative is None else int(label in self._informative)

    @cached_property
    def videos(self) -> list[str]:  # type: ignore[override]
        return [self._video(self._record(i), i) for i in range(len(self))]

    @cached_property
    def quality(self) -> list[int | None]:  # type: ignore[override]
        return [self._judged(self._class(self._record(i))) for i in range(len(self))]

    def _video(self, record: dict[str, Any], index: int) -> str:
        return text(record.get("video", self._name(record, index)))

    def _name(self, record: dict[str, Any], index: int) -> str:
        return text(record.get("name", record.get("id", index)))


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
