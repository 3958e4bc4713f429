"""Which of the files below a folder are images to learn from: not other kinds of files, and no lesion masks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
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
_DRAWN = re.compile(
    r"(?P<of>.+?)[ _.-]*(bbox(es)?|boxes|heat_?maps?|grad_?cam|thumb(s|nails?)?|previews?|annotated|outlines?)"
    r"([ _-]?\d+)?",
    re.IGNORECASE,
)
_CHANGED = re.compile(  # as programs that augment images on disk call them; Roboflow adds .rf.HASH to all
    r"(?P<of>.+?)([ _.-]+([hv]?flip(ped)?|rot(ated?)?[ _-]?\d*|aug(mented)?|crop(ped)?|mirror(ed)?|blur(red)?|noisy?|"
    r"bright(er)?|dark(er)?|zoom(ed)?|shear(ed)?|copy)([ _-]?\d+)?)+",
    re.IGNORECASE,
)
_ROBOFLOW = re.compile(r"(?P<of>.+)\.rf\.[0-9a-f]{8,}", re.IGNORECASE)


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
    stems = {(path.parent, path.stem.casefold()) for path in paths}
    drawn = {p for p in paths if p not in masks and _is_called_after(p, stems, [_DRAWN])}
    if drawn:
        passed["drawings or thumbnails of images"] = len(drawn)
    return Images(tuple(path for path in paths if path not in masks | drawn), dict(passed))


def changed_copies(paths: Sequence[PurePosixPath]) -> list[str]:
    """A warning of images that are called as changed copies of others are, as offline augmentation writes them."""
    stems = {(path.parent, path.stem.casefold()) for path in paths}
    found = [path for path in paths if _is_called_after(path, stems, [_CHANGED])]
    by_origin: dict[str, list[PurePosixPath]] = {}
    for path in paths:
        if name := _ROBOFLOW.fullmatch(path.stem):
            by_origin.setdefault(name["of"], []).append(path)
    found += [path for same in by_origin.values() for path in same[1:]]
    if not found:
        return []
    return [
        f"{len(found):,} images are called as changed copies of others ({found[0]}): copies of one image may be in "
        "training and in the test set; remove them, or name the image that each was made of by data.patient_pattern"
    ]


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
    beside = {(folder.parent, folder.name.casefold()) for folder in places}
    return {
        path
        for path in paths
        if _is_called_after(path, twins, _MASK_NAMES)
        or any(
            _of_masks(folder, places) or _is_called_after(folder, beside, _MASK_NAMES)
            for folder in path.parents
        )
    }


def _is_called_after(
    path: PurePosixPath,
    twins: set[tuple[PurePosixPath, str]],
    patterns: Sequence[re.Pattern[str]],
) -> bool:
    """Whether a file or folder is called after another one beside it, as a_mask.png, mask_a.png, a.png_mask.png are."""
    names = [name["of"] for pattern in patterns if (name := pattern.fullmatch(path.stem))]
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
