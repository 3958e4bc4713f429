"""Regions of interest with their LI and MA contours, from three layouts.

Plain: DIR/SUBJECT/NAME.png (any 8-bit image, or DICOM) with NAME.LI.csv and NAME.MA.csv, or LI.csv
and MA.csv where the folder holds one image; columns x, y in pixels. DIR/calibration.csv, or one in
a subject's folder, has the columns image, mm_per_pixel; DICOM brings its own.
CUBS (Meiburger et al. 2021): IMAGES/clin_NNNN_L.tiff, profiles ID-LI.txt and ID-MA.txt in a folder
per expert, CF/ID_CF.txt.

Pixel centres are whole numbers, the first is 0. Rows count downwards and the lumen is above, so LI
has the smaller rows.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array
from scipy.ndimage import white_tophat

from medtune_jax.applications.intima_media import tables
from medtune_jax.errors import UserError

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".dcm")
CENTIMETRE = 3  # DICOM's code of a region's physical unit (PS3.3, C.8.5.5.1.15)


@dataclass(frozen=True, eq=False)
class Roi:
    """A gray image uint8 [H, W] and its contours: rows li and ma, float [W], NaN where untraced.

    `mm_per_pixel` is vertical, None without calibration; `name` is unique in its data set.
    """

    image: NDArray[np.uint8]
    li: NDArray[np.float64]
    ma: NDArray[np.float64]
    mm_per_pixel: float | None
    subject: str
    name: str

    @property
    def micrometres_per_pixel(self) -> float:
        """Refuses an image without calibration: its errors and thickness exist in pixels only."""
        if self.mm_per_pixel is None:
            raise UserError(
                f"{self.name} has no calibration: add its mm per pixel to calibration.csv, or ask "
                "for results in pixels."
            )
        return 1000 * self.mm_per_pixel


def read_plain(
    directory: Path | str, size: tuple[int, int] | None = None, contours: bool = True
) -> list[Roi]:
    """Every image of a plain layout, sorted by path; an image in DIR itself has subject DIR's name.

    `size` (width, height), where given, is demanded of every image. With `contours` false, as for
    new images, none is needed and both are NaN.
    """
    directory = _folder(directory)
    paths = sorted(p for p in directory.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{directory} holds no image ({', '.join(SUFFIXES)}).")
    calibration = tables.calibrations(directory)
    siblings = Counter(path.parent for path in paths)
    rois = []
    for path in paths:
        image, mm_per_pixel = _read_image(path)
        if size is not None and image.shape[::-1] != tuple(size):
            raise UserError(
                f"{path} is {image.shape[1]} x {image.shape[0]} px, not {size[0]} x {size[1]} px; "
                "resize or leave out this image."
            )
        relative = path.relative_to(directory)
        subject = relative.parts[0] if len(relative.parts) > 1 else directory.name
        untraced = np.full(image.shape[1], np.nan)
        roi = Roi(
            image,
            untraced,
            untraced,
            calibration.get(path.resolve(), mm_per_pixel),
            subject,
            relative.with_suffix("").as_posix(),
        )
        if contours:
            sources = [_contour_file(path, which, siblings[path.parent]) for which in ("LI", "MA")]
            roi = with_contours(roi, *(tables.csv_points(source) for source in sources))
        rois.append(roi)
    return rois


def read_new(path: Path | str) -> Roi:
    """One image to measure, without contours, named by its path.

    Its calibration is the file's own (DICOM), or stands in a calibration.csv of its folder or of the
    folder above.
    """
    path = Path(path)
    image, mm_per_pixel = _read_image(path)
    known: dict[Path, float] = {}
    for table in (path.parent.parent / tables.CALIBRATION, path.parent / tables.CALIBRATION):
        known |= tables.calibration(table) if table.is_file() else {}
    untraced = np.full(image.shape[1], np.nan)
    scale = known.get(path.resolve(), mm_per_pixel)
    return Roi(image, untraced, untraced, scale, path.absolute().parent.name, path.as_posix())


def read_cubs(directory: Path | str, expert: str | None = None, margin: int = 24) -> list[Roi]:
    """CUBS regions: each image cut `margin` pixels around one expert's contours.

    `expert` names the folder of profiles and may be left out where there is only one. Images that
    the expert did not trace are left out, with a warning. Left and right share the subject NNNN.
    """
    return [crop_around(roi, margin) for roi in cubs_images(directory, expert)]


def cubs_experts(directory: Path | str) -> list[Path]:
    """The folders that hold an expert's profiles."""
    return sorted({path.parent for path in _folder(directory).rglob("*-LI.txt")})


def cubs_images(directory: Path | str, expert: str | None = None) -> Iterator[Roi]:
    """Whole CUBS images with one expert's contours, one after the other; see `read_cubs`."""
    directory = _folder(directory)
    images = {p.stem: p for p in sorted(directory.rglob("*.tif*"))}
    folders = cubs_experts(directory)
    chosen = [f for f in folders if expert is None or f.name == expert]
    if len(chosen) != 1 or not images:
        found = ", ".join(f.name for f in folders) or "none"
        raise UserError(
            f"{directory}: {len(images)} tiff images and profiles (ID-LI.txt) in these folders: "
            f"{found}; name one as the expert."
        )
    traced = [i for i in images if all((chosen[0] / f"{i}-{c}.txt").exists() for c in ("LI", "MA"))]
    if not traced:
        raise UserError(f"{chosen[0]} holds no pair of profiles for any image of {directory}.")
    if len(traced) < len(images):
        missing = len(images) - len(traced)
        warnings.warn(f"{chosen[0].name} traced no contour in {missing} images.", stacklevel=2)
    factors = {p.stem.removesuffix("_CF"): p for p in directory.rglob("*_CF.txt")}
    for identity in traced:
        image, _ = _read_image(images[identity])
        number = re.search(r"\d+", identity)
        untraced = np.full(image.shape[1], np.nan)
        roi = Roi(
            image,
            untraced,
            untraced,
            tables.factor(factors[identity]) if identity in factors else None,
            number.group() if number else identity,
            identity,
        )
        profiles = [tables.profile(chosen[0] / f"{identity}-{which}.txt") for which in ("LI", "MA")]
        yield with_contours(roi, *profiles)


def read_dicom(path: Path | str, frame: int = 0) -> tuple[NDArray[np.uint8], float | None]:
    """One frame of a DICOM ultrasound image, gray uint8 [H, W], and its vertical mm per pixel.

    The scale is that of the first two-dimensional calibration region in centimetres; None if the
    file has none.
    """
    try:
        dataset = pydicom.dcmread(path)
        pixels = pixel_array(dataset, index=frame)
    except (InvalidDicomError, AttributeError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(
            f"{path}: frame {frame} is not a readable DICOM image ({error})."
        ) from error
    if pixels.dtype != np.uint8:
        raise UserError(f"{path} has {pixels.dtype} pixels; export it with 8 bits.")
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 255 - pixels
    for region in dataset.get("SequenceOfUltrasoundRegions", []):
        units = region.get("PhysicalUnitsYDirection"), region.get("PhysicalUnitsXDirection")
        if units == (CENTIMETRE, CENTIMETRE) and region.get("PhysicalDeltaY"):
            return _gray(Image.fromarray(pixels)), 10 * abs(float(region.PhysicalDeltaY))
    return _gray(Image.fromarray(pixels)), None


def with_contours(roi: Roi, li_points: ArrayLike, ma_points: ArrayLike) -> Roi:
    """`roi` with contours given as points (x, y) [N, 2] in pixels, interpolated to its columns."""
    li, ma = (
        _per_column(np.asarray(points, float), roi, which)
        for points, which in ((li_points, "LI"), (ma_points, "MA"))
    )
    roi = replace(roi, li=li, ma=ma)
    check_roi(roi)
    return roi


def check_roi(roi: Roi, patch: int = 1) -> None:
    """Refuse contours that share no column or are out of order, and a region below `patch` px."""
    height, width = roi.image.shape
    if min(height, width) < patch:
        raise UserError(
            f"{roi.name} is {width} x {height} px, smaller than a patch of {patch} px: cut "
            "a larger region or set a smaller patch."
        )
    shared = ~np.isnan(roi.li) & ~np.isnan(roi.ma)
    if not shared.any():
        raise UserError(
            f"{roi.name}: LI and MA do not overlap in x; trace the same stretch of wall."
        )
    crossed = np.flatnonzero(shared & ~(roi.li < roi.ma))
    if crossed.size:
        raise UserError(
            f"{roi.name}: MA lies on or above LI at column {crossed[0]} ({crossed.size} columns in "
            "all); the lumen must be above, so check that the two files are not swapped."
        )


def crop_around(roi: Roi, margin: int) -> Roi:
    """The part of `roi` within `margin` pixels of its contours."""
    rows = np.stack([roi.li, roi.ma])
    columns = np.flatnonzero(~np.isnan(rows).all(axis=0))
    if columns.size == 0:
        raise UserError(f"{roi.name} has no contour to crop around.")
    left, right = max(columns[0] - margin, 0), columns[-1] + margin + 1
    top = max(int(np.nanmin(rows)) - margin, 0)
    bottom = int(np.ceil(np.nanmax(rows))) + margin + 1
    return replace(
        roi,
        image=roi.image[top:bottom, left:right],
        li=roi.li[left:right] - top,
        ma=roi.ma[left:right] - top,
    )


def overlay_marks(image: NDArray, contrast: int = 90) -> NDArray[np.bool_]:
    """Pixels [H, W] of text, rulers or callipers burnt into an ultrasound image.

    The beam is several pixels wide, so no echo can be a bright upright stroke of one to three
    pixels between darker ones; the strokes of letters are.
    """
    return white_tophat(image, size=(1, 5)) > contrast


def warn_about(roi: Roi, least_marks: int = 6) -> list[str]:
    """What makes results on `roi` doubtful, one sentence each: for the log and the report."""
    found = []
    marks = overlay_marks(roi.image)
    if marks.sum() >= least_marks:
        columns = np.flatnonzero(marks.any(axis=0))
        found.append(
            f"{roi.name}: text or marks seem burnt into the image between columns {columns[0]} and "
            f"{columns[-1]}; confidence is low there."
        )
    if roi.mm_per_pixel is None:
        found.append(f"{roi.name} has no calibration: results are in pixels.")
    return found


def _per_column(points: NDArray, roi: Roi, which: str) -> NDArray[np.float64]:
    """Rows [W] of a contour from its points: linear between them, NaN beyond its ends."""
    height, width = roi.image.shape
    x, first = np.unique(points[:, 0], return_index=True)
    y = points[first, 1]
    # Half a pixel of slack: some tools count from a pixel's corner.
    outside = (x < -0.5) | (x > width) | (y < -0.5) | (y > height)
    if outside.any():
        bad = int(np.flatnonzero(outside)[0])
        raise UserError(
            f"{roi.name}: {which} reaches ({x[bad]:g}, {y[bad]:g}), outside the image of {width} x "
            f"{height} px; was it traced on an image of another size?"
        )
    return np.interp(np.arange(width), x, y, left=np.nan, right=np.nan)


def _folder(directory: Path | str) -> Path:
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder.")
    return directory


def _read_image(path: Path) -> tuple[NDArray[np.uint8], float | None]:
    if path.suffix.lower() == ".dcm":
        return read_dicom(path)
    try:
        with Image.open(path) as picture:
            return _gray(picture), None
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{path} is not a readable image; replace it or remove it.") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _gray(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise UserError(f"images of mode {picture.mode} are not supported; export it with 8 bits.")
    return np.array(picture.convert("L"))


def _contour_file(image: Path, which: str, images_in_folder: int) -> Path:
    own, shared = image.with_suffix(f".{which}.csv"), image.with_name(f"{which}.csv")
    if own.exists():
        return own
    if shared.exists() and images_in_folder == 1:
        return shared
    raise UserError(f"{image} has no {which} contour: write its points (x,y) to {own.name}.")
