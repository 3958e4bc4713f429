"""Regions of interest with their LI and MA contours, read from two layouts.

Plain: DIR/SUBJECT/NAME.png (any 8-bit image, or DICOM) with NAME.LI.csv and NAME.MA.csv, or LI.csv
and MA.csv where the folder holds one image; columns x, y in pixels. DIR/calibration.csv, or one in
a subject's folder, has the columns image, mm_per_pixel; DICOM brings its own.
CUBS (Meiburger et al. 2021): IMAGES/clin_NNNN_L.tiff, profiles ID-LI.txt and ID-MA.txt in a folder
per expert, CF/ID_CF.txt.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from medtune_jax import dicom, images
from medtune_jax.datasets.carotid import tables
from medtune_jax.datasets.carotid.roi import Picture, Roi, crop_around, untraced, with_contours
from medtune_jax.errors import UserError
from medtune_jax.folders import files_below
from medtune_jax.progress import say
from medtune_jax.words import count

SUFFIXES = (*images.SUFFIXES, *images.DICOM_SUFFIXES)
CENTIMETRE = 3  # DICOM's code of a region's physical unit (PS3.3, C.8.5.5.1.15)
_ULTRASOUND = ("US", "IVUS", "")
_SAME_SCALE = 1e-3


def read_plain(directory: Path | str) -> list[Roi]:
    """Every image of a plain layout, sorted by path; an image in DIR itself has subject DIR's name."""
    directory = _folder(directory)
    paths = [p for p in files_below(directory) if p.suffix.lower() in SUFFIXES]
    if not paths:
        raise UserError(f"{directory} holds no image ({', '.join(SUFFIXES)}).")
    calibration: dict[Path, float] = {}
    for table in [p for p in files_below(directory) if p.name == tables.CALIBRATION]:
        calibration |= tables.calibration(table)
    known = {path.resolve() for path in paths}
    if lost := [path.name for path in calibration if path not in known]:
        names = ", ".join(lost[:3])
        say(
            f"data: {tables.CALIBRATION} names {count(len(lost), 'images')} that are not there ({names})"
        )
    siblings = Counter(path.parent for path in paths)
    rois = []
    for path in paths:
        picture = _read_image(path)
        relative = path.relative_to(directory)
        subject = relative.parts[0] if len(relative.parts) > 1 else directory.name
        scale = calibration.get(path.resolve(), picture.mm_per_pixel)
        roi = untraced(picture, scale, subject, relative.with_suffix("").as_posix())
        sources = [_contour_file(path, which, siblings[path.parent]) for which in ("LI", "MA")]
        rois.append(with_contours(roi, *map(tables.csv_points, sources)))
    return rois


def read_new(path: Path | str, contours: bool = True) -> Roi:
    """One image to measure, named by its path; with the contours of an expert where `contours` and both lie beside it.

    Its calibration is the file's own (DICOM), or stands in a calibration.csv of its folder or of the
    folder above.
    """
    path = Path(path)
    picture = _read_image(path)
    known: dict[Path, float] = {}
    above = [folder / tables.CALIBRATION for folder in (path.parent.parent, path.parent)]
    found = [table for table in above if table.is_file()]
    for table in found:
        known |= tables.calibration(table)
    scale = known.get(path.resolve(), picture.mm_per_pixel)
    if scale is None and found:
        picture = picture._replace(notes=(*picture.notes, f"{found[-1]} does not name it."))
    roi = untraced(picture, scale, path.absolute().parent.name, path.as_posix())
    siblings = sum(p.suffix.lower() in SUFFIXES for p in path.absolute().parent.iterdir())
    sources = [_own_contour(path, which, siblings) for which in ("LI", "MA")] if contours else []
    there = [source for source in sources if source]
    if len(there) == 1:
        alone = f"{there[0]} is alone: contours count in pairs, LI and MA."
        return replace(roi, notes=(*roi.notes, alone))
    return with_contours(roi, *map(tables.csv_points, there)) if there else roi


def read_cubs(directory: Path | str, expert: str | None = None, margin: int = 24) -> list[Roi]:
    """CUBS regions: each image cut `margin` pixels around one expert's contours.

    `expert` names the folder of profiles and may be left out where there is only one. Images that
    the expert did not trace are left out, with a warning. Left and right share the subject NNNN.
    """
    return [crop_around(roi, margin) for roi in cubs_images(directory, expert)]


def cubs_experts(directory: Path | str) -> list[Path]:
    """The folders that hold an expert's profiles."""
    return sorted({p.parent for p in files_below(_folder(directory)) if p.name.endswith("-LI.txt")})


def cubs_images(directory: Path | str, expert: str | None = None) -> Iterator[Roi]:
    """Whole CUBS images with one expert's contours, one after the other; see `read_cubs`."""
    directory = _folder(directory)
    files = files_below(directory)
    tiffs = {p.stem: p for p in files if p.suffix.lower() in (".tif", ".tiff")}
    folders = cubs_experts(directory)
    chosen = [f for f in folders if expert is None or f.name == expert]
    if len(chosen) != 1 or not tiffs:
        known = ", ".join(f.name for f in folders) or "none"
        raise UserError(
            f"{directory}: {len(tiffs)} tiff images and profiles (ID-LI.txt) in these folders: "
            f"{known}; name one as the expert."
        )
    traced = [i for i in tiffs if all((chosen[0] / f"{i}-{c}.txt").exists() for c in ("LI", "MA"))]
    if not traced:
        raise UserError(f"{chosen[0]} holds no pair of profiles for any image of {directory}.")
    if len(traced) < len(tiffs):
        missing = len(tiffs) - len(traced)
        warnings.warn(f"{chosen[0].name} traced no contour in {missing} images.", stacklevel=2)
    factors = {p.stem.removesuffix("_CF"): p for p in files if p.name.endswith("_CF.txt")}
    for identity in traced:
        picture = _read_image(tiffs[identity])
        number = re.search(r"\d+", identity)
        subject = number.group() if number else identity
        scale = tables.factor(factors[identity]) if identity in factors else None
        profiles = [tables.profile(chosen[0] / f"{identity}-{which}.txt") for which in ("LI", "MA")]
        yield with_contours(untraced(picture, scale, subject, identity), *profiles)


def read_dicom(path: Path | str) -> Picture:
    """The (first) frame of a DICOM ultrasound image, with its vertical mm per pixel.

    The scale is that of its two-dimensional calibration regions in centimetres; None if the file has none, several
    that differ, or one that cannot be. Raises UserError for another modality.
    """
    path = Path(path)
    dataset = dicom.read(path)
    modality = dicom.modality(dataset)
    if modality not in _ULTRASOUND:
        raise UserError(
            f"{path}: its DICOM Modality is {modality}, not US: leave it out, or give it as PNG if you are sure"
        )
    deep = dicom.stored(dataset, path, first=True).dtype != np.uint8
    if deep and dataset.get("PhotometricInterpretation") != "PALETTE COLOR":
        raise UserError(f"{path} has {dataset.BitsAllocated}-bit pixels; export it with 8 bits.")
    picture = _picture(images.as_rgb(dicom.shown(dataset, path, first=True)))
    frames = int(dataset.get("NumberOfFrames") or 1)
    notes = [f"{path}: the first of its {frames} frames is read."] if frames > 1 else []
    scales = _scales(dataset)
    own = " and ".join(f"{scale:g}" for scale in scales)
    if len(scales) > 1:
        notes.append(f"{path}: its regions have {own} mm per pixel, so that none is taken.")
    elif not all(map(tables.is_plausible, scales)):
        notes.append(f"{path}: it states {own} mm per pixel, which cannot be and is not taken.")
        scales = []
    one = scales[0] if len(scales) == 1 else None
    return picture._replace(mm_per_pixel=one, notes=tuple(notes))


def _scales(dataset: pydicom.Dataset) -> list[float]:
    """The different mm per pixel, to a thousandth, of a file's two-dimensional regions in centimetres."""
    scales: list[float] = []
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        units = region.get("PhysicalUnitsYDirection"), region.get("PhysicalUnitsXDirection")
        if units == (CENTIMETRE, CENTIMETRE) and region.get("PhysicalDeltaY"):
            scale = 10 * abs(float(region.PhysicalDeltaY))
            if not any(np.isclose(scale, known, rtol=_SAME_SCALE) for known in scales):
                scales.append(scale)
    return scales


def _folder(directory: Path | str) -> Path:
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder.")
    return directory


def _read_image(path: Path) -> Picture:
    return read_dicom(path) if images.is_dicom(path) else _picture(images.eight_bit(path))


def _picture(shown: Image.Image) -> Picture:
    """In gray, of RGB."""
    return Picture(np.asarray(shown.convert("L")), colour=images.in_colour(np.asarray(shown)))


def _contour_file(image: Path, which: str, images_in_folder: int) -> Path:
    found = _own_contour(image, which, images_in_folder)
    if found is None:
        own = image.with_suffix(f".{which}.csv")
        raise UserError(f"{image} has no {which} contour: write its points (x,y) to {own.name}.")
    return found


def _own_contour(image: Path, which: str, images_in_folder: int) -> Path | None:
    own, shared = image.with_suffix(f".{which}.csv"), image.with_name(f"{which}.csv")
    if own.exists():
        return own
    return shared if shared.exists() and images_in_folder == 1 else None
