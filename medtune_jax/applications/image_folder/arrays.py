"""Images as NumPy arrays in one file, as MedMNIST packs them: config.data.dir=FILE.npz."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax.applications.image_folder.assemble import assembled
from medtune_jax.applications.image_folder.decoded import Pictures, held, stamp
from medtune_jax.applications.image_folder.reader import squared
from medtune_jax.applications.protocol import Dataset
from medtune_jax.errors import UserError
from medtune_jax.images import reason

_SPLITS = ("train", "val", "test")
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_TORN = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)


class _Header(NamedTuple):
    """What an array in the file says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def load_arrays(data: ConfigDict, size: int, memory: ConfigDict) -> Dataset:
    """The arrays SPLIT_images uint8 [n,H,W] or [n,H,W,3] and SPLIT_labels int [n] or [n,1] of `data.dir`.

    val joins the training set; without test it is drawn. Patients are not known, classes are called by their numbers.
    memory: of a config (see `held`); of the file's own images one is in memory at a time. Raises UserError for a file
    that holds something else: several labels an image, or volumes.
    """
    path = Path(data.dir)
    parts = _found(path)
    headers = {split: header for split, (header, _) in parts.items()}
    counts = [len(labels) for _, labels in parts.values()]
    names = np.array(
        [f"{split}/{n:06d}" for split, k in zip(parts, counts, strict=True) for n in range(k)]
    )
    numbers = np.concatenate([labels for _, labels in parts.values()])
    found, labels = np.unique(numbers, return_inverse=True)
    classes = tuple(str(number) for number in found)
    if len(classes) < 2:
        raise UserError(f"{path} has images of one class only: a study needs two or more")
    file = stamp(path)
    keys = [f"{file} {name}" for name in names]
    pixels = held(Pictures(keys, partial(_read, path, headers, size)), size, memory)
    notes = [f"images are read from the arrays {', '.join(f'{split}_images' for split in parts)}"]
    given = None
    if "test" in parts and len(parts) > 1:
        given = np.repeat([split == "test" for split in parts], counts)
        if "val" in parts:
            told = counts[list(parts).index("val")]
            notes.append(f"the given validation set ({told:,} images) joins the training set")
    return assembled(
        *(pixels, labels.astype(np.int32), classes, names, None, given, data, str(path), notes)
    )


def _found(path: Path) -> dict[str, tuple[_Header, np.ndarray]]:
    """split -> (of its images, labels int [n]), of those that there are."""
    try:
        with np.load(path) as file:
            arrays = file.files
            there = [s for s in _SPLITS if {f"{s}_images", f"{s}_labels"} <= {*arrays}]
            labels = {split: file[f"{split}_labels"] for split in there}
        with zipfile.ZipFile(path) as archive:
            headers = {split: _header_in(archive, split) for split in there}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}: set --config.data.dir to your images") from None
    except _TORN as error:
        raise _unreadable(path, error) from error
    if "train" not in there:
        held = ", ".join(arrays) or "nothing"
        raise UserError(f"{path} holds {held}: it needs the arrays train_images and train_labels")
    return {s: (headers[s], _checked(path, s, headers[s], labels[s])) for s in there}


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as NumPy's .npz ({reason(error)}): fetch it again")


def _checked(path: Path, split: str, images: _Header, labels: np.ndarray) -> np.ndarray:
    gray = len(images.shape) == 3
    colour = len(images.shape) == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (gray or colour):
        raise UserError(
            f"{path}: {split}_images is {images.dtype} {list(images.shape)}: it must be uint8 [images, height, width] "
            "or with 3 colours last (volumes are not read)"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iub":
        raise UserError(
            f"{path}: {split}_labels is {labels.dtype} {list(labels.shape)}: it must be one whole number for each of "
            f"the {images.shape[0]:,} images (several labels an image are not read from .npz)"
        )
    return labels


def _header_in(archive: zipfile.ZipFile, split: str) -> _Header:
    with archive.open(f"{split}_images.npy") as stream:
        return _header(stream)


def _header(stream: IO[bytes]) -> _Header:
    """At the start of an array; what follows are its values."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"an array in format {version} of .npy")
    return _Header(*_HEADERS[version](stream))


def _read(
    path: Path, headers: Mapping[str, _Header], size: int, rows: Sequence[int]
) -> Iterator[np.ndarray]:
    """The images of some rows of all splits, which ascend, as square pictures, each read when it is asked for."""
    wanted, first = {*rows}, 0
    try:
        for split, header in headers.items():
            for row, image in enumerate(_images(path, split, header), first):
                if row in wanted:
                    yield squared(Image.fromarray(image), size)
            first += header.shape[0]
    except _TORN as error:
        raise _unreadable(path, error) from error


def _images(path: Path, split: str, header: _Header) -> Iterator[np.ndarray]:
    """Each image of a split, the next one read when it is asked for."""
    if header.fortran:  # one image lies all over the array
        with np.load(path) as file:
            yield from file[f"{split}_images"]
        return
    shape = header.shape[1:]
    with zipfile.ZipFile(path) as archive, archive.open(f"{split}_images.npy") as stream:
        _header(stream)
        for _ in range(header.shape[0]):
            yield np.frombuffer(stream.read(math.prod(shape)), np.uint8).reshape(shape)
