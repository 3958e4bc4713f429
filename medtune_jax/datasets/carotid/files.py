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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtune_jax import dicom, images
from medtune_jax.datasets.carotid import tables
from medtune_jax.datasets.carotid.roi import Roi, crop_around, untraced, with_contours
from medtune_jax.errors import UserError
from medtune_jax.folders import files_below
from medtune_jax.progress import say
from medtune_jax.words import count

SUFFIXES = (*images.SUFFIXES, *images.DICOM_SUFFIXES)
CENTIMETRE = 3  # DICOM's code of a region's physical unit (PS3.3, C.8.5.5.1.15)


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
        image, mm_per_pixel = _read_image(path)
        relative = path.relative_to(directory)
        subject = relative.parts[0] if len(relative.parts) > 1 else directory.name
        scale = _scale(path, calibration, mm_per_pixel)
        roi = untraced(image, scale, subject, relative.with_suffix("").as_posix())
        sources = [_contour_file(path, which, siblings[path.parent]) for which in ("LI", "MA")]
        rois.append(with_contours(roi, *map(tables.csv_points, sources)))
    return rois


def read_new(path: Path | str, contours: bool = True) -> Roi:
    """One image to measure, named by its path; with the contours of an expert where `contours` and both lie beside it.

    Its calibration is the file's own (DICOM), or stands in a calibration.csv of its folder or of the
    folder above.
    """
    path = Path(path)
    image, mm_per_pixel = _read_image(path)
    known: dict[Path, float] = {}
    for table in (path.parent.parent / tables.CALIBRATION, path.parent / tables.CALIBRATION):
        known |= tables.calibration(table) if table.is_file() else {}
    scale = _scale(path, known, mm_per_pixel)
    roi = untraced(image, scale, path.absolute().parent.name, path.as_posix())
    siblings = sum(p.suffix.lower() in SUFFIXES for p in path.absolute().parent.iterdir())
    sources = [_own_contour(path, which, siblings) for which in ("LI", "MA")] if contours else []
    found = [tables.csv_points(source) for source in sources if source]
    return with_contours(roi, *found) if len(found) == 2 else roi


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
        image, _ = _read_image(tiffs[identity])
        number = re.search(r"\d+", identity)
        subject = number.group() if number else identity
        scale = tables.factor(factors[identity]) if identity in factors else None
        profiles = [tables.profile(chosen[0] / f"{identity}-{which}.txt") for which in ("LI", "MA")]
        yield with_contours(untraced(image, scale, subject, identity), *profiles)


def read_dicom(path: Path | str) -> tuple[NDArray[np.uint8], float | None]:
    """The (first) frame of a DICOM ultrasound image, gray uint8 [H, W], and its vertical mm per pixel.

    The scale is that of the first two-dimensional calibration region in centimetres; None if the
    file has none.
    """
    path = Path(path)
    dataset = dicom.read(path)
    deep = dicom.stored(dataset, path, first=True).dtype != np.uint8
    if deep and dataset.get("PhotometricInterpretation") != "PALETTE COLOR":
        raise UserError(f"{path} has {dataset.BitsAllocated}-bit pixels; export it with 8 bits.")
    gray = np.asarray(images.as_rgb(dicom.shown(dataset, path, first=True)).convert("L"))
    for region in dataset.get("SequenceOfUltrasoundRegions", []):
        units = region.get("PhysicalUnitsYDirection"), region.get("PhysicalUnitsXDirection")
        if units == (CENTIMETRE, CENTIMETRE) and region.get("PhysicalDeltaY"):
            return gray, 10 * abs(float(region.PhysicalDeltaY))
    return gray, None


def _scale(path: Path, tables_say: dict[Path, float], own: float | None) -> float | None:
    """mm per pixel: of a table, else of the file itself, which must then be plausible."""
    found = tables_say.get(path.resolve())
    return tables.plausible(own, str(path)) if found is None and own is not None else found


def _folder(directory: Path | str) -> Path:
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder.")
    return directory


def _read_image(path: Path) -> tuple[NDArray[np.uint8], float | None]:
    if images.is_dicom(path):
        return read_dicom(path)
    return np.asarray(images.eight_bit(path).convert("L")), None


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
