"""Which of the files below a folder are images to learn from: not other kinds of files, and no lesion masks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medtune_jax import folders, images
from medtune_jax.applications.image_folder.reader import SUFFIXES

IMAGE_FOLDERS = {"images", "image", "imgs", "img", "pictures"}
MASK_FOLDERS = {
    *("mask", "masks", "segmentation", "segmentations", "ground_truth", "groundtruth", "ground truth", "gt"),
    *("annotations", "labels"),
}  # fmt: skip
_MARKS = (  # PNG, JPEG, TIFF, BMP, WebP, GIF, JPEG 2000: (offset, first bytes)
    *((0, b"\x89PNG"), (0, b"\xff\xd8\xff"), (0, b"II*\0"), (0, b"MM\0*"), (0, b"BM")),
    *((8, b"WEBP"), (0, b"GIF8"), (4, b"jP  ")),
)
_WORDS = (
    r"(masks?|segmentations?|segm?|segs|gt|ground_?truth|annotations?|annot?|labels?|contours?|overlay|"
    r"superpixels?|manual)"
)
_MASK_NAMES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<of>.+?)[ _.-]*{_WORDS}([ _-]?\d+)?",
        rf"{_WORDS}[ _.-]+(?P<of>.+)",
    )
]


@dataclass(frozen=True)
class Images:
    """Paths from the folder, sorted, and how many other files there are, by what they are."""

    paths: tuple[PurePosixPath, ...]
    passed_over: dict[str, int]


def images_below(directory: Path) -> Images:
    """The images below a folder, at any depth; a file without a suffix is one if it begins as one.

    A mask is a twin of an image (a.png with a_mask.png), or lies in a folder of masks beside images.
    """
    found = folders.walk(directory)
    passed = Counter(found.passed_over)
    paths = []
    for path in found.files:
        if is_image(path):
            paths.append(PurePosixPath(path.relative_to(directory).as_posix()))
        else:
            passed[path.suffix.lower() or "without a suffix"] += 1
    masks = _masks(paths)
    if masks:
        passed["masks"] = len(masks)
    return Images(tuple(path for path in paths if path not in masks), dict(passed))


def is_image(path: Path) -> bool:
    """Whether a file is an image or DICOM: by its suffix or, without one, by how it begins."""
    if path.suffix.lower() in SUFFIXES:
        return True
    # "1.2.840.113619" has no suffix either: it is the name of a DICOM file.
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    with path.open("rb") as stream:
        head = stream.read(16)
    return any(head[offset:].startswith(mark) for offset, mark in _MARKS) or images.is_dicom(path)


def _masks(paths: list[PurePosixPath]) -> set[PurePosixPath]:
    twins = {(path.parent, path.stem.casefold()) for path in paths}
    places = {path.parent for path in paths}
    return {
        path
        for path in paths
        if _is_twin(path, twins) or any(_of_masks(folder, places) for folder in path.parents)
    }


def _is_twin(path: PurePosixPath, twins: set[tuple[PurePosixPath, str]]) -> bool:
    """Whether a file is called after another one of its folder: a_mask.png, mask_a.png or a.png_mask.png of a.png."""
    names = [name["of"] for pattern in _MASK_NAMES if (name := pattern.fullmatch(path.stem))]
    names += [PurePosixPath(name).stem for name in names]
    return any((path.parent, name.casefold()) in twins for name in names)


def _of_masks(folder: PurePosixPath, places: set[PurePosixPath]) -> bool:
    """A folder called masks beside images, or beside a folder called images; a class may be called mask."""
    if folder.name.casefold() not in MASK_FOLDERS:
        return False
    above = folder.parent
    beside = {
        place.relative_to(above).parts[0].casefold()
        for place in places
        if place != above and place.is_relative_to(above)
    }
    return above in places or bool(beside & IMAGE_FOLDERS)
