"""Images as NumPy arrays in one file, as MedMNIST packs them: config.data.dir=FILE.npz."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax.applications.image_folder.assemble import assembled
from medtune_jax.applications.protocol import Dataset
from medtune_jax.errors import UserError

_SPLITS = ("train", "val", "test")


def load_arrays(data: ConfigDict, size: int) -> Dataset:
    """The arrays SPLIT_images uint8 [n,H,W] or [n,H,W,3] and SPLIT_labels int [n] or [n,1] of `data.dir`.

    val joins the training set; without test it is drawn. Patients are not known, classes are called by their numbers.
    Raises UserError for a file that holds something else: several labels an image, or volumes.
    """
    path = Path(data.dir)
    parts = _read(path)
    counts = [len(labels) for _, labels in parts.values()]
    pixels = np.concatenate([_resized(images, size) for images, _ in parts.values()])
    numbers = np.concatenate([labels for _, labels in parts.values()])
    found, labels = np.unique(numbers, return_inverse=True)
    names = np.array(
        [f"{split}/{n:06d}" for split, k in zip(parts, counts, strict=True) for n in range(k)]
    )
    notes = [f"images are read from the arrays {', '.join(f'{split}_images' for split in parts)}"]
    given = None
    if "test" in parts and len(parts) > 1:
        given = np.repeat([split == "test" for split in parts], counts)
        if "val" in parts:
            told = counts[list(parts).index("val")]
            notes.append(f"the given validation set ({told:,} images) joins the training set")
    classes = tuple(str(number) for number in found)
    if len(classes) < 2:
        raise UserError(f"{path} has images of one class only: a study needs two or more")
    return assembled(
        *(pixels, labels.astype(np.int32), classes, names, None, given, data, str(path), notes)
    )


def _read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """split -> (images, labels int [n]), of those that there are."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}: set --config.data.dir to your images") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read as NumPy's .npz ({error}): fetch it again"
        ) from error
    wanted = {s: (f"{s}_images", f"{s}_labels") for s in _SPLITS}
    there = {split: pair for split, pair in wanted.items() if set(pair) <= set(arrays)}
    if "train" not in there:
        held = ", ".join(arrays) or "nothing"
        raise UserError(f"{path} holds {held}: it needs the arrays train_images and train_labels")
    return {
        split: _checked(path, split, *(arrays[n] for n in pair)) for split, pair in there.items()
    }


def _checked(
    path: Path, split: str, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    gray, colour = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
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
            f"the {len(images):,} images (several labels an image are not read from .npz)"
        )
    return images, labels


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [n,size,size,3]: bilinear, gray repeated."""
    square = [
        np.asarray(
            Image.fromarray(image).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        )
        for image in images
    ]
    return np.stack(square) if square else np.zeros((0, size, size, 3), np.uint8)
